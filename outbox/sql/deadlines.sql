-- Deadlines: tasks that are of no use unless they begin in time.

-- Gives tasks that wait a time by which they must have begun: p_before, or p_within_ms after they are
-- due. p_dead makes a late one a dead letter; else it is discarded. An array may be null. Called in the
-- transaction that has enqueued the tasks.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_deadlines(p_ids bigint[], p_before timestamptz[],
    p_within_ms bigint[] DEFAULT NULL, p_dead boolean[] DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    UPDATE {schema}.strunk_outbox_tasks t
    SET begin_before = coalesce(u.before, coalesce(t.due_at, t.created_at) + u.within_ms * interval '1 millisecond'),
        dead_if_late = nullif(u.dead, false)
    FROM unnest(p_ids, p_before, p_within_ms, p_dead) AS u(id, before, within_ms, dead)
    WHERE t.id = u.id AND t.status IN ('scheduled', 'pending')
$$;

-- Stores late tasks that the caller has deleted as discarded or dead, and notes them among the
-- failures of their queues.
CREATE OR REPLACE FUNCTION {schema}.strunk_store_late(p_task {schema}.strunk_outbox_tasks, p_worker_name text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.strunk_note_failure('task', p_task.key, 'late: the task had not begun in time');
    RETURN {schema}.strunk_store_ended(p_task, NULL, CASE WHEN p_task.dead_if_late THEN 'dead' ELSE 'discarded' END,
        'late: the task had not begun by ' || to_char(p_task.begin_before AT TIME ZONE 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), NULL, p_worker_name);
END $$;

-- Whether a task that waits is late. Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_has_late() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.begin_before <= v_now AND t.status <> 'claimed' ORDER BY t.begin_before LIMIT 1;
    RETURN FOUND;
END $$;

-- Ends up to p_limit tasks that wait and are late, the latest first. Returns them. Runs beside itself
-- and beside claims: SKIP LOCKED.
CREATE OR REPLACE FUNCTION {schema}.strunk_end_late(p_limit integer) RETURNS TABLE (id bigint, queue text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH c AS MATERIALIZED (
        SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
        WHERE t.begin_before <= v_now AND t.status <> 'claimed' ORDER BY t.begin_before LIMIT p_limit
        FOR UPDATE SKIP LOCKED),
    d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t USING c WHERE t.ctid = c.tid RETURNING t AS task)
    SELECT {schema}.strunk_store_late(d.task, NULL), (d.task).key FROM d;
END $$;

-- strunk_end_claimed for claimed tasks that must not begin any more.
CREATE OR REPLACE FUNCTION {schema}.strunk_end_claimed_late(p_worker bigint, p_ids bigint[], p_claims bigint[],
    p_worker_name text) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH u AS MATERIALIZED (
        SELECT x.tid, v.* FROM unnest(p_ids, p_claims) AS v(id, claim)
        CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = v.id OFFSET 0) x),
    d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t USING u
        WHERE t.ctid = u.tid AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = u.claim
        RETURNING t AS task)
    SELECT {schema}.strunk_store_late(d.task, p_worker_name) FROM d;
END $$;
