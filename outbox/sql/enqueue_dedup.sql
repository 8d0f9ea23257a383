-- Enqueueing tasks with a dedup mode.

-- Enqueues tasks of which at least one has a dedup mode. All arrays are of full length. Modes: null
-- (no key, or held until the task is done), waiting (held until the first claim), period (until
-- done and for the window), replace (waiting; the holder's payload and metadata are replaced),
-- debounce (replace; the holder is put off to p_delays_ms from now, at most p_max_ms from when it
-- was enqueued).
-- Locks and deadlocks: as strunk_enqueue_keyed. An insert waits for the transaction that has the
-- key: if that commits, the holder is found or changed, else the insert goes on. A holder that is
-- claimed meanwhile has left the index: DO UPDATE follows no newer version of a row but starts
-- again, and then inserts.
-- One that waits in the backlog of its key, or was admitted, is past its debounce: it is replaced
-- and not put off.
-- A replaced task keeps its seq, and so its place: it was visible as waiting all the time, so no
-- worker's low watermark can have passed it.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_dedup(
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[],
    p_modes text[], p_windows_ms bigint[], p_max_ms bigint[], p_notify boolean, p_customer_keys text[] DEFAULT NULL,
    p_batch bigint DEFAULT NULL)
RETURNS TABLE (ord integer, id bigint, duplicate boolean, replaced boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_ids  bigint[];
    v_task {schema}.strunk_outbox_tasks;
BEGIN
    PERFORM pg_current_xact_id();
    v_ids := ARRAY(SELECT nextval('{schema}.strunk_outbox_id_seq') FROM generate_series(1, cardinality(p_payloads)));
    FOR ord IN SELECT g FROM generate_series(1, cardinality(p_payloads)) g
        ORDER BY p_queues[g] COLLATE "C", p_dedups[g] COLLATE "C", g
    LOOP
        v_task := NULL;
        v_task.id := v_ids[ord];
        v_task.seq := v_ids[ord];
        v_task.batch_id := p_batch;
        v_task.created_at := v_now;
        v_task.due_at := coalesce(p_dues[ord], v_now + p_delays_ms[ord] * interval '1 millisecond');
        v_task.timeout_ms := p_timeouts_ms[ord];
        v_task.attempts := 0;
        v_task.max_attempts := p_max_attempts[ord];
        v_task.priority := p_priorities[ord];
        v_task.admitted := p_customer_keys[ord] IS NULL;
        v_task.dedup_waiting := CASE WHEN p_modes[ord] IN ('waiting', 'replace', 'debounce') THEN true END;
        v_task.status := CASE WHEN v_task.due_at > v_now THEN 'scheduled' ELSE 'pending' END;
        v_task.kind := 'task';
        v_task.key := p_queues[ord];
        v_task.dedup_key := p_dedups[ord];
        v_task.customer_key := p_customer_keys[ord];
        v_task.payload := p_payloads[ord]::json;
        v_task.metadata := p_metadata[ord]::json;
        IF p_modes[ord] = 'period' THEN
            id := {schema}.strunk_enqueue_in_period(v_task, p_windows_ms[ord]);
            replaced := false;
        ELSE
            SELECT e.id, e.replaced INTO id, replaced
            FROM {schema}.strunk_enqueue_or_find(v_task, p_modes[ord], p_max_ms[ord]) e;
        END IF;
        duplicate := id <> v_task.id;
        RETURN NEXT;
    END LOOP;
    IF p_notify THEN
        PERFORM {schema}.strunk_announce_tasks(p_queues, true);
    END IF;
EXCEPTION WHEN deadlock_detected OR lock_not_available THEN
    RETURN QUERY SELECT 0, 0::bigint, false, false;
END $$;

-- Enqueues one task, or replaces or finds the task that holds its dedup key, as p_mode says; returns the id of the one
-- that has the key. A holder may be gone (done, or dead) before it is found: then the insert is tried again.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_or_find(p_task {schema}.strunk_outbox_tasks, p_mode text,
    p_max_ms bigint, OUT id bigint, OUT replaced boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    FOR round IN 1 .. 100 LOOP
        replaced := false;
        IF p_mode IN ('replace', 'debounce') THEN
            id := {schema}.strunk_enqueue_or_replace(p_task, p_mode = 'debounce', p_max_ms);
            replaced := id <> p_task.id;
        ELSE
            INSERT INTO {schema}.strunk_outbox_tasks AS t SELECT (p_task).*
            ON CONFLICT (key, dedup_key)
                WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL) DO NOTHING
            RETURNING t.id INTO id;
        END IF;
        EXIT WHEN id IS NOT NULL;
        SELECT t.id INTO id FROM {schema}.strunk_outbox_tasks t
        WHERE t.key = p_task.key AND t.dedup_key = p_task.dedup_key
            AND (t.dedup_waiting IS NULL OR t.worker_id IS NULL);
        replaced := false;
        EXIT WHEN id IS NOT NULL;
    END LOOP;
    IF id IS NULL THEN
        RAISE EXCEPTION 'strunk_enqueue_dedup: %: holders come and go', p_task.dedup_key USING ERRCODE = '40P01';
    END IF;
END $$;

-- Enqueues one task, or gives its payload and metadata to the waiting task that holds its dedup key; returns the id of
-- the one that has them, null where the holder is being worked on. With p_debounce the holder is put off to when the
-- new one is due, at most p_max_ms (null: no limit) from when the holder was enqueued, and never brought forward.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_or_replace(p_task {schema}.strunk_outbox_tasks, p_debounce boolean,
    p_max_ms bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_id bigint;
BEGIN
    INSERT INTO {schema}.strunk_outbox_tasks AS t SELECT (p_task).*
    ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL)
    DO UPDATE SET payload = excluded.payload, metadata = excluded.metadata, (due_at, status) = (
        SELECT CASE WHEN y.put_off THEN greatest(t.due_at, y.due_at) ELSE t.due_at END,
            CASE WHEN y.put_off THEN 'scheduled' ELSE t.status END
        FROM (SELECT x.due_at, p_debounce AND (t.customer_key IS NULL OR t.status = 'scheduled')
                AND x.due_at > excluded.created_at AS put_off
            FROM (SELECT least(excluded.due_at, t.created_at + p_max_ms * interval '1 millisecond') AS due_at) x) y)
    WHERE t.status IN ('scheduled', 'pending')
    RETURNING t.id INTO v_id;
    RETURN v_id;
END $$;

-- Enqueues one task unless one with its dedup key was enqueued within the last p_window_ms, or is not done; returns the
-- id of the one that counts.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_in_period(p_task {schema}.strunk_outbox_tasks, p_window_ms bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT d.task_id INTO v_id FROM {schema}.strunk_dedups d
    WHERE d.queue = p_task.key AND d.dedup_key = p_task.dedup_key AND d.expires_at > p_task.created_at;
    IF FOUND THEN
        RETURN v_id;
    END IF;
    SELECT e.id INTO v_id FROM {schema}.strunk_enqueue_or_find(p_task, NULL, NULL) e;
    IF v_id <> p_task.id THEN
        RETURN v_id;
    END IF;
    INSERT INTO {schema}.strunk_dedups AS d (task_id, held_at, expires_at, queue, dedup_key)
    VALUES (v_id, p_task.created_at, p_task.created_at + p_window_ms * interval '1 millisecond', p_task.key,
        p_task.dedup_key)
    ON CONFLICT (queue, dedup_key) DO UPDATE
    SET task_id = excluded.task_id, held_at = excluded.held_at, expires_at = excluded.expires_at
    WHERE d.expires_at <= p_task.created_at;
    IF FOUND THEN
        RETURN v_id;
    END IF;
    -- Another was enqueued, and perhaps done, between the look and the insert.
    DELETE FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_task.id;
    RETURN (SELECT d.task_id FROM {schema}.strunk_dedups d
        WHERE d.queue = p_task.key AND d.dedup_key = p_task.dedup_key);
END $$;

-- Notes what a worker's program declares about dedup by payload (in words; empty for nothing), and
-- returns what was noted before where that was something else. A queue for which nothing was ever
-- declared is left alone.
CREATE OR REPLACE FUNCTION {schema}.strunk_declare_dedup(p_queue text, p_declared text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_before text;
BEGIN
    SELECT q.declared_dedup INTO v_before FROM {schema}.strunk_queues q WHERE q.queue = p_queue;
    IF coalesce(v_before, '') = p_declared THEN
        RETURN NULL;
    END IF;
    INSERT INTO {schema}.strunk_queues AS q (queue, declared_dedup) VALUES (p_queue, p_declared)
    ON CONFLICT (queue) DO UPDATE SET declared_dedup = excluded.declared_dedup;
    RETURN CASE WHEN v_before = '' THEN 'none' ELSE v_before END;
END $$;
