-- Why a task does not run.

-- The causes, the most decisive first; none where a worker is about to take the task. Counts end at
-- 1,000, lists of tasks at five. Reads only, by indexes. What the columns say of each cause:
--   ended              name: the status; since
--   cancelling         name: the reason
--   running            name: the worker; since; n: the attempt
--   worker_lost        name: the worker, or empty; since: its last heartbeat
--   due_later          until; n: attempts so far; name: the last error, where it is a retry
--   promoter_behind    since: the due time
--   paused             since; name: who did it, and (after a colon) why
--   all_paused         as paused, of all queues
--   held               until when the queue is on hold; since; name: by whom
--   key_held           as held, of the customer key
--   no_worker          name: the queue
--   key_held_by_dead   task_id: the dead letter that keeps the key waiting; since
--   key_full           task_id, name (its status), n (its attempts) and until (its due time) of a task
--                      that takes a slot of the key
--   key_rate           until: when the rate of the key lets the next begin
--   behind_in_key      n: tasks of its key before it
--   behind_in_turn     n: keys whose turns come before that of its key
--   queue_full         as key_full: a task that takes a place of the queue
--   queue_rate         until: when the rate of the queue lets the next begin
--   workers_busy       n: tasks that the workers of the queue handle at once; all do
--   higher_priority    n: pending tasks of a higher priority
--   behind             n: pending tasks of its priority before it
CREATE OR REPLACE FUNCTION {schema}.strunk_why(p_id bigint)
RETURNS TABLE (cause text, since timestamptz, until timestamptz, task_id bigint, n bigint, name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_task   {schema}.strunk_outbox_tasks;
    v_now    timestamptz := clock_timestamp();
BEGIN
    SELECT t.* INTO v_task FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_id;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'ended', o.finished_at, NULL::timestamptz, NULL::bigint, NULL::bigint, o.status::text
        FROM {schema}.strunk_outbox o WHERE o.id = p_id AND o.kind = 'task' LIMIT 1;
        RETURN;
    END IF;
    RETURN QUERY SELECT 'cancelling', c.requested_at, NULL::timestamptz, NULL::bigint, NULL::bigint, c.reason
    FROM {schema}.strunk_cancels c WHERE c.queue = v_task.key AND c.task_id = p_id;
    IF v_task.status = 'claimed' THEN
        RETURN QUERY SELECT CASE WHEN w.heartbeat_at >= v_now - w.lease_ms * interval '1 millisecond'
                AND NOT w.expired THEN 'running' ELSE 'worker_lost' END,
            CASE WHEN w.heartbeat_at >= v_now - w.lease_ms * interval '1 millisecond' AND NOT w.expired
                THEN v_task.claimed_at ELSE w.heartbeat_at END,
            NULL::timestamptz, NULL::bigint, v_task.attempts::bigint, coalesce(w.host || '/' || w.pid, '')
        FROM (SELECT 1) one LEFT JOIN {schema}.strunk_workers w ON w.id = v_task.worker_id;
        RETURN;
    ELSIF v_task.status = 'scheduled' AND v_task.due_at > v_now THEN
        RETURN QUERY SELECT 'due_later', NULL::timestamptz, v_task.due_at, NULL::bigint, v_task.attempts::bigint,
            v_task.last_error;
    ELSIF v_task.status = 'scheduled' THEN
        RETURN QUERY SELECT 'promoter_behind', v_task.due_at, NULL::timestamptz, NULL::bigint, NULL::bigint, '';
    END IF;
    RETURN QUERY SELECT CASE WHEN p.of_all THEN 'all_paused' ELSE 'paused' END, p.paused_at, NULL::timestamptz,
        NULL::bigint, NULL::bigint, p.paused_by || coalesce(': ' || nullif(p.reason, ''), '')
    FROM {schema}.strunk_pauses(v_task.key) p;
    RETURN QUERY SELECT CASE WHEN h.customer_key = '' THEN 'held' ELSE 'key_held' END, h.since, h.until, NULL::bigint,
        NULL::bigint, h.held_by
    FROM {schema}.strunk_holds h
    WHERE h.queue = v_task.key AND h.customer_key IN ('', v_task.customer_key) AND h.until > v_now
    ORDER BY h.customer_key;
    IF NOT EXISTS (SELECT 1 FROM {schema}.strunk_workers w WHERE w.queue = v_task.key AND NOT w.expired) THEN
        RETURN QUERY SELECT 'no_worker', NULL::timestamptz, NULL::timestamptz, NULL::bigint, NULL::bigint,
            v_task.key::text;
    END IF;
    IF v_task.status = 'pending' AND NOT v_task.admitted THEN
        RETURN QUERY SELECT k.* FROM {schema}.strunk_why_not_admitted(v_task) k;
        IF EXISTS (SELECT 1 FROM {schema}.strunk_limits l WHERE l.queue = v_task.key AND l.fair) THEN
            RETURN QUERY SELECT k.* FROM {schema}.strunk_why_not_claimed(v_task) k;
        END IF;
    ELSIF v_task.status = 'pending' THEN
        RETURN QUERY SELECT k.* FROM {schema}.strunk_why_not_claimed(v_task) k;
    END IF;
END $$;

-- What keeps a task in the backlog of its key: see strunk_why.
CREATE OR REPLACE FUNCTION {schema}.strunk_why_not_admitted(p_task {schema}.strunk_outbox_tasks)
RETURNS TABLE (cause text, since timestamptz, until timestamptz, task_id bigint, n bigint, name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_limits {schema}.strunk_limits;
    v_until  timestamptz;
BEGIN
    SELECT l.* INTO v_limits FROM {schema}.strunk_limits l WHERE l.queue = p_task.key;
    IF v_limits.key_running IS NOT NULL AND NOT v_limits.fifo THEN
        v_limits.key_running := coalesce((SELECT l.running FROM {schema}.strunk_key_limits l
            WHERE l.queue = p_task.key AND l.customer_key = p_task.customer_key), v_limits.key_running);
    END IF;
    IF v_limits.hold_dead THEN
        RETURN QUERY SELECT 'key_held_by_dead', d.finished_at, NULL::timestamptz, d.id, NULL::bigint, ''
        FROM {schema}.strunk_outbox_dead d
        WHERE d.key = p_task.key AND d.customer_key = p_task.customer_key AND d.backlog_seq IS NOT NULL LIMIT 1;
    END IF;
    RETURN QUERY SELECT 'key_full', x.claimed_at, x.due_at, x.id, x.attempts::bigint, x.status::text
    FROM (SELECT t.* FROM {schema}.strunk_outbox_tasks t
          WHERE t.key = p_task.key AND t.customer_key = p_task.customer_key AND t.slot IS NOT NULL AND t.id <> p_task.id
          UNION ALL
          SELECT t.* FROM {schema}.strunk_outbox_tasks t
          WHERE t.key = p_task.key AND t.customer_key = p_task.customer_key AND NOT t.admitted
              AND t.backlog_seq IS NOT NULL AND t.status = 'scheduled' AND t.id <> p_task.id
          LIMIT v_limits.key_running) x
    WHERE (SELECT count(*) FROM {schema}.strunk_outbox_tasks t WHERE t.key = p_task.key
           AND t.customer_key = p_task.customer_key AND t.slot IS NOT NULL) >= v_limits.key_running
        OR x.status = 'scheduled'
    ORDER BY x.id LIMIT 5;
    SELECT to_timestamp((r.until_us + (1 - of_key.burst) * of_key.step_us) / 1000000.0) INTO v_until
    FROM {schema}.strunk_key_rate(v_limits, p_task.key, p_task.customer_key) of_key, {schema}.strunk_rates r
    WHERE r.queue = p_task.key AND r.customer_key = p_task.customer_key ORDER BY r.until_us DESC LIMIT 1;
    IF v_until > clock_timestamp() THEN
        RETURN QUERY SELECT 'key_rate', NULL::timestamptz, v_until, NULL::bigint, NULL::bigint, '';
    END IF;
    RETURN QUERY SELECT 'behind_in_key', NULL::timestamptz, NULL::timestamptz, NULL::bigint, x.n, ''
    FROM (SELECT count(*) AS n FROM (
        SELECT 1 FROM {schema}.strunk_outbox_tasks t
        WHERE t.key = p_task.key AND t.customer_key = p_task.customer_key AND t.status = 'pending' AND NOT t.admitted
            AND CASE WHEN p_task.backlog_seq IS NULL THEN t.backlog_seq IS NOT NULL OR t.seq < p_task.seq
                ELSE t.backlog_seq < p_task.backlog_seq END LIMIT 1000) y) x
    WHERE x.n > 0;
    RETURN QUERY SELECT 'behind_in_turn', NULL::timestamptz, NULL::timestamptz, NULL::bigint, x.n, ''
    FROM (SELECT count(*) AS n FROM (
        SELECT 1 FROM {schema}.strunk_turns t, {schema}.strunk_turns own
        WHERE v_limits.fair AND own.queue = p_task.key AND own.customer_key = p_task.customer_key
            AND t.queue = p_task.key AND (t.at, t.n) < (own.at, own.n) LIMIT 1000) y) x
    WHERE x.n > 0;
END $$;

-- What keeps a pending task that is admitted from being claimed: see strunk_why.
CREATE OR REPLACE FUNCTION {schema}.strunk_why_not_claimed(p_task {schema}.strunk_outbox_tasks)
RETURNS TABLE (cause text, since timestamptz, until timestamptz, task_id bigint, n bigint, name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_limits  {schema}.strunk_limits;
    v_claimed bigint;
    v_at_once bigint;
    v_step    bigint;
    v_until   timestamptz;
BEGIN
    SELECT l.* INTO v_limits FROM {schema}.strunk_limits l WHERE l.queue = p_task.key;
    SELECT sum(w.concurrency), coalesce(sum(c.n), 0) INTO v_at_once, v_claimed
    FROM {schema}.strunk_workers w CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (SELECT 1 FROM {schema}.strunk_outbox_tasks t
            WHERE t.status = 'claimed' AND t.worker_id = w.id LIMIT 10000) y) c
    WHERE w.queue = p_task.key;
    IF v_claimed >= v_limits.running THEN
        RETURN QUERY SELECT 'queue_full', t.claimed_at, NULL::timestamptz, t.id, t.attempts::bigint, t.status::text
        FROM {schema}.strunk_workers w JOIN {schema}.strunk_outbox_tasks t ON t.worker_id = w.id
            AND t.status = 'claimed'
        WHERE w.queue = p_task.key ORDER BY t.id LIMIT 5;
    END IF;
    v_step := {schema}.strunk_rate_step(v_limits.rate_us, v_limits.rate);
    SELECT to_timestamp((r.until_us + (1 - v_limits.rate_burst) * v_step) / 1000000.0) INTO v_until
    FROM {schema}.strunk_rates r WHERE r.queue = p_task.key AND r.customer_key = '' ORDER BY r.until_us DESC LIMIT 1;
    IF v_until > clock_timestamp() THEN
        RETURN QUERY SELECT 'queue_rate', NULL::timestamptz, v_until, NULL::bigint, NULL::bigint, '';
    END IF;
    IF v_claimed >= v_at_once THEN
        RETURN QUERY SELECT 'workers_busy', NULL::timestamptz, NULL::timestamptz, NULL::bigint, v_at_once, '';
    END IF;
    RETURN QUERY SELECT 'higher_priority', NULL::timestamptz, NULL::timestamptz, NULL::bigint, x.n, ''
    FROM (SELECT count(*) AS n FROM (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending'
        AND t.admitted AND t.key = p_task.key AND t.priority > p_task.priority LIMIT 1000) y) x
    WHERE x.n > 0;
    RETURN QUERY SELECT 'behind', NULL::timestamptz, NULL::timestamptz, NULL::bigint, x.n, ''
    FROM (SELECT count(*) AS n FROM (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending'
        AND t.admitted AND t.key = p_task.key AND t.priority = p_task.priority AND t.seq < p_task.seq
        LIMIT 1000) y) x
    WHERE x.n > 0;
END $$;
