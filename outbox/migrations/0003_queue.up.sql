-- What queues offer beyond the plain task: dedup modes, the inbox, results and progress, cancelling, pausing, dead letters.
-- The plain path of 0001 reads none of these tables.

-- A queue's settings; a queue without a row has the defaults.
CREATE TABLE {schema}.strunk_queues (
    paused_at       timestamptz,
    queue           text COLLATE "C" PRIMARY KEY,
    declared_limits text
);

-- Running tasks that are to be cancelled: by task, not by token, so that the wish outlives the worker that had it then.
CREATE TABLE {schema}.strunk_cancels (
    task_id      bigint      NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    queue        text COLLATE "C" NOT NULL,
    reason       text        NOT NULL,
    PRIMARY KEY (queue, task_id)
);

-- Dedup keys that are held for a period, whether or not their task is done.
CREATE TABLE {schema}.strunk_dedups (
    task_id    bigint      NOT NULL,
    expires_at timestamptz NOT NULL,
    queue      text COLLATE "C" NOT NULL,
    dedup_key  text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, dedup_key)
);
CREATE INDEX strunk_dedups_expires ON {schema}.strunk_dedups (expires_at);

-- Messages that a consumer has handled. task_id stands beside marks that workers make: such a mark is needed only while
-- its task could be handled again, and is kept until then whatever the retention.
CREATE TABLE {schema}.strunk_inbox (
    task_id    bigint,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    consumer   text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX strunk_inbox_handled ON {schema}.strunk_inbox (handled_at) WHERE task_id IS NULL;
CREATE INDEX strunk_inbox_tasks ON {schema}.strunk_inbox (handled_at) WHERE task_id IS NOT NULL;

-- Progress of running tasks and results of done ones. A result is never NULL: JSON has a null of its own.
CREATE TABLE {schema}.strunk_results (
    task_id    bigint      PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    percent    smallint    NOT NULL DEFAULT 0,
    queue      text COLLATE "C" NOT NULL,
    message    text        NOT NULL DEFAULT '',
    result     json
);
CREATE INDEX strunk_results_updated ON {schema}.strunk_results (updated_at);

-- Enqueues tasks of which at least one has a dedup mode. All arrays are of full length. Modes: null (no key, or held until
-- the task is done), waiting (held until the first claim), period (until done and for the window), replace (waiting; the
-- holder's payload and metadata are replaced), debounce (replace; the holder is put off to p_delays_ms from now, at
-- most p_most_ms from when it was enqueued).
-- Locks and deadlocks: as strunk_enqueue_many. An insert waits for the transaction that has the key: if that commits, the
-- holder is found or changed, else the insert goes on. A holder that is claimed meanwhile has left the index: DO UPDATE
-- follows no newer version of a row but starts again, and then inserts.
-- One that waits in its key's line, or has been called from it, is past its debounce: it is replaced and not put off.
-- A replaced task keeps its seq, and so its place: it was visible as waiting all the time, so no worker's safe mark can
-- have passed it.
CREATE FUNCTION {schema}.strunk_enqueue_dedup(
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[],
    p_modes text[], p_windows_ms bigint[], p_most_ms bigint[], p_notify boolean, p_limit_keys text[] DEFAULT NULL)
RETURNS TABLE (ord integer, id bigint, duplicate boolean, replaced boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
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
                    (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, dedup_waiting, status, kind, key, dedup_key, limit_key, payload, metadata)
                VALUES (v_ids[ord], v_ids[ord], v_now, v_due, p_timeouts_ms[ord], p_max_attempts[ord], p_priorities[ord], true,
                    CASE WHEN v_due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', p_queues[ord], p_dedups[ord], p_limit_keys[ord],
                    p_payloads[ord]::json, p_metadata[ord]::json)
                ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL)
                DO UPDATE SET payload = excluded.payload, metadata = excluded.metadata,
                    due_at = CASE WHEN v_mode = 'debounce' AND t.standing IS NULL AND least(excluded.due_at, t.created_at + p_most_ms[ord] * v_ms) > v_now
                        THEN greatest(t.due_at, least(excluded.due_at, t.created_at + p_most_ms[ord] * v_ms)) ELSE t.due_at END,
                    status = CASE WHEN v_mode = 'debounce' AND t.standing IS NULL AND least(excluded.due_at, t.created_at + p_most_ms[ord] * v_ms) > v_now
                        THEN 'scheduled' ELSE t.status END
                WHERE t.status IN ('scheduled', 'pending')
                RETURNING t.id INTO id;
                duplicate := id <> v_ids[ord];
                replaced := duplicate;
            ELSE
                INSERT INTO {schema}.strunk_outbox_tasks AS t
                    (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, dedup_waiting, status, kind, key, dedup_key, limit_key, payload, metadata)
                VALUES (v_ids[ord], v_ids[ord], v_now, v_due, p_timeouts_ms[ord], p_max_attempts[ord], p_priorities[ord],
                    CASE WHEN v_mode = 'waiting' THEN true END,
                    CASE WHEN v_due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', p_queues[ord], p_dedups[ord], p_limit_keys[ord],
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

-- Completes one task in the transaction of its handler, or raises STR01: then nothing of that transaction may be committed.
CREATE FUNCTION {schema}.strunk_complete_or_fail(p_worker bigint, p_id bigint, p_claim bigint, p_keep boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_complete(p_worker, ARRAY[p_id], ARRAY[p_claim], p_keep);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_complete_or_fail: task % is no longer claimed by worker %', p_id, p_worker USING ERRCODE = 'STR01';
    END IF;
END $$;

-- Stores results; a progress row of the task gives way.
CREATE FUNCTION {schema}.strunk_store_results(p_queue text, p_ids bigint[], p_results text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO {schema}.strunk_results AS r (task_id, updated_at, percent, queue, result)
    SELECT u.id, clock_timestamp(), 100, p_queue, u.result::json FROM unnest(p_ids, p_results) AS u(id, result)
    WHERE u.result IS NOT NULL
    ON CONFLICT (task_id) DO UPDATE SET updated_at = excluded.updated_at, percent = 100, result = excluded.result
$$;

-- strunk_complete, with the results of those tasks that it completed, in the same transaction.
CREATE FUNCTION {schema}.strunk_complete_results(p_queue text, p_worker bigint, p_ids bigint[], p_claims bigint[], p_results text[], p_keep boolean)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_done bigint[] := ARRAY(SELECT * FROM {schema}.strunk_complete(p_worker, p_ids, p_claims, p_keep));
BEGIN
    PERFORM {schema}.strunk_store_results(p_queue, array_agg(u.id), array_agg(u.result))
    FROM unnest(p_ids, p_results) AS u(id, result) WHERE u.id = ANY (v_done);
    RETURN QUERY SELECT unnest(v_done);
END $$;

-- Records the progress of a claimed task; false where the token does not hold it any more. FOR SHARE keeps the token from
-- changing until the commit; it waits for nothing but an outcome of the same task.
CREATE FUNCTION {schema}.strunk_progress(p_queue text, p_worker bigint, p_id bigint, p_claim bigint, p_percent integer, p_message text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.id = p_id AND t.status = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = p_claim FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.strunk_results AS r (task_id, updated_at, percent, queue, message)
    VALUES (p_id, clock_timestamp(), p_percent, p_queue, p_message)
    ON CONFLICT (task_id) DO UPDATE SET updated_at = excluded.updated_at, percent = excluded.percent, message = excluded.message;
    PERFORM pg_notify({channel}, 'r:' || p_queue);
    RETURN true;
END $$;

-- Moves tasks that wait (scheduled, pending) to the dead letters; returns those it moved. Locks in the order given, and waits
-- for a claim under way, whose task it then leaves alone.
CREATE FUNCTION {schema}.strunk_bury_waiting(p_ids bigint[], p_error text) RETURNS TABLE (id bigint, queue text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (p_ids) AND t.status IN ('scheduled', 'pending') RETURNING t.*)
    INSERT INTO {schema}.strunk_outbox_dead AS r
        (id, seq, worker_id, claim_no, created_at, due_at, claimed_at, finished_at, timeout_ms, attempts, max_attempts,
         priority, status, kind, key, dedup_key, limit_key, last_error, payload, metadata, errors)
    SELECT d.id, d.seq, d.worker_id, d.claim_no, d.created_at, d.due_at, d.claimed_at, v_now, d.timeout_ms, d.attempts, d.max_attempts,
           d.priority, 'dead', d.kind, d.key, d.dedup_key, d.limit_key, p_error, d.payload, d.metadata,
           {schema}.strunk_add_error(d.errors, d.attempts, v_now, p_error, NULL, NULL)
    FROM d
    RETURNING r.id, r.key;
END $$;

-- Cancels a task. A waiting one becomes a dead letter at once (cancelled); a running one is marked, and its worker told, whose
-- handler's context ends (cancelling). Otherwise the status in which it has ended, or null where there is none.
CREATE FUNCTION {schema}.strunk_cancel(p_id bigint, p_reason text DEFAULT '') RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_status text;
    v_queue  text;
    v_error  text := 'cancelled' || CASE WHEN coalesce(p_reason, '') = '' THEN '' ELSE ': ' || p_reason END;
BEGIN
    SELECT t.status, t.key INTO v_status, v_queue FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN (SELECT o.status FROM {schema}.strunk_outbox o WHERE o.id = p_id AND o.kind = 'task' LIMIT 1);
    ELSIF v_status = 'claimed' THEN
        INSERT INTO {schema}.strunk_cancels (task_id, queue, reason) VALUES (p_id, v_queue, v_error) ON CONFLICT DO NOTHING;
        PERFORM pg_notify({channel}, 'c:' || v_queue);
        RETURN 'cancelling';
    END IF;
    PERFORM {schema}.strunk_bury_waiting(ARRAY[p_id], v_error);
    PERFORM pg_notify({channel}, 'r:' || v_queue);
    RETURN 'cancelled';
END $$;

-- Pauses a queue: workers begin no task of it as soon as they have heard. Running handlers go on.
CREATE FUNCTION {schema}.strunk_pause_queue(p_queue text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce(octet_length(p_queue), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'strunk_pause_queue: the queue''s name must have 1 to 200 bytes' USING ERRCODE = '22023';
    END IF;
    INSERT INTO {schema}.strunk_queues AS q (queue, paused_at) VALUES (p_queue, clock_timestamp())
    ON CONFLICT (queue) DO UPDATE SET paused_at = coalesce(q.paused_at, excluded.paused_at);
    PERFORM pg_notify({channel}, 'c:' || p_queue);
END $$;

-- Ends a queue's pause.
CREATE FUNCTION {schema}.strunk_resume_queue(p_queue text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE {schema}.strunk_queues q SET paused_at = NULL WHERE q.queue = p_queue AND q.paused_at IS NOT NULL;
    PERFORM pg_notify({channel}, 'c:' || p_queue);
END $$;

-- What a worker must know besides its tasks: first a row that says whether its queue is paused, then one for each task that
-- is to be cancelled and has not ended. All workers of the queue hear of all of these: whichever has the task, or claims it
-- after it was given back, ends it. Those that wait are buried here, by whichever worker looks first. Without
-- cancellations it writes nothing.
CREATE FUNCTION {schema}.strunk_control(p_queue text) RETURNS TABLE (paused boolean, task_id bigint, reason text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_wish   record;
    v_status text;
BEGIN
    RETURN QUERY SELECT EXISTS (SELECT 1 FROM {schema}.strunk_queues q WHERE q.queue = p_queue AND q.paused_at IS NOT NULL),
        NULL::bigint, NULL::text;
    FOR v_wish IN SELECT c.task_id, c.reason FROM {schema}.strunk_cancels c WHERE c.queue = p_queue ORDER BY c.task_id LOOP
        SELECT t.status INTO v_status FROM {schema}.strunk_outbox_tasks t WHERE t.id = v_wish.task_id;
        IF FOUND AND v_status <> 'claimed' THEN
            PERFORM 1 FROM {schema}.strunk_bury_waiting(ARRAY[v_wish.task_id], v_wish.reason);
            PERFORM pg_notify({channel}, 'r:' || p_queue);
            PERFORM 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = v_wish.task_id;
        END IF;
        IF FOUND THEN
            RETURN QUERY SELECT NULL::boolean, v_wish.task_id, v_wish.reason;
        ELSE
            DELETE FROM {schema}.strunk_cancels c WHERE c.queue = p_queue AND c.task_id = v_wish.task_id;
        END IF;
    END LOOP;
END $$;

-- Marks a message as handled by a consumer; false where it was before. Waits for a transaction that is marking the same
-- message: if that commits the answer is false, else true.
CREATE FUNCTION {schema}.strunk_inbox_mark(p_consumer text, p_message text, p_task bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.strunk_inbox (consumer, message_id, task_id) VALUES (p_consumer, p_message, p_task) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- Whether a consumer has handled a message. Reads only.
CREATE FUNCTION {schema}.strunk_inbox_marked(p_consumer text, p_message text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM {schema}.strunk_inbox i WHERE i.consumer = p_consumer AND i.message_id = p_message)
$$;

-- Gives dead letters all their attempts again: pending, due now, at the end of the queue. A dedup key that another task holds
-- is given up. Wakes the queues.
CREATE FUNCTION {schema}.strunk_retry_dead(p_ids bigint[]) RETURNS TABLE (id bigint, queue text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_dead   {schema}.strunk_outbox_dead;
    v_queues text[] := '{}';
BEGIN
    PERFORM pg_current_xact_id();
    -- A cancellation is over, also for workers that have not looked since.
    DELETE FROM {schema}.strunk_cancels c WHERE c.task_id = ANY (p_ids);
    -- In "C" order everywhere, before any row is locked: see strunk_revive.
    PERFORM {schema}.strunk_lock_line(l.key)
    FROM (SELECT DISTINCT d.key FROM {schema}.strunk_outbox_dead d WHERE d.id = ANY (p_ids) AND d.standing = 3 ORDER BY d.key OFFSET 0) l;
    FOR v_dead IN DELETE FROM {schema}.strunk_outbox_dead d WHERE d.id = ANY (p_ids) AND d.kind = 'task' RETURNING d.* LOOP
        IF v_dead.standing = 3 THEN -- again, for one that died meanwhile
            PERFORM {schema}.strunk_lock_line(v_dead.key);
            IF {schema}.strunk_has_turn(v_dead.key, v_dead.limit_key) THEN
                v_dead.standing := NULL;
            END IF;
        END IF;
        FOR i IN 1 .. 2 LOOP
            INSERT INTO {schema}.strunk_outbox_tasks
                (id, seq, turn, created_at, timeout_ms, max_attempts, priority, standing, status, kind, key, dedup_key, limit_key,
                 last_error, payload, metadata, errors)
            VALUES (v_dead.id, nextval('{schema}.strunk_outbox_id_seq'),
                CASE WHEN v_dead.standing = 3 THEN nextval('{schema}.strunk_outbox_id_seq') END, v_dead.created_at, v_dead.timeout_ms,
                v_dead.max_attempts, v_dead.priority, v_dead.standing, 'pending', v_dead.kind, v_dead.key, v_dead.dedup_key,
                v_dead.limit_key, v_dead.last_error, v_dead.payload, v_dead.metadata, v_dead.errors)
            ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL) DO NOTHING;
            EXIT WHEN FOUND;
            v_dead.dedup_key := NULL;
        END LOOP;
        IF NOT v_dead.key = ANY (v_queues) THEN
            v_queues := v_queues || v_dead.key;
        END IF;
        id := v_dead.id; queue := v_dead.key;
        RETURN NEXT;
    END LOOP;
    PERFORM pg_notify({channel}, 'c:' || q), pg_notify({channel}, 'q:' || q) FROM unnest(v_queues) q;
END $$;

-- Deletes dead letters for good.
CREATE FUNCTION {schema}.strunk_purge_dead(p_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_n bigint;
BEGIN
    DELETE FROM {schema}.strunk_outbox_dead d WHERE d.id = ANY (p_ids) AND d.kind = 'task';
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Gives up a hand-made claim: all that is left goes back unspent, and its lease row is removed. Returns how many went back.
CREATE FUNCTION {schema}.strunk_release_claim(p_worker bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_n bigint;
BEGIN
    IF NOT {schema}.strunk_condemn(p_worker, NULL) THEN
        RETURN 0;
    END IF;
    SELECT count(*) INTO v_n FROM {schema}.strunk_return_claims(p_worker, ARRAY[1]::bigint[]);
    DELETE FROM {schema}.strunk_workers w WHERE w.id = p_worker;
    RETURN v_n;
END $$;

-- Retention: deletes up to p_limit rows of each of these tables that are past use; returns how many. Marks of the inbox and
-- results go by age; a task's mark stays while the task is active or dead, for only then can it be handled again.
CREATE FUNCTION {schema}.strunk_sweep(p_inbox interval, p_tasks interval, p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
DECLARE
    v_now   timestamptz := clock_timestamp();
    v_inbox timestamptz := v_now - p_inbox;
    v_tasks timestamptz := v_now - p_tasks;
    v_n     bigint;
    v_all   bigint := 0;
BEGIN
    DELETE FROM {schema}.strunk_inbox i WHERE i.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_inbox o WHERE o.task_id IS NULL AND o.handled_at < v_inbox
        ORDER BY o.handled_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_inbox i WHERE i.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_inbox o WHERE o.task_id IS NOT NULL AND o.handled_at < v_tasks
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = o.task_id)
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d WHERE d.id = o.task_id)
        ORDER BY o.handled_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_results r WHERE r.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_results o WHERE o.updated_at < v_tasks
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = o.task_id)
        ORDER BY o.updated_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_dedups d WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_dedups o WHERE o.expires_at < v_now ORDER BY o.expires_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_cancels c
    WHERE NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = c.task_id);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_all + v_n;
END $$;
