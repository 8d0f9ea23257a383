-- Enqueueing tasks.

-- The tasks that the arrays of an enqueue describe, o counting from 1. An array of length one gives the value for all;
-- in a longer one a null element is that task's default, and so is a null array. The function has no SET and is not
-- VOLATILE, so that the planner inlines it.
CREATE OR REPLACE FUNCTION {schema}.strunk_tasks_to_enqueue(p_now timestamptz,
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[], p_customer_keys text[])
RETURNS TABLE (o bigint, queue text, payload json, priority smallint, max_attempts smallint, due_at timestamptz,
    dedup_key text, timeout_ms integer, metadata json, customer_key text)
LANGUAGE sql STABLE AS $$
    SELECT u.o, coalesce(u.queue, p_queues[1]), u.payload::json, coalesce(u.priority, p_priorities[1], 0::smallint),
        coalesce(u.max_attempts, p_max_attempts[1], 12::smallint),
        coalesce(u.due_at, CASE WHEN cardinality(p_dues) = 1 THEN p_dues[1] END,
            p_now + coalesce(u.delay_ms, CASE WHEN cardinality(p_delays_ms) = 1 THEN p_delays_ms[1] END)
                * interval '1 millisecond'),
        u.dedup_key, coalesce(u.timeout_ms, CASE WHEN cardinality(p_timeouts_ms) = 1 THEN p_timeouts_ms[1] END),
        coalesce(u.metadata, CASE WHEN cardinality(p_metadata) = 1 THEN p_metadata[1] END)::json,
        coalesce(u.customer_key, CASE WHEN cardinality(p_customer_keys) = 1 THEN p_customer_keys[1] END)
    FROM unnest(p_queues, p_payloads, p_priorities, p_max_attempts, p_delays_ms, p_dues, p_dedups, p_timeouts_ms,
        p_metadata, p_customer_keys) WITH ORDINALITY
        AS u(queue, payload, priority, max_attempts, delay_ms, due_at, dedup_key, timeout_ms, metadata, customer_key, o)
$$;

-- Enqueues a task alone, without a dedup key, which is what most transactions do; null is an argument's default. A
-- transaction costs a tenth less than with strunk_enqueue_many and arrays of one element. Why v_xid: see there.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_one(
    p_queue text, p_payload text, p_priority smallint, p_max_attempts smallint, p_delay_ms bigint, p_due timestamptz,
    p_timeout_ms integer, p_metadata text, p_notify boolean, p_customer_key text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_xid xid8 := pg_current_xact_id();
    v_id  bigint := nextval('{schema}.strunk_outbox_id_seq');
    v_now timestamptz := clock_timestamp();
    v_due timestamptz := coalesce(p_due, v_now + p_delay_ms * interval '1 millisecond');
BEGIN
    INSERT INTO {schema}.strunk_outbox_tasks
        (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, admitted, status, kind, key, customer_key,
            payload, metadata)
    VALUES (v_id, v_id, v_now, v_due, p_timeout_ms, coalesce(p_max_attempts, 12), coalesce(p_priority, 0),
        p_customer_key IS NULL, CASE WHEN v_due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', p_queue,
        p_customer_key, p_payload::json, p_metadata::json);
    IF p_notify THEN
        PERFORM {schema}.strunk_announce_tasks(ARRAY[p_queue], v_due IS NOT NULL);
    END IF;
    RETURN v_id;
END $$;

-- Wakes up the workers of queues that may sleep, with the caller's commit, and those who wait for due times.
CREATE OR REPLACE FUNCTION {schema}.strunk_announce_tasks(p_queues text[], p_due boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.strunk_announce('q:' || q) FROM (SELECT DISTINCT unnest(p_queues) AS q OFFSET 0) d
    WHERE {schema}.strunk_may_sleep(q);
    IF p_due THEN
        PERFORM {schema}.strunk_announce('due');
    END IF;
END $$;

-- Enqueues many tasks in one statement; see strunk_tasks_to_enqueue for the arrays. The ids are in item order.
-- pg_current_xact_id() first: whoever draws a seq has an id already, which is what makes a worker's low watermark safe.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_many(
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[], p_notify boolean,
    p_customer_keys text[] DEFAULT NULL, p_batch bigint DEFAULT NULL)
RETURNS TABLE (ord integer, id bigint, duplicate boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM pg_current_xact_id();
    IF p_dedups IS NULL THEN
        RETURN QUERY
        WITH ins AS (
            INSERT INTO {schema}.strunk_outbox_tasks
                (id, seq, batch_id, created_at, due_at, timeout_ms, max_attempts, priority, admitted, status, kind, key,
                    customer_key, payload, metadata)
            SELECT i.n, i.n, p_batch, v_now, i.due_at, i.timeout_ms, i.max_attempts, i.priority, i.customer_key IS NULL,
                CASE WHEN i.due_at > v_now THEN 'scheduled' ELSE 'pending' END, 'task', i.queue, i.customer_key,
                i.payload, i.metadata
            FROM (SELECT nextval('{schema}.strunk_outbox_id_seq') AS n, u.*
                FROM {schema}.strunk_tasks_to_enqueue(v_now, p_queues, p_payloads, p_priorities, p_max_attempts,
                    p_delays_ms, p_dues, NULL, p_timeouts_ms, p_metadata, p_customer_keys) u OFFSET 0) i
            RETURNING strunk_outbox_tasks.id)
        SELECT (row_number() OVER ())::integer, ins.id, false FROM ins;
    ELSE
        RETURN QUERY SELECT e.* FROM {schema}.strunk_enqueue_keyed(v_now, p_queues, p_payloads, p_priorities,
            p_max_attempts, p_delays_ms, p_dues, p_dedups, p_timeouts_ms, p_metadata, p_customer_keys, p_batch) e;
    END IF;
    IF p_notify THEN
        PERFORM {schema}.strunk_announce_tasks(p_queues, p_delays_ms IS NOT NULL OR p_dues IS NOT NULL);
    END IF;
END $$;

-- strunk_enqueue_many for tasks with dedup keys. A round inserts what conflicts with nothing, then names the holder of
-- what did. A holder may be gone again by then (done, or dead): such a task goes round once more. Locks: dedup keys in
-- "C" order of (queue, key), so that two batches cannot deadlock on each other; a deadlock with something else (another
-- order in one transaction), or the caller's own lock_timeout, undoes this call alone (one subtransaction around all
-- its rounds) and comes back as one row with ord 0.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_keyed(p_now timestamptz,
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[], p_customer_keys text[],
    p_batch bigint)
RETURNS TABLE (ord integer, id bigint, duplicate boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off AS $$
DECLARE
    v_ids  bigint[];
    v_rest integer[];
    v_done bigint[];
BEGIN
    SELECT array_agg(nextval('{schema}.strunk_outbox_id_seq')), array_agg(g) INTO v_ids, v_rest
    FROM generate_series(1, cardinality(p_payloads)) g;
    FOR round IN 1 .. 100 LOOP
        WITH ins AS (
            INSERT INTO {schema}.strunk_outbox_tasks
                (id, seq, batch_id, created_at, due_at, timeout_ms, max_attempts, priority, admitted, status, kind, key,
                    dedup_key, customer_key, payload, metadata)
            SELECT v_ids[i.o], v_ids[i.o], p_batch, p_now, i.due_at, i.timeout_ms, i.max_attempts, i.priority,
                i.customer_key IS NULL, CASE WHEN i.due_at > p_now THEN 'scheduled' ELSE 'pending' END, 'task', i.queue,
                i.dedup_key, i.customer_key, i.payload, i.metadata
            FROM {schema}.strunk_tasks_to_enqueue(p_now, p_queues, p_payloads, p_priorities, p_max_attempts,
                p_delays_ms, p_dues, p_dedups, p_timeouts_ms, p_metadata, p_customer_keys) i
            WHERE i.o = ANY (v_rest)
            ORDER BY i.queue COLLATE "C", i.dedup_key COLLATE "C", i.o
            ON CONFLICT (key, dedup_key)
                WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL) DO NOTHING
            RETURNING strunk_outbox_tasks.id)
        SELECT array_agg(ins.id) INTO v_done FROM ins;
        RETURN QUERY SELECT r, v_ids[r], false FROM unnest(v_rest) r WHERE v_ids[r] = ANY (v_done);
        v_rest := ARRAY(SELECT r FROM unnest(v_rest) r WHERE NOT coalesce(v_ids[r] = ANY (v_done), false));
        EXIT WHEN cardinality(v_rest) = 0;
        v_done := '{}';
        FOR ord, id IN
            SELECT r, x.id FROM unnest(v_rest) r
            CROSS JOIN LATERAL (SELECT t.id FROM {schema}.strunk_outbox_tasks t
                WHERE t.key = coalesce(p_queues[r], p_queues[1]) AND t.dedup_key = p_dedups[r]
                    AND (t.dedup_waiting IS NULL OR t.worker_id IS NULL) OFFSET 0) x
        LOOP
            duplicate := true;
            v_done := v_done || ord::bigint;
            RETURN NEXT;
        END LOOP;
        v_rest := ARRAY(SELECT r FROM unnest(v_rest) r WHERE NOT r = ANY (v_done));
        EXIT WHEN cardinality(v_rest) = 0;
    END LOOP;
    IF cardinality(v_rest) > 0 THEN
        RAISE EXCEPTION 'the dedup keys changed hands too often' USING ERRCODE = 'deadlock_detected';
    END IF;
EXCEPTION WHEN deadlock_detected OR lock_not_available THEN
    RETURN QUERY SELECT 0, 0::bigint, false;
END $$;

-- Enqueues one task: for SQL, triggers and other languages. Returns the task's id, or the id of the task that holds the
-- dedup key already. Sends the wake-up with the caller's commit. The payload is JSON: a literal, or a value of type
-- text, json or jsonb, which have a function each. Only this one has a default for the payload, and PostgreSQL prefers
-- text for a literal: so each call fits one of the three best.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue(
    queue text, payload text DEFAULT '{}', priority integer DEFAULT 0, delay interval DEFAULT NULL,
    due_at timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL, max_attempts integer DEFAULT 12,
    timeout interval DEFAULT NULL, metadata text DEFAULT NULL, customer_key text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id  bigint;
    v_ord integer;
BEGIN
    IF coalesce(octet_length(queue), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'strunk_enqueue: queue: the name must have 1 to 200 bytes' USING ERRCODE = '22023';
    ELSIF coalesce(priority, -1) NOT BETWEEN 0 AND 9 THEN
        RAISE EXCEPTION 'strunk_enqueue: priority: % is not from 0 to 9', priority USING ERRCODE = '22023';
    ELSIF coalesce(max_attempts, -1) NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'strunk_enqueue: max_attempts: % is not from 1 to 1000', max_attempts USING ERRCODE = '22023';
    ELSIF payload IS NULL THEN
        RAISE EXCEPTION 'strunk_enqueue: payload: must not be NULL (give ''null'' for a JSON null)' USING
            ERRCODE = '22023';
    ELSIF NOT isfinite(due_at) THEN
        RAISE EXCEPTION 'strunk_enqueue: due_at: % is no time', due_at USING ERRCODE = '22023';
    ELSIF octet_length(dedup_key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'strunk_enqueue: dedup_key: must have 1 to 500 bytes' USING ERRCODE = '22023';
    ELSIF octet_length(customer_key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'strunk_enqueue: customer_key: must have 1 to 500 bytes' USING ERRCODE = '22023';
    ELSIF octet_length(payload) > 1048576 THEN
        RAISE EXCEPTION
            'strunk_enqueue: payload: more than 1 MiB; keep large data in a table of its own and enqueue its key'
            USING ERRCODE = '22023';
    END IF;
    IF dedup_key IS NULL THEN
        RETURN {schema}.strunk_enqueue_one(queue, payload, priority::smallint, max_attempts::smallint,
            ceil(extract(epoch FROM delay) * 1000)::bigint, due_at, ceil(extract(epoch FROM timeout) * 1000)::integer,
            metadata, true, customer_key);
    END IF;
    SELECT e.ord, e.id INTO v_ord, v_id FROM {schema}.strunk_enqueue_many(
        ARRAY[queue], ARRAY[payload], ARRAY[priority]::smallint[], ARRAY[max_attempts]::smallint[],
        CASE WHEN delay IS NOT NULL THEN ARRAY[ceil(extract(epoch FROM delay) * 1000)]::bigint[] END,
        CASE WHEN due_at IS NOT NULL THEN ARRAY[due_at] END,
        ARRAY[dedup_key],
        CASE WHEN timeout IS NOT NULL THEN ARRAY[ceil(extract(epoch FROM timeout) * 1000)]::integer[] END,
        CASE WHEN metadata IS NOT NULL THEN ARRAY[metadata] END, true,
        CASE WHEN customer_key IS NOT NULL THEN ARRAY[customer_key] END) e;
    IF v_ord = 0 THEN
        RAISE EXCEPTION
            'strunk_enqueue: dedup_key: % is being enqueued by transactions that wait for each other; try again',
            dedup_key USING ERRCODE = '40P01';
    END IF;
    RETURN v_id;
END $$;

-- strunk_enqueue for a payload of type json.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue(
    queue text, payload json, priority integer DEFAULT 0, delay interval DEFAULT NULL,
    due_at timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL, max_attempts integer DEFAULT 12,
    timeout interval DEFAULT NULL, metadata json DEFAULT NULL, customer_key text DEFAULT NULL)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {schema}.strunk_enqueue(queue, payload::text, priority, delay, due_at, dedup_key, max_attempts, timeout,
        metadata::text, customer_key)
$$;

-- strunk_enqueue for a payload of type jsonb.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue(
    queue text, payload jsonb, priority integer DEFAULT 0, delay interval DEFAULT NULL,
    due_at timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL, max_attempts integer DEFAULT 12,
    timeout interval DEFAULT NULL, metadata jsonb DEFAULT NULL, customer_key text DEFAULT NULL)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {schema}.strunk_enqueue(queue, payload::text, priority, delay, due_at, dedup_key, max_attempts, timeout,
        metadata::text, customer_key)
$$;
