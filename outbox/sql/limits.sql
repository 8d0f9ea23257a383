-- Limits that hold over all processes: of a queue and of each customer key of it, of how many run
-- and of how many begin in a time, and strict order within a key.
--
-- Keys. A task with a customer key waits in the backlog of its key until it is admitted. Admissions
-- of a queue come one at a time (the admission lock). An admission looks at the keys of tasks that
-- have arrived, and at keys of which a task has ended, and admits the next of each key as far as
-- its quota goes. From then on the task is an ordinary one for claims, the fence and the rescue.
-- The quota of a key is what its limit leaves after its slots, which are counted in the tasks
-- themselves: an admission gives a task its slot, and the slot ends with the row, or when the task
-- is given back (strunk_retry, strunk_rescue). A task that is put off for another attempt stays in
-- the backlog, and is counted there: it uses one of the free places. A sweep over all keys makes up
-- for what nobody has looked at: a process died, a dead letter was purged, a row was changed by
-- hand.
--
-- Rates. An admission admits of each key no more than its rate lets begin now, and the claim in the
-- same transaction pays. So claims of a queue with rates come one at a time too.
--
-- The queue's own number of running tasks is dealt out to its workers in quotas
-- (strunk_take_quota): no task knows of it.
--
-- Each claim holds the admission lock at least shared. A change of limits holds it alone, and counts anew.
--
-- Searches enter their index above a number (p_low_slot, p_low_seq). At and below it nothing is left
-- but the entries of what is done, which an open snapshot keeps alive.

-- Whether a task of a queue that becomes a dead letter keeps its key waiting: hold_dead says so,
-- and nobody has cancelled it.
CREATE OR REPLACE FUNCTION {schema}.strunk_holds_key(p_queue text, p_task bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM {schema}.strunk_limits l WHERE l.queue = p_queue AND l.hold_dead)
        AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_cancels c WHERE c.queue = p_queue AND c.task_id = p_task)
$$;

-- The microseconds that a rate of p_rate tasks in p_us gives to one task, rounded up; null without a rate. The
-- function has no SET, so that the planner inlines it.
CREATE OR REPLACE FUNCTION {schema}.strunk_rate_step(p_us bigint, p_rate integer) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (p_us OPERATOR(pg_catalog.+) p_rate OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) p_rate
$$;

-- The microseconds of a rate's time, rounded up.
CREATE OR REPLACE FUNCTION {schema}.strunk_rate_us(p_per interval) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.ceil(EXTRACT(epoch FROM p_per) OPERATOR(pg_catalog.*) 1000000)::bigint
$$;

-- What is wrong with a rate, whose parameters are named p_name and p_name with _per and _burst; null: nothing.
CREATE OR REPLACE FUNCTION {schema}.strunk_wrong_rate(p_name text, p_rate integer, p_per interval, p_burst integer)
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN (p_rate IS NULL) <> (p_per IS NULL) THEN format('%1$s and %1$s_per belong together', p_name)
        WHEN NOT coalesce(p_rate BETWEEN 1 AND 1000000
            AND extract(epoch FROM p_per) BETWEEN p_rate / 1000000.0 AND 86400 * 366, true)
            THEN p_name || ': from 1 to 1000000 in at most 366 days, a microsecond for each'
        WHEN NOT (p_burst IS NULL OR (p_rate IS NOT NULL AND p_burst BETWEEN 1 AND 1000000))
            THEN format('%1$s_burst: from 1 to 1000000, and only with a %1$s', p_name)
        WHEN coalesce(p_burst * extract(epoch FROM p_per) / p_rate > 1e11, false)
            THEN p_name || '_burst: a burst may be what the rate lets begin in 3000 years' END
$$;

-- The rate of a customer key in a queue that limits rates by key: the microseconds that it gives to one task, and how
-- many may begin at once. No row where the queue does not. The function has no SET, so that the planner inlines it.
CREATE OR REPLACE FUNCTION {schema}.strunk_key_rate(p_limits {schema}.strunk_limits, p_queue text, p_key text)
RETURNS TABLE (step_us bigint, burst integer)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT coalesce({schema}.strunk_rate_step(own.rate_us, own.rate),
        {schema}.strunk_rate_step(p_limits.key_rate_us, p_limits.key_rate)),
        coalesce(own.rate_burst, p_limits.key_rate_burst)
    FROM (SELECT WHERE p_limits.key_rate IS NOT NULL) limited
    LEFT JOIN {schema}.strunk_key_limits own ON own.queue OPERATOR(pg_catalog.=) p_queue
        AND own.customer_key OPERATOR(pg_catalog.=) p_key
$$;

-- Sets the limits of a queue, at once and for all processes; null (and false) is no limit. Rates
-- are n in per, of which burst (default 1) may begin at once. With fifo one task of a key runs at a
-- time, in the order of their enqueue; hold_dead says that a dead letter keeps its key waiting
-- until it is retried or purged. With fair the keys take turns: see turns.sql. All null: the queue
-- has no limits. Locks: the admission lock of the queue until the transaction ends. So every claim
-- comes before it and is counted, or comes after it and is refused until its worker knows the new
-- limits. What waits for a lock longer than 5 s fails.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_limits(
    queue text, running integer DEFAULT NULL, key_running integer DEFAULT NULL,
    rate integer DEFAULT NULL, rate_per interval DEFAULT NULL, rate_burst integer DEFAULT NULL,
    key_rate integer DEFAULT NULL, key_rate_per interval DEFAULT NULL, key_rate_burst integer DEFAULT NULL,
    fifo boolean DEFAULT false, hold_dead boolean DEFAULT false, fair boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    v_queue  constant text := strunk_set_limits.queue;
    v_what   text;
BEGIN
    v_what := CASE
        WHEN coalesce(octet_length(v_queue), 0) NOT BETWEEN 1 AND 200 THEN 'queue: the name must have 1 to 200 bytes'
        WHEN NOT coalesce(running BETWEEN 0 AND 1000000, true) THEN 'running: from 0 to 1000000'
        WHEN NOT coalesce(key_running BETWEEN 1 AND 10000, true) THEN 'key_running: from 1 to 10000'
        WHEN fifo AND coalesce(key_running, 1) <> 1 THEN
            'fifo: one task of a key runs at a time, so key_running must be 1 or null'
        WHEN hold_dead AND NOT fifo THEN 'hold_dead: only with fifo'
        ELSE coalesce({schema}.strunk_wrong_rate('rate', rate, rate_per, rate_burst),
            {schema}.strunk_wrong_rate('key_rate', key_rate, key_rate_per, key_rate_burst))
    END;
    IF v_what IS NOT NULL THEN
        RAISE EXCEPTION 'strunk_set_limits: %', v_what USING ERRCODE = '22023';
    END IF;
    PERFORM {schema}.strunk_lock_admission(v_queue);
    IF running IS NULL AND key_running IS NULL AND rate IS NULL AND key_rate IS NULL AND NOT coalesce(fifo, false)
        AND NOT coalesce(fair, false) THEN
        DELETE FROM {schema}.strunk_limits l WHERE l.queue = v_queue;
    ELSE
        INSERT INTO {schema}.strunk_limits AS l
            (version, queue, running, key_running, rate, rate_us, rate_burst, key_rate, key_rate_us,
                key_rate_burst, fifo, hold_dead, fair)
        VALUES (nextval('{schema}.strunk_outbox_id_seq'), v_queue, running, CASE WHEN fifo THEN 1 ELSE key_running END,
            rate, {schema}.strunk_rate_us(rate_per), coalesce(rate_burst, CASE WHEN rate IS NOT NULL THEN 1 END),
            key_rate, {schema}.strunk_rate_us(key_rate_per),
            coalesce(key_rate_burst, CASE WHEN key_rate IS NOT NULL THEN 1 END), coalesce(fifo, false),
            coalesce(hold_dead, false), coalesce(fair, false))
        ON CONFLICT (queue) DO UPDATE SET version = excluded.version, running = excluded.running,
            key_running = excluded.key_running,
            rate = excluded.rate, rate_us = excluded.rate_us, rate_burst = excluded.rate_burst,
                key_rate = excluded.key_rate,
            key_rate_us = excluded.key_rate_us, key_rate_burst = excluded.key_rate_burst, fifo = excluded.fifo,
                hold_dead = excluded.hold_dead, fair = excluded.fair;
    END IF;
    PERFORM {schema}.strunk_recount(v_queue);
    PERFORM {schema}.strunk_cap_rates(v_queue);
    PERFORM pg_notify({channel}, 'c:' || v_queue), pg_notify({channel}, 'q:' || v_queue);
END $$;

-- Counts what a queue runs, after its limits have changed. The caller holds the admission lock, so
-- no claim is under way.
--   What was admitted and not claimed waits again, and returns in its order.
--   The quota of each worker is what it has claimed, until it asks for another.
--   A dead letter keeps its key waiting only with hold_dead.
--   No key has a turn: all keys are looked at anew.
CREATE OR REPLACE FUNCTION {schema}.strunk_recount(p_queue text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    UPDATE {schema}.strunk_outbox_tasks t SET admitted = false, slot = NULL
    WHERE t.key = p_queue AND t.slot IS NOT NULL AND t.slot + 0 > 0 AND t.status = 'pending';
    PERFORM pg_advisory_xact_lock({schema}.strunk_quota_key(p_queue));
    UPDATE {schema}.strunk_workers w SET quota = (
        SELECT count(*) FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'claimed' AND t.worker_id = w.id)
    WHERE w.queue = p_queue;
    UPDATE {schema}.strunk_outbox_dead d SET backlog_seq = NULL
    WHERE d.key = p_queue AND d.backlog_seq IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_limits l WHERE l.queue = p_queue AND l.hold_dead);
    DELETE FROM {schema}.strunk_turns t WHERE t.queue = p_queue;
END $$;

-- Cuts what was used up to one burst of the rates that are in force: of earlier rates, and by a
-- clock that was ahead. p_keys are the customer keys to look at, '' is the queue itself; null: all.
-- The caller holds the admission lock.
CREATE OR REPLACE FUNCTION {schema}.strunk_cap_rates(p_queue text, p_keys text[] DEFAULT NULL) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH now AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us),
    cap AS (
        SELECT DISTINCT r.customer_key, now.us + CASE WHEN r.customer_key = ''
            THEN l.rate_burst * {schema}.strunk_rate_step(l.rate_us, l.rate)
            ELSE of_key.burst * of_key.step_us END AS until_us
        FROM now, {schema}.strunk_limits l JOIN {schema}.strunk_rates r ON r.queue = l.queue
        LEFT JOIN LATERAL {schema}.strunk_key_rate(l, p_queue, r.customer_key) of_key ON true
        WHERE l.queue = p_queue AND (p_keys IS NULL OR r.customer_key = ANY (p_keys))),
    cut AS (
        DELETE FROM {schema}.strunk_rates r USING cap
        WHERE r.queue = p_queue AND r.customer_key = cap.customer_key AND r.until_us > cap.until_us
        RETURNING r.customer_key, cap.until_us)
    INSERT INTO {schema}.strunk_rates (queue, customer_key, until_us)
    SELECT DISTINCT p_queue, cut.customer_key, cut.until_us FROM cut ON CONFLICT DO NOTHING
$$;

-- Which of these keys (see strunk_cap_rates) have used up more than a burst: the clock was set back since. Searches by
-- index alone.
CREATE OR REPLACE FUNCTION {schema}.strunk_rates_ahead(p_limits {schema}.strunk_limits, p_queue text, p_keys text[])
RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    SELECT array_agg(k.key) FROM unnest(p_keys) AS k(key)
    LEFT JOIN LATERAL {schema}.strunk_key_rate(p_limits, p_queue, k.key) of_key ON true
    WHERE EXISTS (
        SELECT 1 FROM {schema}.strunk_rates r WHERE r.queue = p_queue AND r.customer_key = k.key
            AND r.until_us > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + CASE WHEN k.key = ''
                THEN p_limits.rate_burst * {schema}.strunk_rate_step(p_limits.rate_us, p_limits.rate)
                ELSE of_key.burst * of_key.step_us END)
$$;

-- Cuts the rates of these keys ('' is the queue itself) that a clock which was ahead has used up beyond their burst.
CREATE OR REPLACE FUNCTION {schema}.strunk_mend_rates(p_limits {schema}.strunk_limits, p_queue text, p_keys text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ahead constant text[] := {schema}.strunk_rates_ahead(p_limits, p_queue, p_keys);
BEGIN
    IF v_ahead IS NOT NULL THEN
        PERFORM {schema}.strunk_cap_rates(p_queue, v_ahead);
    END IF;
END $$;

-- What a worker's program declares. It takes effect the first time that any program declares it:
-- limits that were set at run time hold until there is a new declaration, and an old release that
-- starts last does not put its own back. Returns whether it took effect. p_version only makes a
-- declaration a new one.
CREATE OR REPLACE FUNCTION {schema}.strunk_declare_limits(
    p_queue text, p_running integer, p_key_running integer, p_rate integer, p_rate_us bigint, p_rate_burst integer,
    p_key_rate integer, p_key_rate_us bigint, p_key_rate_burst integer, p_fifo boolean, p_hold_dead boolean,
    p_fair boolean DEFAULT false, p_version integer DEFAULT 0)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_us       constant interval := interval '1 microsecond';
    v_declared text := jsonb_strip_nulls(jsonb_build_object('running', p_running, 'key_running', p_key_running,
        'rate', p_rate,
        'rate_us', p_rate_us, 'rate_burst', p_rate_burst, 'key_rate', p_key_rate, 'key_rate_us', p_key_rate_us,
        'key_rate_burst', p_key_rate_burst, 'fifo', nullif(p_fifo, false), 'hold_dead', nullif(p_hold_dead, false),
        'fair', nullif(p_fair, false),
        'version', nullif(p_version, 0)))::text;
    v_history  text[];
BEGIN
    SELECT q.declared_limits INTO v_history FROM {schema}.strunk_queues q WHERE q.queue = p_queue;
    IF v_declared = ANY (v_history) THEN
        RETURN false;
    END IF;
    -- The first of two at once holds the lock until it has committed; the second then finds what it declares.
    PERFORM {schema}.strunk_lock_admission(p_queue);
    SELECT q.declared_limits INTO v_history FROM {schema}.strunk_queues q WHERE q.queue = p_queue;
    IF v_declared = ANY (v_history) THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.strunk_queues AS q (queue, declared_limits) VALUES (p_queue, ARRAY[v_declared])
    ON CONFLICT (queue) DO UPDATE SET declared_limits = (coalesce(q.declared_limits,
        '{}') || excluded.declared_limits)[greatest(1, cardinality(q.declared_limits) - 98):];
    IF v_declared = '{}' AND v_history IS NULL THEN
        RETURN false; -- a program without limits leaves alone what was set before any program declared something
    END IF;
    PERFORM {schema}.strunk_set_limits(p_queue, p_running, p_key_running, p_rate, p_rate_us * v_us, p_rate_burst,
        p_key_rate, p_key_rate_us * v_us, p_key_rate_burst, p_fifo, p_hold_dead, p_fair);
    RETURN true;
END $$;

-- Sets what is different for one customer key of a queue, at once and for all processes: weight is how many turns it
-- gets for each of a key without one (1 to 100; with fair limits), running how many of its tasks may run at once
-- (with a limit of running tasks for each key, and not with fifo), rate how many begin in rate_per, of which rate_burst
-- (default 1) at once (with a rate for each key). Null is what the queue has for all; all null: nothing is different.
-- What runs already goes on. Locks: the admission lock of the queue, for which it waits 5 s.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_key_limits(queue text, customer_key text, weight integer DEFAULT NULL,
    running integer DEFAULT NULL, rate integer DEFAULT NULL, rate_per interval DEFAULT NULL,
    rate_burst integer DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_queue constant text := strunk_set_key_limits.queue;
    v_key   constant text := strunk_set_key_limits.customer_key;
    v_what  constant text := CASE
        WHEN coalesce(octet_length(v_queue), 0) NOT BETWEEN 1 AND 200 THEN 'queue: the name must have 1 to 200 bytes'
        WHEN coalesce(octet_length(v_key), 0) NOT BETWEEN 1 AND 500 THEN 'customer_key: must have 1 to 500 bytes'
        WHEN NOT coalesce(weight BETWEEN 1 AND 100, true) THEN 'weight: from 1 to 100'
        WHEN NOT coalesce(running BETWEEN 1 AND 10000, true) THEN 'running: from 1 to 10000'
        ELSE {schema}.strunk_wrong_rate('rate', rate, rate_per, rate_burst) END;
BEGIN
    IF v_what IS NOT NULL THEN
        RAISE EXCEPTION 'strunk_set_key_limits: %', v_what USING ERRCODE = '22023';
    END IF;
    PERFORM {schema}.strunk_lock_admission(v_queue);
    IF weight IS NULL AND running IS NULL AND rate IS NULL THEN
        DELETE FROM {schema}.strunk_key_limits l WHERE l.queue = v_queue AND l.customer_key = v_key;
    ELSE
        INSERT INTO {schema}.strunk_key_limits AS l (weight, running, rate, rate_us, rate_burst, queue, customer_key)
        VALUES (weight, running, rate, {schema}.strunk_rate_us(rate_per),
            coalesce(rate_burst, CASE WHEN rate IS NOT NULL THEN 1 END), v_queue, v_key)
        ON CONFLICT (queue, customer_key) DO UPDATE SET weight = excluded.weight, running = excluded.running,
            rate = excluded.rate, rate_us = excluded.rate_us, rate_burst = excluded.rate_burst;
    END IF;
    PERFORM {schema}.strunk_cap_rates(v_queue, ARRAY[v_key]);
    -- What was admitted and not claimed waits again, and returns in its order.
    UPDATE {schema}.strunk_outbox_tasks t SET admitted = false, slot = NULL
    WHERE t.key = v_queue AND t.customer_key = v_key AND t.slot IS NOT NULL AND t.status = 'pending';
    PERFORM {schema}.strunk_admit_released(v_queue, ARRAY[v_key]);
    PERFORM pg_notify({channel}, 'q:' || v_queue);
END $$;
