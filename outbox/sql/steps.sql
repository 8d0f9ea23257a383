-- Steps of handlers: results that a later attempt of the task is given.

-- Stores the result of a step of a claimed task, in the caller's transaction. Fenced as strunk_guard,
-- which keeps the task from others until the commit: whoever claims the task later sees the result.
CREATE OR REPLACE FUNCTION {schema}.strunk_store_step(p_worker bigint, p_id bigint, p_claim bigint,
    p_idle_ms bigint, p_name text, p_type text, p_result text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    PERFORM {schema}.strunk_guard(p_worker, p_id, p_claim, p_idle_ms);
    INSERT INTO {schema}.strunk_steps (task_id, fence, stored_at, queue, name, type, result)
    SELECT t.id, t.seq, clock_timestamp(), t.key, p_name, p_type, p_result::json
    FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_id
    ON CONFLICT (task_id, name) DO NOTHING;
END $$;

-- Deletes up to p_limit results of steps that were stored before p_before and whose task cannot be
-- handled any more: it is neither active nor dead, cancelled or discarded. Returns how many.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_steps(p_before timestamptz, p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_n bigint;
BEGIN
    DELETE FROM {schema}.strunk_steps s WHERE s.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_steps o WHERE o.stored_at < p_before
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = o.task_id)
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d WHERE d.id = o.task_id)
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_cancelled c WHERE c.id = o.task_id)
        ORDER BY o.stored_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;
