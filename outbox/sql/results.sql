-- Results and progress of tasks.

-- Stores results; a progress row of the task gives way.
CREATE OR REPLACE FUNCTION {schema}.strunk_store_results(p_queue text, p_ids bigint[], p_results text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO {schema}.strunk_results AS r (task_id, updated_at, percent, queue, result)
    SELECT u.id, clock_timestamp(), 100, p_queue, u.result::json FROM unnest(p_ids, p_results) AS u(id, result)
    WHERE u.result IS NOT NULL
    ON CONFLICT (task_id) DO UPDATE SET updated_at = excluded.updated_at, percent = 100, result = excluded.result
$$;

-- strunk_complete, with the results of those tasks that it completed, in the same transaction.
CREATE OR REPLACE FUNCTION {schema}.strunk_complete_results(p_queue text, p_worker bigint, p_ids bigint[],
    p_claims bigint[], p_results text[], p_keep boolean)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_done bigint[] := ARRAY(SELECT * FROM {schema}.strunk_complete(p_worker, p_ids, p_claims, p_keep));
BEGIN
    PERFORM {schema}.strunk_store_results(p_queue, array_agg(u.id), array_agg(u.result))
    FROM unnest(p_ids, p_results) AS u(id, result) WHERE u.id = ANY (v_done);
    RETURN QUERY SELECT unnest(v_done);
END $$;

-- Records the progress of a claimed task; false where the token does not hold it any more. FOR
-- SHARE keeps the token from changing until the commit; it waits for nothing but an outcome of the
-- same task.
CREATE OR REPLACE FUNCTION {schema}.strunk_progress(p_queue text, p_worker bigint, p_id bigint, p_claim bigint,
    p_percent integer, p_message text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.id = p_id AND t.status = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = p_claim FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.strunk_results AS r (task_id, updated_at, percent, queue, message)
    VALUES (p_id, clock_timestamp(), p_percent, p_queue, p_message)
    ON CONFLICT (task_id) DO UPDATE SET updated_at = excluded.updated_at, percent = excluded.percent,
        message = excluded.message;
    PERFORM pg_notify({channel}, 'r:' || p_queue);
    RETURN true;
END $$;
