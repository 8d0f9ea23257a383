-- Counts of what is too much to be counted for each question. One process counts now and then, and
-- everybody reads the numbers with their age. What is few is counted when it is asked for: see stats.sql.

-- Counts everything by part and name, and everything of a part under the name ''. Of delivered tasks,
-- and of the events before each subscriber, it counts up to p_bound; complete is false where that was
-- not all. One statement counts, so that all numbers are of one moment. Locks: the row of
-- strunk_count_passes, so that passes come one after another.
CREATE OR REPLACE FUNCTION {schema}.strunk_count(p_bound bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    v_began timestamptz;
BEGIN
    INSERT INTO {schema}.strunk_count_passes DEFAULT VALUES ON CONFLICT DO NOTHING; -- the first pass, or a restored one
    PERFORM 1 FROM {schema}.strunk_count_passes p FOR UPDATE;
    v_began := clock_timestamp();
    WITH counted AS MATERIALIZED (SELECT c.* FROM {schema}.strunk_count_all(p_bound) c),
    gone AS (
        DELETE FROM {schema}.strunk_counts o
        WHERE NOT EXISTS (SELECT 1 FROM counted c WHERE c.part = o.part AND c.name = o.name))
    INSERT INTO {schema}.strunk_counts AS o (part, name, n, complete)
    SELECT c.part, c.name, c.n, c.complete FROM counted c
    ON CONFLICT (part, name) DO UPDATE SET n = excluded.n, complete = excluded.complete
        WHERE o.n <> excluded.n OR o.complete <> excluded.complete;
    UPDATE {schema}.strunk_count_passes p SET counted_at = v_began,
        took_ms = ceil(extract(epoch FROM clock_timestamp() - v_began) * 1000);
END $$;

-- The counts themselves. STABLE: each part sees the snapshot of the statement that calls it.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_all(p_bound bigint)
RETURNS TABLE (part text, name text, n bigint, complete boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN grouping(t.worker_id) = 1 THEN t.status ELSE 'held' END,
        coalesce(t.key, t.worker_id::text, ''), count(*), true
    FROM {schema}.strunk_outbox_tasks t
    GROUP BY GROUPING SETS ((t.status, t.key), (t.status), (t.status, t.worker_id))
    HAVING grouping(t.worker_id) = 1 OR (t.status = 'claimed' AND t.worker_id IS NOT NULL)
    UNION ALL
    SELECT 'dead', coalesce(d.key, ''), count(*), true FROM {schema}.strunk_outbox_dead d
    WHERE d.kind = 'task' GROUP BY GROUPING SETS ((d.key), ())
    UNION ALL
    SELECT 'dead_of_any_kind', '', count(*), true FROM {schema}.strunk_outbox_dead d
    UNION ALL
    SELECT 'dead_deliveries', coalesce(d.subscriber, ''), count(*), true FROM {schema}.strunk_outbox_dead d
    WHERE d.kind <> 'task' GROUP BY GROUPING SETS ((d.subscriber), ())
    UNION ALL
    SELECT c.status, coalesce(c.key, ''), count(*), true FROM {schema}.strunk_outbox_cancelled c
    GROUP BY GROUPING SETS ((c.status, c.key), (c.status))
    UNION ALL
    SELECT 'deliveries', coalesce(d.subscriber, ''), count(*), true FROM {schema}.strunk_outbox_deliveries d
    GROUP BY GROUPING SETS ((d.subscriber), ())
    UNION ALL
    SELECT 'events', '', count(*), true FROM {schema}.strunk_outbox_events e
    UNION ALL
    SELECT 'delivered', coalesce(x.key, ''), count(*), max(count(*)) OVER () < p_bound
    FROM (SELECT d.key FROM {schema}.strunk_outbox_delivered_tasks d LIMIT p_bound) x
    GROUP BY GROUPING SETS ((x.key), ())
    UNION ALL
    SELECT 'waiting', s.name, w.n, w.n < p_bound FROM {schema}.strunk_subscribers s CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (
            SELECT 1 FROM {schema}.strunk_outbox_delivered_events e
            WHERE e.key = ANY (s.entity_type || s.previous_types) AND e.position > s.cursor LIMIT p_bound) y) w
$$;

-- Takes the turn to count: true for the one process that may now. A pass that took long is followed
-- by the next one later, so that counting takes at most one p_share-th of the time of one connection.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_begin(p_every_ms bigint, p_share integer, p_process text)
RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {schema}.strunk_loop_begin('counter', greatest(p_every_ms,
        (SELECT p.took_ms * p_share FROM {schema}.strunk_count_passes p)), p_process)
$$;

-- Notes how long a pass took that was given up: its numbers are those of the pass before.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_gave_up(p_took_ms bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO {schema}.strunk_count_passes (took_ms) VALUES (p_took_ms)
    ON CONFLICT (one) DO UPDATE SET took_ms = excluded.took_ms
$$;

-- What a count is that stopped at its cap, of which p_least are known to be there: what the last pass
-- counted (counted), or, where that is less or unknown, p_least (at_least).
CREATE OR REPLACE FUNCTION {schema}.strunk_over_cap(p_least bigint, p_part text, p_name text)
RETURNS TABLE (n bigint, precise text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_complete boolean;
BEGIN
    SELECT c.n, c.complete INTO n, v_complete FROM {schema}.strunk_counts c WHERE c.part = p_part AND c.name = p_name;
    IF v_complete IS NULL THEN
        SELECT c.complete INTO v_complete FROM {schema}.strunk_counts c WHERE c.part = p_part AND c.name = '';
    END IF;
    precise := CASE WHEN v_complete AND coalesce(n, 0) >= p_least THEN 'counted' ELSE 'at_least' END;
    n := greatest(n, p_least);
    RETURN NEXT;
END $$;

-- When the counts are of; null where nobody has counted yet.
CREATE OR REPLACE FUNCTION {schema}.strunk_counted_at() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.counted_at FROM {schema}.strunk_count_passes p
$$;
