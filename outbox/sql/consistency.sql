-- What a restore, a failover or logical replication may have left behind.

-- Compares sequences, the head of the feed and the relay's fence with the tables: what does not go
-- together, and what mends it; nothing where all is well. Reads only, by indexes.
CREATE OR REPLACE FUNCTION {schema}.strunk_inconsistencies() RETURNS TABLE (object text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_last bigint;
    v_max  bigint;
    v_feed {schema}.strunk_feed;
    c      record;
BEGIN
    SELECT f.* INTO v_feed FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    SELECT q.last_value INTO v_last FROM {schema}.strunk_outbox_id_seq q;
    v_max := {schema}.strunk_highest_id(v_last);
    IF v_max > v_last THEN
        object := 'strunk_outbox_id_seq';
        finding := format('it stands at %s, and rows have ids up to %s: new tasks would get ids that exist', v_last,
            v_max);
        remedy := format('SELECT setval(''{schema}.strunk_outbox_id_seq'', %s)', v_max);
        RETURN NEXT;
    END IF;
    SELECT q.last_value INTO v_last FROM {schema}.strunk_events_seq q;
    SELECT greatest(max(e.seq), v_feed.high) INTO v_max FROM {schema}.strunk_outbox_events e;
    IF v_max > v_last THEN
        object := 'strunk_events_seq';
        finding := format(
            'it stands at %s, and events have had numbers up to %s: new events would be found by sweeps alone',
            v_last, v_max);
        remedy := format('SELECT setval(''{schema}.strunk_events_seq'', %s)', v_max);
        RETURN NEXT;
    END IF;
    FOR c IN SELECT m.* FROM {schema}.strunk_feed_ahead() m LOOP
        object := 'strunk_feed';
        finding := format('the head is %s, and %s %s', v_feed.head, c.what, c.reached);
        remedy := 'SELECT {schema}.strunk_ensure_feed_partitions()';
        RETURN NEXT;
    END LOOP;
    IF v_feed.fence >= pg_snapshot_xmax(pg_current_snapshot()) THEN
        object := 'strunk_feed';
        finding := format('the fence is transaction %s, which is still to come', v_feed.fence);
        remedy := 'nothing: the next move of the relay resets it';
        RETURN NEXT;
    END IF;
END $$;

-- The highest id in use, where one is higher than p_last; else null.
CREATE OR REPLACE FUNCTION {schema}.strunk_highest_id(p_last bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT max(x.id) FROM (
        SELECT max(t.id) AS id FROM {schema}.strunk_outbox_tasks t WHERE t.id > p_last
        UNION ALL SELECT max(d.id) FROM {schema}.strunk_outbox_dead d WHERE d.id > p_last
        UNION ALL SELECT max(y.id) FROM {schema}.strunk_outbox_deliveries y WHERE y.id > p_last
        UNION ALL SELECT max(c.id) FROM {schema}.strunk_outbox_cancelled c WHERE c.id > p_last
        UNION ALL SELECT max(t.id) FROM {schema}.strunk_outbox_delivered_tasks t WHERE t.id > p_last
        UNION ALL SELECT max(e.id) FROM {schema}.strunk_outbox_delivered_events e WHERE e.id > p_last) x
$$;

-- What lies beyond the head of the feed, and up to where: nothing, unless a restore or logical
-- replication has brought the tables from different moments. One statement: what the relay commits
-- beside it is seen as a whole or not at all.
CREATE OR REPLACE FUNCTION {schema}.strunk_feed_ahead() RETURNS TABLE (what text, reached bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH feed AS MATERIALIZED (SELECT f.head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1)
    SELECT x.what, x.reached FROM feed CROSS JOIN LATERAL (
        SELECT 'the feed has events up to position' AS what, max(e.position) AS reached
        FROM {schema}.strunk_outbox_delivered_events e WHERE e.position > feed.head
        UNION ALL
        SELECT 'a subscriber''s cursor is', max(s.cursor) FROM {schema}.strunk_subscribers s
        WHERE s.cursor > feed.head) x
    WHERE x.reached IS NOT NULL
$$;
