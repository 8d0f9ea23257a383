-- Limits that hold over all processes: of a queue and of each key of it, of how many run and of how many begin in a time, and
-- strict order within a key. The plain path reads one row of strunk_limits a claim.
--
-- The limit of a queue is dealt out to its workers in shares (strunk_take_share): no task knows of it.
--
-- The limits of keys are kept by whoever claims, one claim of a queue at a time (strunk_lock_line). A claim takes tasks in as it
-- meets them in the claim index: one whose key has a share left is claimed, another goes to the end of its key's line, out of the
-- way of all later claims, so that a busy key slows no other. What has run names its key to the next claim, which calls the
-- first of the line: pending again, at the end of the queue, and then claimed by any worker without a question. A call that
-- was lost (a process died in between, a limit was raised, a dead letter was purged) is made up for by strunk_call_lines,
-- which walks all lines.
--
-- So a key's state is read off the tasks themselves, and nothing else has to agree with them. Searches by key enter their
-- index behind a number below which nothing is left (p_turns, p_lines, p_arrived): behind it an open snapshot keeps the entries
-- of what is done alive.

-- Keeps all others from taking tasks of a queue in, from calling them and from changing its limits, until the transaction ends.
CREATE OR REPLACE FUNCTION {schema}.strunk_lock_line(p_queue text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('strunk_line:{schema}:' || p_queue, 0))
$$;

-- Whether a task of a key has a share or the turn. A dead letter may have kept the turn while the limits changed, and another has
-- taken it since: then it comes back without. The caller holds strunk_lock_line.
CREATE OR REPLACE FUNCTION {schema}.strunk_has_turn(p_queue text, p_key text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.key = p_queue AND t.limit_key = p_key AND t.standing > 0)
$$;

-- Sets the limits of a queue, at once and for all processes; null (and false) is no limit. Rates are n in per, of which burst
-- (default 1) may begin at once. With fifo one task of a key runs at a time, in the order of their enqueue; hold_dead says that a
-- dead letter keeps its key waiting until it is retried or purged. All null: the queue has no limits.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_limits(
    queue text, running integer DEFAULT NULL, key_running integer DEFAULT NULL,
    rate integer DEFAULT NULL, rate_per interval DEFAULT NULL, rate_burst integer DEFAULT NULL,
    key_rate integer DEFAULT NULL, key_rate_per interval DEFAULT NULL, key_rate_burst integer DEFAULT NULL,
    fifo boolean DEFAULT false, hold_dead boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_queue  constant text := strunk_set_limits.queue;
    v_us     constant double precision := 1000000;
    v_rate   bigint := ceil(extract(epoch FROM rate_per) * v_us);
    v_krate  bigint := ceil(extract(epoch FROM key_rate_per) * v_us);
    v_what   text;
BEGIN
    v_what := CASE
        WHEN coalesce(octet_length(v_queue), 0) NOT BETWEEN 1 AND 200 THEN 'queue: the name must have 1 to 200 bytes'
        WHEN NOT coalesce(running BETWEEN 0 AND 1000000, true) THEN 'running: from 0 to 1000000'
        WHEN NOT coalesce(key_running BETWEEN 1 AND 10000, true) THEN 'key_running: from 1 to 10000'
        WHEN (rate IS NULL) <> (rate_per IS NULL) THEN 'rate and rate_per belong together'
        WHEN NOT coalesce(rate BETWEEN 1 AND 1000000 AND v_rate BETWEEN rate AND 86400000000 * 366, true) THEN 'rate: from 1 to 1000000 in at most 366 days, a microsecond for each'
        WHEN NOT (rate_burst IS NULL OR (rate IS NOT NULL AND rate_burst BETWEEN 1 AND 1000000)) THEN 'rate_burst: from 1 to 1000000, and only with a rate'
        WHEN (key_rate IS NULL) <> (key_rate_per IS NULL) THEN 'key_rate and key_rate_per belong together'
        WHEN NOT coalesce(key_rate BETWEEN 1 AND 1000000 AND v_krate BETWEEN key_rate AND 86400000000 * 366, true) THEN 'key_rate: from 1 to 1000000 in at most 366 days, a microsecond for each'
        WHEN NOT (key_rate_burst IS NULL OR (key_rate IS NOT NULL AND key_rate_burst BETWEEN 1 AND 1000000)) THEN 'key_rate_burst: from 1 to 1000000, and only with a key_rate'
        WHEN coalesce(greatest(rate_burst::numeric * v_rate / rate, key_rate_burst::numeric * v_krate / key_rate) > 1e17, false)
            THEN 'rate_burst, key_rate_burst: a burst may be what the rate lets begin in 3000 years'
        WHEN fifo AND coalesce(key_running, 1) <> 1 THEN 'fifo: one task of a key runs at a time, so key_running must be 1 or null'
        WHEN hold_dead AND NOT fifo THEN 'hold_dead: only with fifo'
    END;
    IF v_what IS NOT NULL THEN
        RAISE EXCEPTION 'strunk_set_limits: %', v_what USING ERRCODE = '22023';
    END IF;
    PERFORM {schema}.strunk_lock_line(v_queue);
    IF running IS NULL AND key_running IS NULL AND rate IS NULL AND key_rate IS NULL AND NOT coalesce(fifo, false) THEN
        DELETE FROM {schema}.strunk_limits l WHERE l.queue = v_queue;
    ELSE
        INSERT INTO {schema}.strunk_limits AS l
            (version, queue, running, key_running, rate, rate_us, rate_burst, key_rate, key_rate_us, key_rate_burst, fifo, hold_dead)
        VALUES (nextval('{schema}.strunk_outbox_id_seq'), v_queue, running, CASE WHEN fifo THEN 1 ELSE key_running END,
            rate, v_rate, coalesce(rate_burst, CASE WHEN rate IS NOT NULL THEN 1 END),
            key_rate, v_krate, coalesce(key_rate_burst, CASE WHEN key_rate IS NOT NULL THEN 1 END), coalesce(fifo, false), coalesce(hold_dead, false))
        ON CONFLICT (queue) DO UPDATE SET version = excluded.version, running = excluded.running, key_running = excluded.key_running,
            rate = excluded.rate, rate_us = excluded.rate_us, rate_burst = excluded.rate_burst, key_rate = excluded.key_rate,
            key_rate_us = excluded.key_rate_us, key_rate_burst = excluded.key_rate_burst, fifo = excluded.fifo, hold_dead = excluded.hold_dead;
    END IF;
    -- What was used up of another rate counts as the whole burst of this one at most.
    WITH n AS (
        SELECT false AS keyed, u.us + rate_burst_us AS most FROM (SELECT (extract(epoch FROM clock_timestamp()) * v_us)::bigint AS us) u
        CROSS JOIN LATERAL (SELECT coalesce(rate_burst, 1) * ((v_rate + rate - 1) / rate) AS rate_burst_us) b WHERE rate IS NOT NULL
        UNION ALL
        SELECT true, u.us + key_burst_us FROM (SELECT (extract(epoch FROM clock_timestamp()) * v_us)::bigint AS us) u
        CROSS JOIN LATERAL (SELECT coalesce(key_rate_burst, 1) * ((v_krate + key_rate - 1) / key_rate) AS key_burst_us) b WHERE key_rate IS NOT NULL),
    d AS (
        DELETE FROM {schema}.strunk_rates r USING n
        WHERE r.queue = v_queue AND (r.limit_key <> '') = n.keyed AND r.until_us > n.most RETURNING r.limit_key, n.most)
    INSERT INTO {schema}.strunk_rates (queue, limit_key, until_us) SELECT DISTINCT v_queue, d.limit_key, d.most FROM d ON CONFLICT DO NOTHING;
    PERFORM pg_notify({channel}, 'c:' || v_queue), pg_notify({channel}, 'q:' || v_queue);
END $$;

-- What a worker's program declares: it takes effect where it differs from what was declared last, so that limits which were
-- changed at run time hold until the program changes its mind. Returns whether it took effect.
CREATE OR REPLACE FUNCTION {schema}.strunk_declare_limits(
    p_queue text, p_running integer, p_key_running integer, p_rate integer, p_rate_us bigint, p_rate_burst integer,
    p_key_rate integer, p_key_rate_us bigint, p_key_rate_burst integer, p_fifo boolean, p_hold_dead boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_us       constant interval := interval '1 microsecond';
    v_declared text := jsonb_strip_nulls(jsonb_build_object('running', p_running, 'key_running', p_key_running, 'rate', p_rate,
        'rate_us', p_rate_us, 'rate_burst', p_rate_burst, 'key_rate', p_key_rate, 'key_rate_us', p_key_rate_us,
        'key_rate_burst', p_key_rate_burst, 'fifo', nullif(p_fifo, false), 'hold_dead', nullif(p_hold_dead, false)))::text;
    v_last     text;
BEGIN
    SELECT q.declared_limits INTO v_last FROM {schema}.strunk_queues q WHERE q.queue = p_queue;
    IF v_declared = coalesce(v_last, '{}') THEN
        RETURN false;
    END IF;
    PERFORM {schema}.strunk_set_limits(p_queue, p_running, p_key_running, p_rate, p_rate_us * v_us, p_rate_burst,
        p_key_rate, p_key_rate_us * v_us, p_key_rate_burst, p_fifo, p_hold_dead);
    INSERT INTO {schema}.strunk_queues AS q (queue, declared_limits) VALUES (p_queue, v_declared)
    ON CONFLICT (queue) DO UPDATE SET declared_limits = excluded.declared_limits;
    RETURN true;
END $$;

-- Calls the first of each key's line that the limits let run: pending, at the end of the queue, with a share or the turn of its
-- key. Returns the keys whose rate lets none begin, with the microseconds until it does. The caller holds strunk_lock_line.
-- p_after are places that all of the line lie behind. A line whose first task somebody has locked is not called.
CREATE OR REPLACE FUNCTION {schema}.strunk_call(
    p_limits {schema}.strunk_limits, p_queue text, p_keys text[], p_after bigint[], p_turns bigint, p_lines bigint)
RETURNS TABLE (limit_key text, wait_us bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_mergejoin = off SET enable_hashjoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_most     integer := coalesce(p_limits.key_running, CASE WHEN p_limits.key_rate IS NULL THEN 1000 ELSE p_limits.key_rate_burst END);
    v_holders  integer := coalesce(p_limits.key_running, 1000000);
    v_hold     boolean := coalesce(p_limits.hold_dead, false);
    v_standing smallint := CASE WHEN p_limits.hold_dead THEN 3 WHEN p_limits.fifo THEN 2 ELSE 1 END;
    v_each     bigint := (p_limits.key_rate_us + p_limits.key_rate - 1) / p_limits.key_rate;
    v_now      bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
BEGIN
    RETURN QUERY
    WITH g AS MATERIALIZED (
        SELECT k.key, k.after, coalesce(p.until_us, v_now) AS until_us,
            CASE WHEN v_each IS NOT NULL THEN greatest(0, (v_now + p_limits.key_rate_burst * v_each - coalesce(p.until_us, v_now)) / v_each) END AS tokens,
            CASE WHEN v_hold AND EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d
                    WHERE d.key = p_queue AND d.limit_key = k.key AND d.standing = 3) THEN 0
                ELSE v_most - CASE WHEN v_holders < 1000000 THEN h.n ELSE 0 END END AS free
        FROM (SELECT u.key, greatest(min(u.after), p_lines) AS after FROM unnest(p_keys, p_after) AS u(key, after) GROUP BY u.key) k
        CROSS JOIN LATERAL ( -- most keys have no line
            SELECT 1 FROM {schema}.strunk_outbox_tasks t
            WHERE t.key = p_queue AND t.limit_key = k.key AND t.standing = 0 AND t.place > k.after ORDER BY t.place LIMIT 1) f
        CROSS JOIN LATERAL (SELECT count(*)::integer AS n FROM (
            SELECT 1 FROM {schema}.strunk_outbox_tasks t
            WHERE v_holders < 1000000 AND t.key = p_queue AND t.limit_key = k.key AND t.standing > 0 AND t.turn > p_turns
            ORDER BY t.turn DESC LIMIT v_most) x) h
        LEFT JOIN LATERAL (
            SELECT r.until_us FROM {schema}.strunk_rates r
            WHERE v_each IS NOT NULL AND r.queue = p_queue AND r.limit_key = k.key AND r.until_us > v_now
            ORDER BY r.until_us DESC LIMIT 1) p ON true),
    l AS MATERIALIZED (
        SELECT g.key, x.tid FROM g CROSS JOIN LATERAL (
            SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
            WHERE t.key = p_queue AND t.limit_key = g.key AND t.standing = 0 AND t.place > g.after
            ORDER BY t.place LIMIT greatest(0, least(g.free, coalesce(g.tokens, g.free)))) x),
    m AS MATERIALIZED (
        SELECT t.ctid AS tid FROM l JOIN {schema}.strunk_outbox_tasks t ON t.ctid = l.tid
        WHERE t.standing + 0 = 0 AND t.status || '' <> 'claimed' FOR UPDATE OF t SKIP LOCKED), -- claimed: set to pending by hand, under other limits
    up AS (
        UPDATE {schema}.strunk_outbox_tasks t
        SET status = 'pending', standing = v_standing, seq = nextval('{schema}.strunk_outbox_id_seq'), turn = nextval('{schema}.strunk_outbox_id_seq')
        FROM m WHERE t.ctid = m.tid
        RETURNING t.limit_key)
    SELECT up.limit_key, NULL::bigint FROM up
    UNION ALL
    -- Also where some were called: the next may begin before any of them has ended.
    SELECT g.key, g.until_us + (least(g.free, g.tokens) + 1 - p_limits.key_rate_burst) * v_each - v_now
    FROM g WHERE g.free > 0 AND (g.tokens < g.free OR (g.tokens = g.free AND p_limits.key_running IS NULL));
END $$;

-- Calls the lines of keys, as strunk_claim_line does for p_done; returns how many tasks were called.
CREATE OR REPLACE FUNCTION {schema}.strunk_call_keys(p_queue text, p_keys text[], p_places bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_l {schema}.strunk_limits;
BEGIN
    PERFORM {schema}.strunk_lock_line(p_queue);
    PERFORM pg_current_xact_id();
    SELECT l.* INTO v_l FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    RETURN (SELECT count(*) FILTER (WHERE c.wait_us IS NULL) FROM {schema}.strunk_call(v_l, p_queue, p_keys, p_places, 0, 0) c);
END $$;

-- Calls the lines of up to p_limit keys after p_after; returns the last key it has looked at, null where there is none, and how many tasks
-- were called. Also clears away what rates no longer need.
CREATE OR REPLACE FUNCTION {schema}.strunk_call_lines(p_queue text, p_after text, p_limit integer, OUT last_key text, OUT called bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    v_keys text[] := '{}';
BEGIN
    -- An empty line costs no lock and no transaction id.
    last_key := coalesce(p_after, '');
    FOR i IN 1 .. p_limit LOOP
        SELECT t.limit_key INTO last_key FROM {schema}.strunk_outbox_tasks t
        WHERE t.key = p_queue AND t.standing = 0 AND t.limit_key > last_key ORDER BY t.limit_key LIMIT 1;
        EXIT WHEN NOT FOUND;
        v_keys := v_keys || last_key;
    END LOOP;
    last_key := v_keys[cardinality(v_keys)];
    called := 0;
    IF cardinality(v_keys) > 0 THEN
        called := {schema}.strunk_call_keys(p_queue, v_keys, array_fill(0::bigint, ARRAY[cardinality(v_keys)]));
    END IF;
    DELETE FROM {schema}.strunk_rates r WHERE r.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_rates o WHERE o.until_us < extract(epoch FROM now()) * 1000000 - 1000000 ORDER BY o.until_us LIMIT 10000));
END $$;
