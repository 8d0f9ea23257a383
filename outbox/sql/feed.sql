-- Reading the feed and moving cursors.

-- How many bytes a document has on its way to a client. What is stored as it is need not be read for that.
CREATE OR REPLACE FUNCTION {schema}.strunk_document_bytes(p_document json) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_document IS NULL THEN 0 WHEN pg_catalog.pg_column_compression(p_document) IS NULL
        THEN pg_catalog.pg_column_size(p_document)
                ELSE pg_catalog.octet_length(p_document::text) END
$$;

-- Events of a type, under any of its names, after p_after, in order: up to p_limit, and not more
-- than p_bytes of them unless it is a single one; the last row's read_bytes adds them up. To be read in a
-- statement after the one that reads the head: no event at or before that head is missing.
CREATE OR REPLACE FUNCTION {schema}.strunk_read_feed(p_types text[], p_after bigint, p_limit integer, p_bytes bigint)
RETURNS TABLE (pos bigint, version bigint, id bigint, published_at timestamptz, entity_id text, schema_version text,
    payload json, metadata json, diff json, read_bytes bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_type  text := p_types[1];
    v_bytes bigint;
    v_last  bigint;
    v_exact boolean;
BEGIN
    -- Mostly all of them fit, and are stored as they are. Then adding them up first costs less than running sums.
    SELECT sum(coalesce(pg_column_size(e.payload), 0) + coalesce(pg_column_size(e.diff), 0)), max(e.position),
        count(pg_column_compression(e.payload)) + count(pg_column_compression(e.diff)) = 0
    INTO v_bytes, v_last, v_exact FROM (
        SELECT e.position, e.payload, e.diff FROM {schema}.strunk_outbox_delivered_events e
        WHERE e.key = v_type AND e.position > p_after ORDER BY e.position LIMIT p_limit) e
    WHERE cardinality(p_types) = 1;
    IF v_exact AND v_bytes <= p_bytes THEN
        RETURN QUERY
        SELECT e.position, e.version, e.id, e.created_at, e.entity_id, e.schema_version, e.payload, e.metadata,
            e.diff, v_bytes FROM {schema}.strunk_outbox_delivered_events e
        WHERE e.key = v_type AND e.position > p_after AND e.position <= v_last ORDER BY e.position;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT e.position, e.version, e.id, e.created_at, e.entity_id, e.schema_version, e.payload, e.metadata, e.diff,
        e.up_to::bigint FROM (
        SELECT r.*, sum(r.bytes) OVER (ORDER BY r.position ROWS UNBOUNDED PRECEDING) AS up_to
        FROM unnest(p_types) AS t(type) CROSS JOIN LATERAL (
            SELECT e.*, {schema}.strunk_document_bytes(e.payload) + {schema}.strunk_document_bytes(e.diff) AS bytes
            FROM {schema}.strunk_outbox_delivered_events e
            WHERE e.key = t.type AND e.position > p_after ORDER BY e.position LIMIT p_limit) r) e
    WHERE e.up_to - e.bytes < p_bytes ORDER BY e.position LIMIT p_limit;
END $$;

-- The newest events of a type before position p_before, newest first, without their states: at most p_limit.
CREATE OR REPLACE FUNCTION {schema}.strunk_latest_events(p_type text, p_before bigint, p_limit integer)
RETURNS TABLE (pos bigint, published_at timestamptz, entity_id text, schema_version text)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
    SELECT e.position, e.created_at, e.entity_id, e.schema_version FROM {schema}.strunk_outbox_delivered_events e
    WHERE e.key = p_type AND e.position < p_before ORDER BY e.position DESC LIMIT p_limit
$$;

-- Moves a cursor forward and, with p_tidy, drops the attempts up to it. p_saved is where the owner
-- knows the cursor to be at least: one that is below it was lost in a crash of the server, and
-- must not pass what was lost with it. Fenced; false where the epoch is another, or the cursor was
-- lost. A cursor never moves back. Locks the subscriber's row.
CREATE OR REPLACE FUNCTION {schema}.strunk_move_cursor(p_name text, p_epoch bigint, p_saved bigint,
    p_cursor bigint, p_tidy boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_cursor bigint;
BEGIN
    UPDATE {schema}.strunk_subscribers s
    SET cursor = p_cursor, started = greatest(s.started, p_cursor), moved_at = clock_timestamp()
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.server_started = pg_postmaster_start_time()
        AND s.cursor < p_cursor AND s.cursor >= p_saved;
    IF NOT FOUND THEN
        SELECT s.cursor INTO v_cursor FROM {schema}.strunk_subscribers s
        WHERE s.name = p_name AND s.epoch = p_epoch AND s.server_started = pg_postmaster_start_time();
        RETURN coalesce(v_cursor >= greatest(p_saved, p_cursor), false);
    END IF;
    IF p_tidy THEN
        DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name AND r.position BETWEEN 1 AND p_cursor;
    END IF;
    RETURN true;
END $$;

-- Says that events up to p_started may be begun. Fenced; false where the epoch is another.
CREATE OR REPLACE FUNCTION {schema}.strunk_start_events(p_name text, p_epoch bigint, p_started bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET started = greatest(s.started, p_started)
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.server_started = pg_postmaster_start_time();
    RETURN FOUND;
END $$;
