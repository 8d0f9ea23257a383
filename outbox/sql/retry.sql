-- Ending an attempt without success: another attempt, a dead letter, or the end that somebody asked for.

-- The history of a task's attempts with one more entry, at most the last twenty. A history that a
-- person has replaced by something else begins anew.
CREATE OR REPLACE FUNCTION {schema}.strunk_add_error(
    p_errors jsonb, p_attempt integer, p_at timestamptz, p_error text, p_stack text, p_worker_name text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_error IS NULL THEN p_errors
        ELSE CASE
                WHEN p_errors IS NULL OR jsonb_typeof(p_errors) <> 'array' THEN '[]'::jsonb
                WHEN jsonb_array_length(p_errors) >= 20 THEN p_errors - 0
                ELSE p_errors END
             || jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
                    'attempt', p_attempt, 'at', p_at, 'error', p_error, 'stack', nullif(p_stack, ''), 'worker',
                        p_worker_name)))
        END
$$;

-- Stores a task that the caller has deleted as one that has ended with p_status (dead, cancelled, discarded), with one
-- more error in its history, and returns its id: p_id, or (null) that of the task. With hold_dead a dead letter keeps
-- its backlog_seq, and with it the place of its key, unless somebody asked for its cancellation.
CREATE OR REPLACE FUNCTION {schema}.strunk_store_ended(p_task {schema}.strunk_outbox_tasks, p_id bigint, p_status text,
    p_error text, p_stack text, p_worker_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_id  bigint := coalesce(p_id, p_task.id);
BEGIN
    INSERT INTO {schema}.strunk_outbox
        (id, seq, worker_id, claim_no, created_at, due_at, claimed_at, finished_at, timeout_ms, attempts, max_attempts,
         priority, backlog_seq, batch_id, status, kind, key, dedup_key, customer_key, last_error, payload, metadata,
         errors)
    VALUES (v_id, p_task.seq, p_task.worker_id, p_task.claim_no, p_task.created_at, p_task.due_at, p_task.claimed_at,
        v_now, p_task.timeout_ms, p_task.attempts, p_task.max_attempts, p_task.priority,
        CASE WHEN p_status = 'dead' AND p_task.customer_key IS NOT NULL
            AND {schema}.strunk_holds_key(p_task.key, p_task.id) THEN p_task.backlog_seq END,
        p_task.batch_id, p_status, p_task.kind, p_task.key, p_task.dedup_key, p_task.customer_key,
        coalesce(p_error, p_task.last_error), p_task.payload, p_task.metadata,
        {schema}.strunk_add_error(p_task.errors, p_task.attempts, v_now, p_error, p_stack, p_worker_name));
    IF p_task.batch_id IS NOT NULL THEN
        INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what) VALUES (p_task.batch_id, 1, p_status);
        INSERT INTO {schema}.strunk_batch_tasks (batch_id, task_id) SELECT p_task.batch_id, v_id
        WHERE v_id <> p_task.id;
    END IF;
    IF EXISTS (SELECT 1 FROM {schema}.strunk_queues q WHERE q.queue = p_task.key AND q.outcome_type IS NOT NULL) THEN
        PERFORM {schema}.strunk_publish_outcomes(ARRAY[v_id], ARRAY[p_task.key], ARRAY[p_status],
            ARRAY[p_task.attempts::integer], ARRAY[coalesce(p_error, p_task.last_error)]);
    END IF;
    RETURN v_id;
END $$;

-- Gives claimed tasks back for another attempt: scheduled after their delay, or pending where it is
-- 0. A null error is no failure (a shutdown, a snooze), and p_refunds says that the attempt is not
-- spent. What has begun (p_begun) has no deadline any more. A task with a customer key gives its slot
-- up; with FIFO it returns before all others of its key. Fenced and ordered as strunk_complete.
CREATE OR REPLACE FUNCTION {schema}.strunk_retry(
    p_worker bigint, p_ids bigint[], p_claims bigint[], p_delays_ms bigint[], p_refunds boolean[], p_errors text[],
        p_stacks text[], p_worker_name text, p_begun boolean[] DEFAULT NULL) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM pg_current_xact_id();
    RETURN QUERY
    WITH u AS MATERIALIZED (
        SELECT x.tid, v.* FROM unnest(p_ids, p_claims, p_delays_ms, p_refunds, p_errors, p_stacks, p_begun)
            AS v(id, claim, delay, refund, error, stack, begun)
        CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = v.id OFFSET 0) x),
    given_back AS (
        UPDATE {schema}.strunk_outbox_tasks t
        SET status = CASE WHEN u.delay > 0 THEN 'scheduled' ELSE 'pending' END,
            due_at = v_now + u.delay * interval '1 millisecond',
            seq = nextval('{schema}.strunk_outbox_id_seq'),
            admitted = t.customer_key IS NULL,
            slot = NULL, possibly_started = NULL,
            backlog_seq = CASE WHEN t.customer_key IS NOT NULL AND EXISTS (
                SELECT 1 FROM {schema}.strunk_limits l WHERE l.queue = t.key AND l.fifo) THEN t.backlog_seq END,
            attempts = greatest(0, t.attempts - u.refund::integer),
            begin_before = CASE WHEN u.begun THEN NULL ELSE t.begin_before END,
            last_error = coalesce(u.error, t.last_error),
            errors = {schema}.strunk_add_error(t.errors, t.attempts, v_now, u.error, u.stack, p_worker_name)
        FROM u
        WHERE t.ctid = u.tid AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = u.claim
        RETURNING t.id, t.key, u.error),
    noted AS (
        INSERT INTO {schema}.strunk_failures (failed_at, n, kind, name, fingerprint, error)
        SELECT v_now, f.n, 'task', f.key, f.fingerprint, f.error
        FROM (SELECT g.key, {schema}.strunk_fingerprint(g.error) AS fingerprint, count(*) AS n,
                  left(max(g.error), 1000) AS error
              FROM given_back g WHERE g.error IS NOT NULL GROUP BY 1, 2) f)
    SELECT g.id FROM given_back g;
END $$;

-- Ends claimed tasks with p_status: dead (their attempts are spent, or cannot help), cancelled (by a person) or
-- discarded (by the handler), each with its last error. Fenced and ordered as strunk_complete.
CREATE OR REPLACE FUNCTION {schema}.strunk_end_claimed(
    p_worker bigint, p_ids bigint[], p_claims bigint[], p_status text, p_errors text[], p_stacks text[],
    p_worker_name text)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH u AS MATERIALIZED (
        SELECT x.tid, v.* FROM unnest(p_ids, p_claims, p_errors, p_stacks) AS v(id, claim, error, stack)
        CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = v.id OFFSET 0) x),
    d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t USING u
        WHERE t.ctid = u.tid AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = u.claim
        RETURNING t AS task, u.error, u.stack),
    counted AS (
        INSERT INTO {schema}.strunk_counters (kind, name, dead, cancelled, discarded)
        SELECT 'queue', e.queue, CASE p_status WHEN 'dead' THEN e.n ELSE 0 END,
            CASE p_status WHEN 'cancelled' THEN e.n ELSE 0 END, CASE p_status WHEN 'discarded' THEN e.n ELSE 0 END
        FROM (SELECT (d.task).key AS queue, count(*) AS n FROM d GROUP BY 1) e),
    noted AS (
        INSERT INTO {schema}.strunk_failures (failed_at, n, kind, name, fingerprint, error)
        SELECT f.at, f.n, 'task', f.queue, f.fingerprint, f.error
        FROM (SELECT (d.task).key AS queue, {schema}.strunk_fingerprint(d.error) AS fingerprint, count(*) AS n,
                  left(max(d.error), 1000) AS error, clock_timestamp() AS at
              FROM d WHERE p_status = 'dead' AND d.error IS NOT NULL GROUP BY 1, 2) f)
    SELECT {schema}.strunk_store_ended(d.task, NULL, p_status, d.error, d.stack, p_worker_name) FROM d;
END $$;

-- Makes a dead letter of one claimed task whose outcome cannot be stored. Nothing of the row is
-- taken over that could be what is wrong with it: its history begins anew, and where a dead letter
-- with its id exists it gets another id, which the error names. Returns whether the task was
-- claimed under this token. Fenced as strunk_complete.
CREATE OR REPLACE FUNCTION {schema}.strunk_isolate(p_worker bigint, p_id bigint, p_claim bigint, p_error text,
    p_worker_name text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_task  {schema}.strunk_outbox_tasks;
    v_id    bigint := p_id;
    v_error text := p_error;
BEGIN
    DELETE FROM {schema}.strunk_outbox_tasks t
    WHERE t.id = p_id AND t.status = 'claimed' AND t.worker_id = p_worker AND t.claim_no = p_claim RETURNING t.*
        INTO v_task;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d WHERE d.id = p_id) THEN
        v_id := nextval('{schema}.strunk_outbox_id_seq');
        v_error := format('task %s, now %s: %s', p_id, v_id, p_error);
    END IF;
    v_task.errors := NULL;
    PERFORM {schema}.strunk_note_failure('task', v_task.key, p_error);
    PERFORM {schema}.strunk_store_ended(v_task, v_id, 'dead', v_error, NULL, p_worker_name);
    UPDATE {schema}.strunk_outbox_dead d SET isolated = true WHERE d.id = v_id;
    INSERT INTO {schema}.strunk_counters (kind, name, dead) VALUES ('queue', v_task.key, 1);
    RETURN true;
END $$;
