-- Cancelling tasks, pausing queues.

-- Cancels tasks that wait (scheduled, pending); returns those it moved. Locks in the order given, and
-- waits for a claim under way, whose task it then leaves alone.
CREATE OR REPLACE FUNCTION {schema}.strunk_cancel_waiting(p_ids bigint[], p_error text) RETURNS TABLE (id bigint,
    queue text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = ANY (p_ids) AND t.status IN ('scheduled', 'pending') RETURNING t AS task),
    counted AS (
        INSERT INTO {schema}.strunk_counters (kind, name, cancelled)
        SELECT 'queue', (d.task).key, count(*) FROM d GROUP BY 2)
    SELECT {schema}.strunk_store_ended(d.task, NULL, 'cancelled', p_error, NULL, NULL), (d.task).key FROM d;
END $$;

-- Cancels a task. A waiting one is cancelled at once (cancelled); a running one is marked,
-- and its worker told, whose handler's context ends (cancelling). Otherwise 'ended: ' and the status in
-- which it has ended, or null where there is none.
CREATE OR REPLACE FUNCTION {schema}.strunk_cancel(p_id bigint, p_reason text DEFAULT '') RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_status text;
    v_queue  text;
    v_error  text := 'cancelled' || CASE WHEN coalesce(p_reason, '') = '' THEN '' ELSE ': ' || p_reason END;
BEGIN
    SELECT t.status, t.key INTO v_status, v_queue FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN (SELECT 'ended: ' || o.status FROM {schema}.strunk_task(p_id) o LIMIT 1);
    ELSIF v_status = 'claimed' THEN
        INSERT INTO {schema}.strunk_cancels (task_id, queue, reason) VALUES (p_id, v_queue, v_error)
            ON CONFLICT DO NOTHING;
        PERFORM pg_notify({channel}, 'c:' || v_queue);
        RETURN 'cancelling';
    END IF;
    PERFORM {schema}.strunk_cancel_waiting(ARRAY[p_id], v_error);
    PERFORM pg_notify({channel}, 'r:' || v_queue);
    RETURN 'cancelled';
END $$;

-- Whom a pause, a hold or a job is of where nobody is named: the role, and what its connection calls itself.
CREATE OR REPLACE FUNCTION {schema}.strunk_whoami() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT left(concat_ws(', ', session_user, nullif(current_setting('application_name'), '')), 300)
$$;

-- Pauses a queue: workers begin no task of it as soon as they have heard. Running handlers go on. One that is
-- paused already stays as it is. p_by says who does it; null: the role.
CREATE OR REPLACE FUNCTION {schema}.strunk_pause_queue(p_queue text, p_reason text DEFAULT '', p_by text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce(octet_length(p_queue), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'strunk_pause_queue: the queue''s name must have 1 to 200 bytes' USING ERRCODE = '22023';
    END IF;
    INSERT INTO {schema}.strunk_queues AS q (queue, paused_at, paused_by, pause_reason)
    VALUES (p_queue, clock_timestamp(), left(coalesce(nullif(p_by, ''), {schema}.strunk_whoami()), 300),
        left(coalesce(p_reason, ''), 1000))
    ON CONFLICT (queue) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by,
        pause_reason = excluded.pause_reason
        WHERE q.paused_at IS NULL;
    PERFORM pg_notify({channel}, 'c:' || p_queue);
END $$;

-- Ends a queue's pause. A pause of all queues goes on.
CREATE OR REPLACE FUNCTION {schema}.strunk_resume_queue(p_queue text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE {schema}.strunk_queues q SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
    WHERE q.queue = p_queue AND q.paused_at IS NOT NULL;
    PERFORM pg_notify({channel}, 'c:' || p_queue);
END $$;

-- Pauses all queues, also those that appear later, beside what each is itself: strunk_resume_all leaves
-- paused what was paused alone. A pause that is there already stays as it is. Returns the queues whose
-- workers it has told.
CREATE OR REPLACE FUNCTION {schema}.strunk_pause_all(p_reason text DEFAULT '', p_by text DEFAULT NULL)
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.strunk_all_paused (paused_at, paused_by, reason)
    VALUES (clock_timestamp(), left(coalesce(nullif(p_by, ''), {schema}.strunk_whoami()), 300),
        left(coalesce(p_reason, ''), 1000))
    ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT {schema}.strunk_tell_workers();
END $$;

-- Ends the pause of all queues. Returns the queues whose workers it has told.
CREATE OR REPLACE FUNCTION {schema}.strunk_resume_all() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM {schema}.strunk_all_paused;
    RETURN QUERY SELECT {schema}.strunk_tell_workers();
END $$;

-- Has the workers of every queue look at what they must know besides their tasks; returns the queues.
CREATE OR REPLACE FUNCTION {schema}.strunk_tell_workers() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_queue text;
BEGIN
    FOR v_queue IN SELECT DISTINCT w.queue FROM {schema}.strunk_workers w ORDER BY w.queue LOOP
        PERFORM pg_notify({channel}, 'c:' || v_queue);
        RETURN NEXT v_queue;
    END LOOP;
END $$;

-- The pauses that keep a queue from being begun: its own, then that of all queues.
CREATE OR REPLACE FUNCTION {schema}.strunk_pauses(p_queue text)
RETURNS TABLE (paused_at timestamptz, paused_by text, reason text, of_all boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT p.* FROM (
        SELECT q.paused_at, coalesce(q.paused_by, '') AS paused_by, coalesce(q.pause_reason, '') AS reason,
            false AS of_all
        FROM {schema}.strunk_queues q WHERE q.queue = p_queue AND q.paused_at IS NOT NULL
        UNION ALL
        SELECT a.paused_at, a.paused_by, a.reason, true FROM {schema}.strunk_all_paused a) p
    ORDER BY p.of_all
$$;

-- What a worker must know besides its tasks: first a row that says whether its queue is paused or on
-- hold, and (hold_us, the microseconds left) for how long it is on hold; then one for each customer key
-- on hold, with its hold_us; then one for each task that is to be cancelled and has not ended. All
-- workers of the queue hear of all of these: whichever has the task, or claims it after it was given
-- back, ends it. Those that wait are cancelled here, by whichever worker looks first. Without
-- cancellations it writes nothing.
CREATE OR REPLACE FUNCTION {schema}.strunk_control(p_queue text) RETURNS TABLE (paused boolean, task_id bigint,
    reason text, customer_key text, hold_us bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_request   record;
    v_status text;
    v_hold_us bigint;
    v_now     timestamptz := clock_timestamp();
BEGIN
    SELECT ceil(extract(epoch FROM h.until - v_now) * 1000000)::bigint INTO v_hold_us
    FROM {schema}.strunk_holds h WHERE h.queue = p_queue AND h.customer_key = '' AND h.until > v_now;
    RETURN QUERY SELECT v_hold_us IS NOT NULL OR EXISTS (SELECT 1 FROM {schema}.strunk_pauses(p_queue)),
        NULL::bigint, NULL::text, NULL::text, v_hold_us;
    RETURN QUERY SELECT NULL::boolean, NULL::bigint, NULL::text, h.customer_key,
        ceil(extract(epoch FROM h.until - v_now) * 1000000)::bigint
    FROM {schema}.strunk_holds h WHERE h.queue = p_queue AND h.customer_key > '' AND h.until > v_now
    ORDER BY h.until DESC LIMIT 10000;
    FOR v_request IN SELECT c.task_id, c.reason FROM {schema}.strunk_cancels c WHERE c.queue = p_queue
        ORDER BY c.task_id LOOP
        SELECT t.status INTO v_status FROM {schema}.strunk_outbox_tasks t WHERE t.id = v_request.task_id;
        IF FOUND AND v_status <> 'claimed' THEN
            PERFORM 1 FROM {schema}.strunk_cancel_waiting(ARRAY[v_request.task_id], v_request.reason);
            PERFORM pg_notify({channel}, 'r:' || p_queue);
            PERFORM 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = v_request.task_id;
        END IF;
        IF FOUND THEN
            RETURN QUERY SELECT NULL::boolean, v_request.task_id, v_request.reason, NULL::text, NULL::bigint;
        ELSE
            DELETE FROM {schema}.strunk_cancels c WHERE c.queue = p_queue AND c.task_id = v_request.task_id;
        END IF;
    END LOOP;
END $$;

-- Which of these queues have something that strunk_control would say, or limits of another version than in p_limits (0:
-- none): their places in p_queues, counted from 1. Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_queues_with_control(p_queues text[], p_limits bigint[])
RETURNS TABLE (place integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_all boolean := EXISTS (SELECT 1 FROM {schema}.strunk_all_paused);
BEGIN
    RETURN QUERY SELECT w.o::integer FROM unnest(p_queues, p_limits) WITH ORDINALITY AS w(queue, limits, o)
    WHERE v_all
        OR EXISTS (SELECT 1 FROM {schema}.strunk_queues q WHERE q.queue = w.queue AND q.paused_at IS NOT NULL)
        OR EXISTS (SELECT 1 FROM {schema}.strunk_holds h WHERE h.queue = w.queue AND h.until > clock_timestamp())
        OR EXISTS (SELECT 1 FROM {schema}.strunk_cancels c WHERE c.queue = w.queue)
        OR coalesce((SELECT l.version FROM {schema}.strunk_limits l WHERE l.queue = w.queue), 0) <> w.limits;
END $$;
