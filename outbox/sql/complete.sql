-- Completing claimed tasks.

-- Completes claimed tasks: moves them to delivered, or deletes them where p_keep is false. Returns
-- the ids it moved; an id that is missing was not claimed under this token any more. p_ids must be
-- in ascending order: rows are locked in it.
--
-- The plan leaves no choice, whatever the statistics, and so do those of strunk_retry and
-- strunk_end_claimed. LATERAL with OFFSET 0 puts the ids outside and a look-up inside, for which no index
-- but that of id can serve. The row is then taken by its ctid, for which no index can. A plain join
-- was made on an empty table's statistics now and then, and walked all claimed rows for each id:
-- 260 microseconds a task in place of 15. A row that moves in between is missed, as if its token were another.
CREATE OR REPLACE FUNCTION {schema}.strunk_complete(p_worker bigint, p_ids bigint[], p_claims bigint[],
    p_keep boolean) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_ids    bigint[];
    v_claims bigint[];
    v_at     tid[];
BEGIN
    SELECT array_agg(u.id), array_agg(u.claim), array_agg(x.tid) INTO v_ids, v_claims, v_at
    FROM unnest(p_ids, p_claims) AS u(id, claim)
    CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = u.id OFFSET 0) x;
    RETURN QUERY SELECT c.id FROM {schema}.strunk_complete_at(p_worker, v_ids, v_claims, v_at, p_keep) AS c(id);
END $$;

-- strunk_complete with the places that strunk_claim told: no index is searched. A row that is no longer at its place is
-- missed, as if its token were another: the caller asks strunk_complete for those.
CREATE OR REPLACE FUNCTION {schema}.strunk_complete_at(p_worker bigint, p_ids bigint[], p_claims bigint[],
    p_at tid[], p_keep boolean) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t USING unnest(p_ids, p_claims, p_at) AS u(id, claim, at)
        WHERE t.ctid = u.at AND t.id + 0 = u.id AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker
            AND t.claim_no + 0 = u.claim
        RETURNING t.*),
    kept AS (
        INSERT INTO {schema}.strunk_outbox_delivered_tasks
            (id, seq, worker_id, claim_no, created_at, due_at, claimed_at, finished_at, timeout_ms, attempts,
             max_attempts, priority, batch_id, status, kind, key, dedup_key, customer_key, last_error, payload,
             metadata, errors)
        SELECT d.id, d.seq, d.worker_id, d.claim_no, d.created_at, d.due_at, d.claimed_at, v_now, d.timeout_ms,
            d.attempts, d.max_attempts, d.priority, d.batch_id, 'delivered', d.kind, d.key, d.dedup_key, d.customer_key,
            d.last_error, d.payload, d.metadata, d.errors
        FROM d WHERE p_keep),
    batches AS (
        INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what)
        SELECT d.batch_id, count(*), 'done' FROM d WHERE d.batch_id IS NOT NULL GROUP BY d.batch_id)
    SELECT d.id FROM d;
END $$;

-- Which of these tokens have ended: asked after the answer to a commit was lost.
CREATE OR REPLACE FUNCTION {schema}.strunk_ended(p_worker bigint, p_ids bigint[],
    p_claims bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_day text;
BEGIN
    RETURN QUERY
    SELECT d.id FROM unnest(p_ids, p_claims) AS u(id, claim)
    JOIN {schema}.strunk_outbox_dead d ON d.id = u.id AND d.worker_id = p_worker AND d.claim_no = u.claim
    UNION ALL
    SELECT d.id FROM unnest(p_ids, p_claims) AS u(id, claim)
    JOIN {schema}.strunk_outbox_cancelled d ON d.id = u.id AND d.worker_id = p_worker AND d.claim_no = u.claim
    UNION ALL
    SELECT t.id FROM unnest(p_ids, p_claims) AS u(id, claim)
    JOIN {schema}.strunk_outbox_tasks t ON t.id = u.id AND t.worker_id = p_worker AND t.claim_no = u.claim
        AND t.status <> 'claimed';
    FOR v_day IN SELECT {schema}.strunk_days_of_ids(min(u.id), max(u.id)) FROM unnest(p_ids) AS u(id) LOOP
        BEGIN
            RETURN QUERY EXECUTE format('SELECT d.id FROM unnest($2, $3) AS u(id, claim) JOIN {schema}.%I d
                ON d.id = u.id AND d.worker_id = $1 AND d.claim_no = u.claim', v_day) USING p_worker, p_ids, p_claims;
        EXCEPTION WHEN undefined_table THEN
            CONTINUE;
        END;
    END LOOP;
END $$;

-- Keeps a claimed task from others until the end of the caller's transaction, or raises STR01: then
-- nothing of that transaction can be committed. FOR SHARE waits for an outcome or a rescue of the
-- same task alone, and they wait for it. So a frozen process must not sit in the transaction: the
-- server ends one that is idle for p_idle_ms.
CREATE OR REPLACE FUNCTION {schema}.strunk_guard(p_worker bigint, p_id bigint, p_claim bigint, p_idle_ms bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_idle interval := current_setting('idle_in_transaction_session_timeout')::interval;
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.id = p_id AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = p_claim
    FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_guard: task % is no longer claimed by worker %', p_id, p_worker USING ERRCODE = 'STR01';
    END IF;
    IF v_idle = interval '0' OR v_idle > p_idle_ms * interval '1 millisecond' THEN
        PERFORM set_config('idle_in_transaction_session_timeout', p_idle_ms::text, true);
    END IF;
END $$;

-- Completes one task in the transaction of its handler, or raises STR01: then nothing of that
-- transaction may be committed.
CREATE OR REPLACE FUNCTION {schema}.strunk_complete_or_fail(p_worker bigint, p_id bigint, p_claim bigint,
    p_keep boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_complete(p_worker, ARRAY[p_id], ARRAY[p_claim], p_keep);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_complete_or_fail: task % is no longer claimed by worker %', p_id,
            p_worker USING ERRCODE = 'STR01';
    END IF;
END $$;
