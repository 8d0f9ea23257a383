-- Snapshots, and subscribers that start from them.

-- The next entities of a type after id p_after that are not deleted, in order of the ids, under
-- any of the type's names: the newest version counts. Up to p_limit, and not more than p_bytes of
-- states unless it is a single one. A name's rows are read in the order of the primary key, at most
-- p_limit of them and the stubs between.
CREATE OR REPLACE FUNCTION {schema}.strunk_live_snapshots(p_types text[], p_after text, p_limit integer, p_bytes bigint)
RETURNS TABLE (version bigint, updated_at timestamptz, entity_id text, schema_version text, state json)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT b.version, b.updated_at, b.entity_id, b.schema_version, b.state FROM (
        SELECT l.*, sum({schema}.strunk_document_bytes(l.state)) OVER (ORDER BY l.entity_id ROWS UNBOUNDED PRECEDING)
               - {schema}.strunk_document_bytes(l.state) AS before
        FROM unnest(p_types) AS t(type) CROSS JOIN LATERAL (
            SELECT s.version, s.updated_at, s.entity_id, s.schema_version, s.state FROM {schema}.strunk_snapshots s
            WHERE s.entity_type = t.type COLLATE "C" AND s.entity_id > p_after COLLATE "C" AND NOT s.deleted
              AND NOT EXISTS (SELECT 1 FROM unnest(p_types) AS r(type) JOIN {schema}.strunk_snapshots o
                  ON o.entity_type = r.type COLLATE "C"
                              WHERE r.type <> t.type AND o.entity_id = s.entity_id AND o.version > s.version)
            ORDER BY s.entity_id LIMIT p_limit) l) b
    WHERE b.before < p_bytes ORDER BY b.entity_id LIMIT p_limit;
END $$;

-- The next entities of a type, under any of its names, after bootstrap_mark p_after, as they are
-- now, without deleted ones, bounded as those of strunk_live_snapshots; none is the end. Their
-- versions are kept, so that the feed can be followed without what the subscriber has had. Fenced:
-- STR01 where the epoch is another.
CREATE OR REPLACE FUNCTION {schema}.strunk_read_snapshots(p_name text, p_epoch bigint, p_types text[],
    p_after text, p_limit integer, p_bytes bigint)
RETURNS TABLE (version bigint, updated_at timestamptz, entity_id text, schema_version text, state json)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RAISE EXCEPTION 'strunk_read_snapshots: epoch % of subscriber % is over', p_epoch,
            p_name USING ERRCODE = 'STR01';
    END IF;
    RETURN QUERY
    WITH c AS MATERIALIZED (SELECT s.* FROM {schema}.strunk_live_snapshots(p_types, p_after, p_limit, p_bytes) s),
    kept AS (
        INSERT INTO {schema}.strunk_bootstrap AS b (version, subscriber, entity_id) SELECT c.version, p_name,
            c.entity_id FROM c
        ON CONFLICT (subscriber, entity_id) DO UPDATE SET version = excluded.version)
    SELECT c.* FROM c ORDER BY c.entity_id;
END $$;

-- Keeps how far a subscriber is in the snapshots. A mark never moves back; p_saved is where the
-- owner knows it to be at least, as with strunk_move_cursor ('' is the beginning). Fenced; false
-- where the epoch is another, or the mark was lost.
CREATE OR REPLACE FUNCTION {schema}.strunk_move_bootstrap(p_name text, p_epoch bigint, p_saved text,
    p_mark text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_mark text;
BEGIN
    SELECT coalesce(s.bootstrap_mark, '') INTO v_mark FROM {schema}.strunk_subscribers s
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.server_started = pg_postmaster_start_time()
        AND s.bootstrap = 'snapshots' FOR NO KEY UPDATE;
    IF NOT FOUND OR v_mark < p_saved COLLATE "C" THEN
        RETURN false;
    ELSIF v_mark < p_mark COLLATE "C" THEN
        UPDATE {schema}.strunk_subscribers s SET bootstrap_mark = p_mark, moved_at = clock_timestamp()
            WHERE s.name = p_name;
        DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name AND r.position = 0
            AND r.entity_id <= p_mark COLLATE "C";
    END IF;
    RETURN true;
END $$;

-- Ends the bootstrap from the snapshots, in two calls or more: the first goes over to the feed and
-- remembers the highest seq that waits for the relay (whatever a snapshot that was read could
-- contain is at or below it, or in the feed already). When none at or below it waits any more, the
-- head of that moment is where the kept versions end; when the cursor is there, they are dropped.
-- Returns strunk_subscribers.bootstrap as it is now. Fenced: it changes nothing where the epoch is
-- another.
CREATE OR REPLACE FUNCTION {schema}.strunk_end_bootstrap(p_name text, p_epoch bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
DECLARE
    s {schema}.strunk_subscribers;
BEGIN
    SELECT t.* INTO s FROM {schema}.strunk_subscribers t
    WHERE t.name = p_name AND t.epoch = p_epoch AND t.server_started = pg_postmaster_start_time() FOR NO KEY UPDATE;
    IF NOT FOUND OR s.bootstrap = 'done' THEN
        RETURN 'done';
    END IF;
    IF s.bootstrap = 'snapshots' THEN
        SELECT max(e.seq) INTO s.bootstrap_seq FROM {schema}.strunk_outbox_events e;
        UPDATE {schema}.strunk_subscribers t
        SET bootstrap = 'catching_up', bootstrap_mark = NULL, bootstrap_seq = coalesce(s.bootstrap_seq, 0),
            bootstrap_head = NULL
        WHERE t.name = p_name;
        RETURN 'catching_up';
    END IF;
    IF s.bootstrap_head IS NULL THEN
        PERFORM 1 FROM {schema}.strunk_outbox_events e WHERE e.seq <= s.bootstrap_seq LIMIT 1;
        IF FOUND THEN
            RETURN 'catching_up';
        END IF;
        SELECT f.head INTO s.bootstrap_head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
        UPDATE {schema}.strunk_subscribers t SET bootstrap_head = s.bootstrap_head WHERE t.name = p_name;
    END IF;
    IF s.cursor < s.bootstrap_head THEN
        RETURN 'catching_up';
    END IF;
    DELETE FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name;
    UPDATE {schema}.strunk_subscribers t SET bootstrap = 'done', bootstrap_seq = NULL, bootstrap_head = NULL
        WHERE t.name = p_name;
    RETURN 'done';
END $$;

-- Which of these entities had which version from the snapshots.
CREATE OR REPLACE FUNCTION {schema}.strunk_bootstrap_versions(p_name text,
    p_ids text[]) RETURNS TABLE (entity_id text, version bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT b.entity_id, b.version FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name
        AND b.entity_id = ANY (p_ids)
$$;
