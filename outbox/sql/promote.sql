-- Delayed tasks and retries that become due.

-- Makes due tasks pending, the longest due first, at most p_limit; returns the queues to wake.
-- Enters the index at p_from, past the entries of earlier promotions that an open snapshot keeps
-- alive. Runs beside itself: SKIP LOCKED.
CREATE OR REPLACE FUNCTION {schema}.strunk_promote(p_from timestamptz, p_limit integer)
RETURNS TABLE (queue text, promoted bigint, last_due timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- Nothing due: no transaction id is spent on looking.
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.status = 'scheduled' AND t.due_at >= p_from AND t.due_at <= v_now ORDER BY t.due_at LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM pg_current_xact_id();
    RETURN QUERY
    WITH c AS MATERIALIZED (
        SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'scheduled' AND t.due_at >= p_from AND t.due_at <= v_now
        ORDER BY t.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
    up AS (
        UPDATE {schema}.strunk_outbox_tasks t SET status = 'pending', seq = nextval('{schema}.strunk_outbox_id_seq')
        FROM c WHERE t.ctid = c.tid RETURNING t.key, t.due_at)
    SELECT up.key, count(*), max(up.due_at) FROM up GROUP BY up.key;
END $$;

-- Milliseconds until the next scheduled task is due, at least 0; null where there is none from
-- p_from on. One that a person has put off for ever is none.
CREATE OR REPLACE FUNCTION {schema}.strunk_next_due_ms(p_from timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (SELECT greatest(0, ceil(extract(epoch FROM t.due_at - clock_timestamp()) * 1000))::bigint
        FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'scheduled' AND t.due_at >= p_from AND t.due_at < 'infinity' ORDER BY t.due_at LIMIT 1);
END $$;
