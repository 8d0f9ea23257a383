-- Enqueueing tasks with a dedup mode.

-- Enqueues tasks of which at least one has a dedup mode. All arrays are of full length. Modes: null
-- (no key, or held until the task is done), waiting (held until the first claim), period (until
-- done and for the window), replace (waiting; the holder's payload and metadata are replaced),
-- debounce (replace; the holder is put off to p_delays_ms from now, at most p_max_ms from when it
-- was enqueued).
-- Locks and deadlocks: as strunk_enqueue_many. An insert waits for the transaction that has the
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
    p_modes text[], p_windows_ms bigint[], p_max_ms bigint[], p_notify boolean, p_customer_keys text[] DEFAULT NULL)
RETURNS TABLE (ord integer, id bigint, duplicate boolean, replaced boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_ms   constant interval := interval '1 millisecond';
    v_now  timestamptz := clock_timestamp();
    v_due  timestamptz;
    v_ids  bigint[];
    v_mode text;
BEGIN
    PERFORM pg_current_xact_id();
    v_ids := ARRAY(SELECT nextval('{schema}.strunk_outbox_id_seq') FROM generate_series(1, cardinality(p_payloads)));
    FOR ord IN SELECT g FROM generate_series(1, cardinality(p_payloads)) g ORDER BY p_queues[g] COLLATE "C", p_dedups[g] COLLATE "C", g
    LOOP
        v_mode := p_modes[ord];
        v_due := coalesce(p_dues[ord], v_now + p_delays_ms[ord] * v_ms);
        id := NULL; duplicate := false; replaced := false;
        IF v_mode = 'period' THEN
            SELECT d.task_id INTO id FROM {schema}.strunk_dedups d
            WHERE d.queue = p_queues[ord] AND d.dedup_key = p_dedups[ord] AND d.expires_at > v_now;
            duplicate := FOUND;
        END IF;
        FOR round IN 1 .. 100 LOOP
            EXIT WHEN id IS NOT NULL;
            IF v_mode IN ('replace', 'debounce') THEN
                INSERT INTO {schema}.strunk_outbox_tasks AS t
                    (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, admitted, dedup_waiting, status, kind, key, dedup_key, customer_key, payload, metadata)
                VALUES (v_ids[ord], v_ids[ord], v_now, v_due, p_timeouts_ms[ord], p_max_attempts[ord], p_priorities[ord], p_customer_keys[ord] IS NULL, true,
                    CASE WHEN v_due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', p_queues[ord], p_dedups[ord], p_customer_keys[ord],
                    p_payloads[ord]::json, p_metadata[ord]::json)
                ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL)
                DO UPDATE SET payload = excluded.payload, metadata = excluded.metadata,
                    due_at = CASE WHEN v_mode = 'debounce' AND (t.customer_key IS NULL OR t.status = 'scheduled') AND least(excluded.due_at, t.created_at + p_max_ms[ord] * v_ms) > v_now
                        THEN greatest(t.due_at, least(excluded.due_at, t.created_at + p_max_ms[ord] * v_ms)) ELSE t.due_at END,
                    status = CASE WHEN v_mode = 'debounce' AND (t.customer_key IS NULL OR t.status = 'scheduled') AND least(excluded.due_at, t.created_at + p_max_ms[ord] * v_ms) > v_now
                        THEN 'scheduled' ELSE t.status END
                WHERE t.status IN ('scheduled', 'pending')
                RETURNING t.id INTO id;
                duplicate := id <> v_ids[ord];
                replaced := duplicate;
            ELSE
                INSERT INTO {schema}.strunk_outbox_tasks AS t
                    (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, admitted, dedup_waiting, status, kind, key, dedup_key, customer_key, payload, metadata)
                VALUES (v_ids[ord], v_ids[ord], v_now, v_due, p_timeouts_ms[ord], p_max_attempts[ord], p_priorities[ord], p_customer_keys[ord] IS NULL,
                    CASE WHEN v_mode = 'waiting' THEN true END,
                    CASE WHEN v_due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', p_queues[ord], p_dedups[ord], p_customer_keys[ord],
                    p_payloads[ord]::json, p_metadata[ord]::json)
                ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL) DO NOTHING
                RETURNING t.id INTO id;
            END IF;
            EXIT WHEN id IS NOT NULL;
            SELECT t.id INTO id FROM {schema}.strunk_outbox_tasks t
            WHERE t.key = p_queues[ord] AND t.dedup_key = p_dedups[ord] AND (t.dedup_waiting IS NULL OR t.worker_id IS NULL);
            duplicate := true; replaced := false;
        END LOOP;
        IF id IS NULL THEN
            RAISE EXCEPTION 'strunk_enqueue_dedup: %: holders come and go', p_dedups[ord] USING ERRCODE = '40P01';
        END IF;
        IF v_mode = 'period' AND NOT duplicate THEN
            INSERT INTO {schema}.strunk_dedups AS d (task_id, expires_at, queue, dedup_key)
            VALUES (id, v_now + p_windows_ms[ord] * v_ms, p_queues[ord], p_dedups[ord])
            ON CONFLICT (queue, dedup_key) DO UPDATE SET task_id = excluded.task_id, expires_at = excluded.expires_at
            WHERE d.expires_at <= v_now;
            IF NOT FOUND THEN
                -- Another was enqueued, and perhaps done, between the look and the insert.
                DELETE FROM {schema}.strunk_outbox_tasks t WHERE t.id = v_ids[ord];
                SELECT d.task_id INTO id FROM {schema}.strunk_dedups d WHERE d.queue = p_queues[ord] AND d.dedup_key = p_dedups[ord];
                duplicate := true;
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF p_notify THEN
        PERFORM pg_notify({channel}, 'q:' || q) FROM (SELECT DISTINCT unnest(p_queues) AS q) d;
        PERFORM pg_notify({channel}, 'due');
    END IF;
EXCEPTION WHEN deadlock_detected OR lock_not_available THEN
    RETURN QUERY SELECT 0, 0::bigint, false, false;
END $$;
