-- Reading the feed and moving cursors.

-- Up to p_limit events of a type behind p_after, in order. The first row is none of them: its position is the head of the
-- feed, its version the subscriber's epoch, its id the floor, its entity_id the owner, its schema_version 'paused', 'restart'
-- or ''; it is missing where there is no such subscriber. STABLE, so all of it is of one snapshot: no event at or before the head is missing.
-- p_former are former names of the type, whose events come in between.
CREATE OR REPLACE FUNCTION {schema}.strunk_read_feed(p_name text, p_type text, p_after bigint, p_limit integer, p_former text[] DEFAULT '{}')
RETURNS TABLE (pos bigint, version bigint, id bigint, published_at timestamptz, entity_id text, schema_version text,
    payload json, metadata json, diff json)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT (SELECT f.head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1), s.epoch,
           (SELECT l.floor FROM {schema}.strunk_feed_floor l), NULL::timestamptz, s.owner::text,
           CASE WHEN s.needs_restart THEN 'restart' WHEN s.paused THEN 'paused' ELSE '' END, NULL::json, NULL::json, NULL::json
    FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    IF p_limit > 0 AND p_former = '{}' THEN
        RETURN QUERY
        SELECT e.position, e.version, e.id, e.created_at, e.entity_id, e.schema_version, e.payload, e.metadata, e.diff
        FROM {schema}.strunk_outbox_delivered_events e
        WHERE e.key = p_type AND e.position > p_after ORDER BY e.position LIMIT p_limit;
    ELSIF p_limit > 0 THEN
        RETURN QUERY
        SELECT e.* FROM unnest(p_type || p_former) AS t(type) CROSS JOIN LATERAL (
            SELECT e.position, e.version, e.id, e.created_at, e.entity_id, e.schema_version, e.payload, e.metadata, e.diff
            FROM {schema}.strunk_outbox_delivered_events e
            WHERE e.key = t.type AND e.position > p_after ORDER BY e.position LIMIT p_limit) e
        ORDER BY e.position LIMIT p_limit;
    END IF;
END $$;

-- Moves a cursor forward and, with p_tidy, drops the attempts behind it. Fenced; false where the epoch is another. Locks
-- the subscriber's row.
CREATE OR REPLACE FUNCTION {schema}.strunk_move_cursor(p_name text, p_epoch bigint, p_cursor bigint, p_tidy boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET cursor = p_cursor, started = greatest(s.started, p_cursor), moved_at = clock_timestamp()
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.cursor < p_cursor;
    IF NOT FOUND THEN
        RETURN EXISTS (SELECT 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch);
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
    UPDATE {schema}.strunk_subscribers s SET started = greatest(s.started, p_started) WHERE s.name = p_name AND s.epoch = p_epoch;
    RETURN FOUND;
END $$;
