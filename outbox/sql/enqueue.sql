-- Enqueueing tasks.

-- Enqueues many tasks in one statement. Arrays of length one give the value for all; a null array gives the default.
-- Every list is in item order, and so are the ids. Locks: dedup keys in "C" order of (queue, key), so that two batches
-- cannot deadlock on each other; a deadlock with something else (another order in one transaction), or the caller's own
-- lock_timeout, undoes this call alone (one subtransaction around all its rounds) and comes back as one row with ord 0.
-- pg_current_xact_id() first: whoever draws a seq has an id already, which is what makes a worker's low watermark safe.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_many(
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[], p_notify boolean,
        p_customer_keys text[] DEFAULT NULL)
RETURNS TABLE (ord integer, id bigint, duplicate boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET jit = off AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_n    integer := cardinality(p_payloads);
    -- What an array of length one gives to all; in a longer one a null element is that item's default.
    v_due      timestamptz := CASE WHEN cardinality(p_dues) = 1 THEN p_dues[1] END;
    v_delay    bigint := CASE WHEN cardinality(p_delays_ms) = 1 THEN p_delays_ms[1] END;
    v_timeout  integer := CASE WHEN cardinality(p_timeouts_ms) = 1 THEN p_timeouts_ms[1] END;
    v_metadata text := CASE WHEN cardinality(p_metadata) = 1 THEN p_metadata[1] END;
    v_customer    text := CASE WHEN cardinality(p_customer_keys) = 1 THEN p_customer_keys[1] END;
    v_ids  bigint[];
    v_rest integer[];
    v_done bigint[];
BEGIN
    PERFORM pg_current_xact_id();
    IF p_dedups IS NULL THEN
        RETURN QUERY
        WITH ins AS (
            INSERT INTO {schema}.strunk_outbox_tasks
                (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, admitted, status, kind, key,
                    customer_key, payload, metadata)
            SELECT i.n, i.n, v_now, i.due, i.timeout_ms, i.max_attempts, i.priority, i.customer_key IS NULL,
                   CASE WHEN i.due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', i.queue, i.customer_key,
                       i.payload, i.metadata
            FROM (SELECT nextval('{schema}.strunk_outbox_id_seq') AS n,
                         coalesce(u.due, v_due, v_now + coalesce(u.delay, v_delay) * interval '1 millisecond') AS due,
                         coalesce(u.timeout_ms, v_timeout) AS timeout_ms,
                         coalesce(u.max_attempts, p_max_attempts[1], 12::smallint) AS max_attempts,
                         coalesce(u.priority, p_priorities[1], 0::smallint) AS priority,
                         coalesce(u.queue, p_queues[1]) AS queue, coalesce(u.customer_key, v_customer) AS customer_key,
                         u.payload::json AS payload, coalesce(u.metadata, v_metadata)::json AS metadata
                  FROM unnest(p_payloads, p_queues, p_priorities, p_max_attempts, p_delays_ms, p_dues,
                      p_timeouts_ms, p_metadata, p_customer_keys)
                       AS u(payload, queue, priority, max_attempts, delay, due, timeout_ms, metadata, customer_key)
                  OFFSET 0) i
            RETURNING strunk_outbox_tasks.id)
        SELECT (row_number() OVER ())::integer, ins.id, false FROM ins;
    ELSE
        SELECT array_agg(nextval('{schema}.strunk_outbox_id_seq')), array_agg(g) INTO v_ids, v_rest
            FROM generate_series(1, v_n) g;
        -- A round inserts what conflicts with nothing, then names the holder of what did. A holder may be gone again by
        -- then (done, or dead): such an item goes round once more.
        BEGIN
            FOR round IN 1 .. 100 LOOP
                WITH ins AS (
                    INSERT INTO {schema}.strunk_outbox_tasks
                        (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, admitted, status, kind,
                            key, dedup_key, customer_key, payload, metadata)
                    SELECT i.n, i.n, v_now, i.due, i.timeout_ms, i.max_attempts, i.priority, i.customer_key IS NULL,
                           CASE WHEN i.due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', i.queue, i.dedup,
                               i.customer_key, i.payload, i.metadata
                    FROM (SELECT v_ids[u.o] AS n, u.o, u.dedup COLLATE "C" AS dedup,
                                 coalesce(u.due, v_due, v_now + coalesce(u.delay,
                                     v_delay) * interval '1 millisecond') AS due,
                                 coalesce(u.timeout_ms, v_timeout) AS timeout_ms,
                                 coalesce(u.max_attempts, p_max_attempts[1], 12::smallint) AS max_attempts,
                                 coalesce(u.priority, p_priorities[1], 0::smallint) AS priority,
                                 coalesce(u.queue, p_queues[1]) COLLATE "C" AS queue, coalesce(u.customer_key,
                                     v_customer) AS customer_key,
                                 u.payload::json AS payload, coalesce(u.metadata, v_metadata)::json AS metadata
                          FROM unnest(p_payloads, p_queues, p_priorities, p_max_attempts, p_delays_ms, p_dues,
                              p_timeouts_ms, p_metadata, p_dedups, p_customer_keys)
                               WITH ORDINALITY AS u(payload, queue, priority, max_attempts, delay, due, timeout_ms,
                                   metadata, dedup, customer_key, o)) i
                    WHERE i.o = ANY (v_rest)
                    ORDER BY i.queue, i.dedup, i.o
                    ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL
                        OR worker_id IS NULL) DO NOTHING
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
            RETURN;
        END;
    END IF;
    IF p_notify THEN
        PERFORM pg_notify({channel}, 'q:' || q) FROM (SELECT DISTINCT unnest(p_queues) AS q) d;
        IF p_delays_ms IS NOT NULL OR p_dues IS NOT NULL THEN
            PERFORM pg_notify({channel}, 'due');
        END IF;
    END IF;
END $$;

-- Enqueues one task: for SQL, triggers and other languages. Returns the task's id, or the id of the task that holds the
-- dedup key already. Sends the wake-up with the caller's commit.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue(
    queue text, payload json DEFAULT '{}', priority integer DEFAULT 0, delay interval DEFAULT NULL,
    due_at timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL, max_attempts integer DEFAULT 12,
    timeout interval DEFAULT NULL, metadata json DEFAULT NULL, customer_key text DEFAULT NULL)
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
        RAISE EXCEPTION 'strunk_enqueue: payload: must not be NULL (give ''null''::json for a JSON null)' USING
            ERRCODE = '22023';
    ELSIF NOT isfinite(due_at) THEN
        RAISE EXCEPTION 'strunk_enqueue: due_at: % is no time', due_at USING ERRCODE = '22023';
    ELSIF octet_length(dedup_key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'strunk_enqueue: dedup_key: must have 1 to 500 bytes' USING ERRCODE = '22023';
    ELSIF octet_length(customer_key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'strunk_enqueue: customer_key: must have 1 to 500 bytes' USING ERRCODE = '22023';
    ELSIF octet_length(payload::text) > 1048576 THEN
        RAISE EXCEPTION
            'strunk_enqueue: payload: more than 1 MiB; keep large data in a table of its own and enqueue its key'
            USING ERRCODE = '22023';
    END IF;
    SELECT e.ord, e.id INTO v_ord, v_id FROM {schema}.strunk_enqueue_many(
        ARRAY[queue], ARRAY[payload::text], ARRAY[priority]::smallint[], ARRAY[max_attempts]::smallint[],
        CASE WHEN delay IS NOT NULL THEN ARRAY[ceil(extract(epoch FROM delay) * 1000)]::bigint[] END,
        CASE WHEN due_at IS NOT NULL THEN ARRAY[due_at] END,
        CASE WHEN dedup_key IS NOT NULL THEN ARRAY[dedup_key] END,
        CASE WHEN timeout IS NOT NULL THEN ARRAY[ceil(extract(epoch FROM timeout) * 1000)]::integer[] END,
        CASE WHEN metadata IS NOT NULL THEN ARRAY[metadata::text] END, true,
        CASE WHEN customer_key IS NOT NULL THEN ARRAY[customer_key] END) e;
    IF v_ord = 0 THEN
        RAISE EXCEPTION
            'strunk_enqueue: dedup_key: % is being enqueued by transactions that wait for each other; try again',
            dedup_key USING ERRCODE = '40P01';
    END IF;
    RETURN v_id;
END $$;
