-- Snapshots, and subscribers that start from them.

-- The next p_limit entities of a type behind id p_after that are not deleted, in order of the ids, under any of the type's names: the
-- newest version counts. A name's rows are read in the order of the primary key, at most p_limit of them and the stubs between.
CREATE OR REPLACE FUNCTION {schema}.strunk_live_snapshots(p_types text[], p_after text, p_limit integer)
RETURNS TABLE (version bigint, updated_at timestamptz, entity_id text, schema_version text, state json)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT l.* FROM unnest(p_types) AS t(type) CROSS JOIN LATERAL (
        SELECT s.version, s.updated_at, s.entity_id, s.schema_version, s.state FROM {schema}.strunk_snapshots s
        WHERE s.entity_type = t.type COLLATE "C" AND s.entity_id > p_after COLLATE "C" AND NOT s.deleted
          AND NOT EXISTS (SELECT 1 FROM unnest(p_types) AS r(type) JOIN {schema}.strunk_snapshots o ON o.entity_type = r.type COLLATE "C"
                          WHERE r.type <> t.type AND o.entity_id = s.entity_id AND o.version > s.version)
        ORDER BY s.entity_id LIMIT p_limit) l
    ORDER BY l.entity_id LIMIT p_limit;
END $$;

-- The next entities of a type behind boot_mark p_after, as they are now, without deleted ones; their versions are kept, so
-- that the feed can be followed without what the subscriber has had. Fenced: nothing where the epoch is another. p_former are
-- former names of the type: of an entity that is there under several names, the newest version counts.
CREATE OR REPLACE FUNCTION {schema}.strunk_scan_snapshots(p_name text, p_epoch bigint, p_type text, p_after text, p_limit integer, p_former text[] DEFAULT '{}')
RETURNS TABLE (version bigint, updated_at timestamptz, entity_id text, schema_version text, state json)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_scan_snapshots: epoch % of subscriber % is over', p_epoch, p_name USING ERRCODE = 'STR01';
    END IF;
    RETURN QUERY
    WITH c AS MATERIALIZED (
        SELECT s.version, s.updated_at, s.entity_id, s.schema_version, s.state FROM {schema}.strunk_live_snapshots(p_type || p_former, p_after, p_limit) s),
    kept AS (
        INSERT INTO {schema}.strunk_bootstrap AS b (version, subscriber, entity_id) SELECT c.version, p_name, c.entity_id FROM c
        ON CONFLICT (subscriber, entity_id) DO UPDATE SET version = excluded.version)
    SELECT c.* FROM c ORDER BY c.entity_id;
END $$;

-- Keeps how far a subscriber is in the snapshots; an earlier mark changes nothing. Fenced; false where the epoch is another.
CREATE OR REPLACE FUNCTION {schema}.strunk_move_scan(p_name text, p_epoch bigint, p_mark text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET boot_mark = p_mark, moved_at = clock_timestamp()
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.boot = 1 AND (s.boot_mark IS NULL OR s.boot_mark < p_mark COLLATE "C");
    IF NOT FOUND THEN
        RETURN EXISTS (SELECT 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch AND s.boot = 1);
    END IF;
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name AND r.position = 0 AND r.entity_id <= p_mark COLLATE "C";
    RETURN true;
END $$;

-- Ends the delivery of the snapshots, in two calls or more: the first goes over to the feed and remembers the highest seq
-- that waits for the relay (whatever a snapshot that was read could contain is at or below it, or in the feed already).
-- When none at or below it waits any more, the head of that moment is where the kept versions end; when the cursor is
-- there, they are dropped. Returns the state.
CREATE OR REPLACE FUNCTION {schema}.strunk_end_scan(p_name text, p_epoch bigint) RETURNS smallint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
DECLARE
    s {schema}.strunk_subscribers;
BEGIN
    SELECT t.* INTO s FROM {schema}.strunk_subscribers t WHERE t.name = p_name AND t.epoch = p_epoch FOR NO KEY UPDATE;
    IF NOT FOUND OR s.boot = 0 THEN
        RETURN 0;
    END IF;
    IF s.boot = 1 THEN
        SELECT max(e.seq) INTO s.boot_seq FROM {schema}.strunk_outbox_events e;
        UPDATE {schema}.strunk_subscribers t SET boot = 2, boot_mark = NULL, boot_seq = coalesce(s.boot_seq, 0), boot_head = NULL WHERE t.name = p_name;
        RETURN 2;
    END IF;
    IF s.boot_head IS NULL THEN
        PERFORM 1 FROM {schema}.strunk_outbox_events e WHERE e.seq <= s.boot_seq LIMIT 1;
        IF FOUND THEN
            RETURN 2;
        END IF;
        SELECT f.head INTO s.boot_head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
        UPDATE {schema}.strunk_subscribers t SET boot_head = s.boot_head WHERE t.name = p_name;
    END IF;
    IF s.cursor < s.boot_head THEN
        RETURN 2;
    END IF;
    DELETE FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name;
    UPDATE {schema}.strunk_subscribers t SET boot = 0, boot_seq = NULL, boot_head = NULL WHERE t.name = p_name;
    RETURN 0;
END $$;

-- Which of these entities had which version from the snapshots.
CREATE OR REPLACE FUNCTION {schema}.strunk_had(p_name text, p_ids text[]) RETURNS TABLE (entity_id text, version bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT b.entity_id, b.version FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name AND b.entity_id = ANY (p_ids)
$$;
