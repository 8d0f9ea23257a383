-- Limits that hold over all processes: of a queue and of each key of it, of how many run and of how many begin in a time, and
-- strict order within a key. The plain path reads one row of strunk_limits (0001) a claim.
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

-- Until when what has begun uses up a rate (the theoretical arrival time of the generic cell rate algorithm), in microseconds
-- since 1970; limit_key is empty for the queue's own. Rows are added, never changed, and read by their time: whatever a snapshot keeps
-- alive lies before it.
CREATE TABLE {schema}.strunk_rates (
    until_us  bigint NOT NULL,
    queue     text COLLATE "C" NOT NULL,
    limit_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, limit_key, until_us)
);
CREATE INDEX strunk_rates_until ON {schema}.strunk_rates (until_us);

-- Keeps all others from taking tasks of a queue in, from calling them and from changing its limits, until the transaction ends.
CREATE FUNCTION {schema}.strunk_lock_line(p_queue text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('strunk_line:{schema}:' || p_queue, 0))
$$;

-- Whether a task of a key has a share or the turn. A dead letter may have kept the turn while the limits changed, and another has
-- taken it since: then it comes back without. The caller holds strunk_lock_line.
CREATE FUNCTION {schema}.strunk_has_turn(p_queue text, p_key text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.key = p_queue AND t.limit_key = p_key AND t.standing > 0)
$$;

-- Sets the limits of a queue, at once and for all processes; null (and false) is no limit. Rates are n in per, of which burst
-- (default 1) may begin at once. With fifo one task of a key runs at a time, in the order of their enqueue; hold_dead says that a
-- dead letter keeps its key waiting until it is retried or purged. All null: the queue has no limits.
CREATE FUNCTION {schema}.strunk_set_limits(
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
CREATE FUNCTION {schema}.strunk_declare_limits(
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
CREATE FUNCTION {schema}.strunk_call(
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

-- Claims as strunk_claim does, for a queue with limits of keys or with rates; see the head of this file. p_done are keys of
-- which a task has ended here, with its place in the line (0 where it is not known): their lines are called first.
-- Beside the tasks it returns what the worker must know, in rows of which the id is not positive:
--    0  how far it has come: seq is the mark of that priority
--   -1  below seq no task has a turn, and below place none stands in a line
--   -2  the queue's rate lets the next task begin in seq microseconds
--   -3  the rate of limit_key lets the next task begin in seq microseconds
--   -4  there is more to look at than this claim has
--   -5  a task that has its key's turn was put off until its rate lets it begin
-- Order within a key: all that has arrived of a key up to the newest of it in sight is taken in together, in the order of seq, also
-- what the marks have passed (a late commit) or a lower priority hides, and none of it where somebody has locked one.
CREATE FUNCTION {schema}.strunk_claim_line(
    p_worker bigint, p_claim bigint, p_queue text, p_limit integer, p_fast bigint[], p_safe bigint[], p_limits bigint,
    p_turns bigint, p_lines bigint, p_arrived bigint, p_done text[], p_done_places bigint[])
RETURNS TABLE (id bigint, seq bigint, created_at timestamptz, due_at timestamptz, timeout_ms integer, attempts smallint,
    max_attempts smallint, priority smallint, dedup_key text, payload json, metadata json, at tid, limit_key text, place bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_l        {schema}.strunk_limits;
    v_now      timestamptz;
    v_us       bigint;
    v_marks    bigint[] := p_fast;
    v_left     integer := p_limit;
    v_chunk    integer := greatest(32, p_limit);
    v_extra    constant bigint := 10000; -- of what is not in sight, over all keys at once
    v_looked   bigint := 0;
    v_seen     integer;
    v_taken    bigint := 0; -- what the last pass has decided about
    v_second   boolean := false;
    v_each     bigint; -- microseconds for one of a key, rounded up: no span holds more than the rate says
    v_step     bigint; -- for one of the queue
    v_tokens   bigint;
    v_until    bigint;
    v_keyed    boolean;
    v_lines    boolean;
    v_standing smallint;
    v_holders  integer;
    v_row      record;
    v_used     integer := 0;
BEGIN
    PERFORM 1 FROM {schema}.strunk_workers w
    WHERE w.id = p_worker AND NOT w.condemned AND w.claim_floor < p_claim FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_claim_line: worker % has no lease for claim %', p_worker, p_claim USING ERRCODE = 'STR01';
    END IF;
    PERFORM {schema}.strunk_lock_line(p_queue);
    PERFORM pg_current_xact_id();
    SELECT l.* INTO v_l FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF coalesce(v_l.version, 0) <> p_limits THEN
        RAISE EXCEPTION 'strunk_claim_line: queue %: its limits are not those of version %', p_queue, p_limits USING ERRCODE = 'STR02';
    END IF;
    v_now := clock_timestamp();
    v_us := (extract(epoch FROM v_now) * 1000000)::bigint;
    v_keyed := v_l.key_running IS NOT NULL OR v_l.key_rate IS NOT NULL;
    v_holders := coalesce(v_l.key_running, 1000000);
    v_standing := CASE WHEN v_l.hold_dead THEN 3 WHEN v_l.fifo THEN 2 ELSE 1 END;
    v_each := (v_l.key_rate_us + v_l.key_rate - 1) / v_l.key_rate;
    created_at := v_now; attempts := 0; max_attempts := 0; priority := 0;

    IF v_keyed THEN
        SELECT t.turn - 1 INTO seq FROM {schema}.strunk_outbox_tasks t
        WHERE t.key = p_queue AND t.standing > 0 AND t.turn + 0 > p_turns ORDER BY t.turn + 0 LIMIT 1;
        SELECT t.place - 1 INTO place FROM {schema}.strunk_outbox_tasks t
        WHERE t.key = p_queue AND t.standing = 0 AND t.place + 0 > p_lines ORDER BY t.place + 0 LIMIT 1;
        -- Where there is none, all to come will have higher numbers than this.
        p_turns := coalesce(seq, nextval('{schema}.strunk_outbox_id_seq'));
        p_lines := coalesce(place, nextval('{schema}.strunk_outbox_id_seq'));
        v_lines := place IS NOT NULL;
        id := -1; seq := p_turns; place := p_lines;
        RETURN NEXT;
        IF cardinality(p_done) > 0 AND v_lines THEN
            FOR v_row IN SELECT c.limit_key, c.wait_us FROM {schema}.strunk_call(v_l, p_queue, p_done, p_done_places, p_turns, p_lines) c LOOP
                IF v_row.wait_us IS NOT NULL THEN
                    id := -3; seq := v_row.wait_us; limit_key := v_row.limit_key; place := NULL;
                    RETURN NEXT;
                END IF;
            END LOOP;
        END IF;
    END IF;
    limit_key := NULL; place := NULL;
    IF v_l.rate IS NOT NULL THEN
        v_step := (v_l.rate_us + v_l.rate - 1) / v_l.rate;
        SELECT r.until_us INTO v_until FROM {schema}.strunk_rates r
        WHERE r.queue = p_queue AND r.limit_key = '' AND r.until_us > v_us ORDER BY r.until_us DESC LIMIT 1;
        v_until := coalesce(v_until, v_us);
        v_tokens := greatest(0, (v_us + v_l.rate_burst * v_step - v_until) / v_step);
        v_left := least(v_left, v_tokens);
        v_chunk := greatest(32, v_left);
    END IF;

    WHILE v_left > 0 LOOP
        v_seen := 0;
        FOR v_row IN
            WITH s AS MATERIALIZED ( -- what is in sight, in claim order
                SELECT row_number() OVER () AS o, x.* FROM unnest(v_marks) WITH ORDINALITY AS m(mark, lvl)
                CROSS JOIN LATERAL (
                    SELECT t.ctid AS tid, t.seq, t.priority, t.standing, CASE WHEN v_keyed THEN t.limit_key END AS k
                    FROM {schema}.strunk_outbox_tasks t
                    WHERE t.status = 'pending' AND t.key = p_queue AND t.priority = (10 - m.lvl)::smallint AND t.seq > m.mark
                    ORDER BY t.seq LIMIT v_chunk) x
                LIMIT v_chunk),
            g AS MATERIALIZED ( -- the keys of what has arrived, and how many of each may begin
                SELECT k.k, k.o, k.low, k.top, k.n + greatest(8, v_extra / count(*) OVER ()) AS most, coalesce(p.until_us, v_us) AS until_us,
                    CASE WHEN (v_lines AND (SELECT t.place FROM {schema}.strunk_outbox_tasks t
                            WHERE t.key = p_queue AND t.limit_key = k.k AND t.standing = 0 AND t.place > p_lines
                            ORDER BY t.place DESC LIMIT 1) IS NOT NULL)
                        OR (v_l.hold_dead AND EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d
                            WHERE d.key = p_queue AND d.limit_key = k.k AND d.standing = 3)) THEN 0
                        ELSE v_holders - h.n END AS free
                FROM (SELECT s.k, count(*) AS n, min(s.o) AS o, min(s.seq) - 1 AS low, max(s.seq) AS top FROM s WHERE s.k IS NOT NULL AND s.standing IS NULL GROUP BY s.k) k
                CROSS JOIN LATERAL (SELECT count(*)::integer AS n FROM (
                    SELECT 1 FROM {schema}.strunk_outbox_tasks t
                    WHERE v_holders < 1000000 AND t.key = p_queue AND t.limit_key = k.k AND t.standing > 0 AND t.turn > p_turns
                    ORDER BY t.turn DESC LIMIT v_holders) x) h
                LEFT JOIN LATERAL (
                    SELECT r.until_us FROM {schema}.strunk_rates r
                    WHERE v_each IS NOT NULL AND r.queue = p_queue AND r.limit_key = k.k AND r.until_us > v_us
                    ORDER BY r.until_us DESC LIMIT 1) p ON true),
            a AS MATERIALIZED ( -- what is to be decided: of these keys, all that has arrived up to the newest in sight; and the rest
                SELECT g.o, x.seq, x.priority, x.tid, g.k, g.free, g.until_us, NULL::smallint AS standing, g.most,
                    count(*) OVER (PARTITION BY g.k) AS all_of
                FROM g CROSS JOIN LATERAL (
                    SELECT t.ctid AS tid, t.seq, t.priority FROM {schema}.strunk_outbox_tasks t
                    WHERE t.key = p_queue AND t.limit_key = g.k AND t.status = 'pending' AND t.standing IS NULL
                        AND t.seq + 0 > least(p_arrived, g.low) AND t.seq + 0 <= g.top -- what is in sight, even if a person put it below
                    ORDER BY t.seq + 0 LIMIT g.most) x
                UNION ALL
                SELECT s.o, s.seq, s.priority, s.tid, CASE WHEN v_each IS NOT NULL THEN s.k END, 0, coalesce(p.until_us, v_us), s.standing, NULL, 0
                FROM s LEFT JOIN LATERAL (
                    SELECT r.until_us FROM {schema}.strunk_rates r
                    WHERE v_each IS NOT NULL AND r.queue = p_queue AND r.limit_key = s.k AND r.until_us > v_us
                    ORDER BY r.until_us DESC LIMIT 1) p ON true
                WHERE s.k IS NULL OR s.standing IS NOT NULL),
            l AS MATERIALIZED (
                SELECT a.* FROM a JOIN {schema}.strunk_outbox_tasks t ON t.ctid = a.tid
                WHERE t.status || '' = 'pending' FOR UPDATE OF t SKIP LOCKED),
            r AS (
                SELECT l.*, (v_us + v_l.key_rate_burst * v_each - l.until_us) / v_each AS tokens,
                    count(*) OVER (PARTITION BY l.k, l.standing IS NULL) AS got,
                    row_number() OVER (PARTITION BY l.k, l.standing IS NULL ORDER BY l.seq) AS nth,
                    row_number() OVER (PARTITION BY l.k ORDER BY l.standing IS NULL, l.seq) AS nth_to_pay
                FROM l),
            c AS (
                -- One of a line that a person has set to pending, in place, goes back to it.
                SELECT r.*, coalesce(NOT v_keyed OR r.standing <> 0, true) AND (r.k IS NULL
                    OR ((r.standing IS NOT NULL OR r.nth <= r.free) AND (v_each IS NULL OR r.nth_to_pay <= r.tokens))) AS go
                FROM r WHERE r.k IS NULL OR r.standing IS NOT NULL OR r.got = r.all_of),
            e AS MATERIALIZED (
                SELECT c.*, sum(c.go::integer) OVER (ORDER BY c.o, c.seq, c.tid ROWS UNBOUNDED PRECEDING) AS upto FROM c),
            d AS MATERIALIZED (
                SELECT x.*, CASE WHEN x.k IS NOT NULL THEN nextval('{schema}.strunk_outbox_id_seq') END AS number
                FROM (SELECT e.* FROM e WHERE e.upto <= v_left ORDER BY e.o, e.seq OFFSET 0) x),
            claimed AS (
                UPDATE {schema}.strunk_outbox_tasks t
                SET status = 'claimed', worker_id = p_worker, claim_no = p_claim, attempts = t.attempts + 1,
                    -- The moment that rates count from, but never before a task was due: a promotion may have come in between.
                    claimed_at = CASE WHEN t.due_at > v_now AND t.due_at < clock_timestamp() THEN t.due_at ELSE v_now END,
                    standing = CASE WHEN d.k IS NULL THEN nullif(t.standing, 0) ELSE coalesce(t.standing, v_standing) END,
                    turn = CASE WHEN d.standing IS NULL THEN coalesce(d.number, t.turn) ELSE t.turn END,
                    place = CASE WHEN d.standing IS NULL THEN coalesce(d.number, t.place) ELSE t.place END
                FROM d WHERE t.ctid = d.tid AND d.go
                RETURNING t.*, t.ctid AS at),
            lined AS (
                UPDATE {schema}.strunk_outbox_tasks t SET status = 'scheduled', due_at = NULL, standing = 0, turn = NULL,
                    place = CASE WHEN d.standing = 0 THEN t.place ELSE d.number END
                FROM d WHERE t.ctid = d.tid AND NOT d.go AND coalesce(d.standing, 0) = 0),
            later AS (
                UPDATE {schema}.strunk_outbox_tasks t SET status = 'scheduled',
                    due_at = v_now + (d.until_us + (d.nth_to_pay - v_l.key_rate_burst) * v_each - v_us) * interval '1 microsecond'
                FROM d WHERE t.ctid = d.tid AND NOT d.go AND d.standing > 0),
            paid AS (
                INSERT INTO {schema}.strunk_rates (queue, limit_key, until_us)
                SELECT p_queue, d.k, max(d.until_us) + count(*) * v_each FROM d WHERE v_each IS NOT NULL AND d.go AND d.k IS NOT NULL GROUP BY d.k),
            undecided AS ( -- of what is in sight: beyond the tasks wanted, or behind too many of its key that are not
                SELECT e.priority, min(e.seq) AS seq FROM e WHERE e.upto > v_left AND e.seq > v_marks[10 - e.priority] GROUP BY e.priority
                UNION ALL
                SELECT s.priority, min(s.seq)
                FROM (SELECT a.k, max(a.seq) AS seq FROM a WHERE a.all_of >= a.most GROUP BY a.k) f
                JOIN s ON s.k = f.k AND s.standing IS NULL AND s.seq > f.seq GROUP BY s.priority)
            SELECT u.id, u.seq, u.created_at, u.due_at, u.timeout_ms, u.attempts, u.max_attempts, u.priority, u.dedup_key,
                u.payload, u.metadata, u.at, u.limit_key, u.place
            FROM claimed u
            UNION ALL
            SELECT 0, least(max(s.seq), (SELECT min(u.seq) - 1 FROM undecided u WHERE u.priority = s.priority)), v_now, NULL,
                count(*)::integer, 0::smallint, 0::smallint, s.priority, NULL, NULL, NULL, NULL, NULL, (SELECT count(*) FROM a)
            FROM s GROUP BY s.priority
            UNION ALL -- the line of a key waits for its rate alone: it is called when the next may begin
            SELECT -3, max(d.until_us) + (count(*) FILTER (WHERE d.go) + 1 - v_l.key_rate_burst) * v_each - v_us, v_now, NULL, NULL,
                0::smallint, 0::smallint, 0::smallint, NULL, NULL, NULL, NULL, d.k, NULL
            FROM d WHERE v_each IS NOT NULL AND d.k IS NOT NULL GROUP BY d.k HAVING bool_or(NOT d.go AND d.standing IS NULL AND d.nth <= d.free)
            UNION ALL
            SELECT -5, 0, v_now, NULL, NULL, 0::smallint, 0::smallint, 0::smallint, NULL, NULL, NULL, NULL, NULL, NULL
            FROM d WHERE NOT d.go AND d.standing IS NOT NULL HAVING count(*) > 0
        LOOP
            id := v_row.id; seq := v_row.seq; created_at := v_row.created_at; due_at := v_row.due_at; timeout_ms := v_row.timeout_ms;
            attempts := v_row.attempts; max_attempts := v_row.max_attempts; priority := v_row.priority; dedup_key := v_row.dedup_key;
            payload := v_row.payload; metadata := v_row.metadata; at := v_row.at; limit_key := v_row.limit_key; place := v_row.place;
            IF id > 0 THEN
                v_used := v_used + 1;
            ELSIF id = 0 THEN
                v_seen := v_seen + timeout_ms;
                v_taken := place;
                v_marks[10 - priority] := greatest(v_marks[10 - priority], seq);
            END IF;
            RETURN NEXT;
        END LOOP;
        v_looked := v_looked + greatest(v_seen, v_taken);
        v_lines := true; -- there may be some now
        EXIT WHEN p_limit <= v_used OR (v_tokens IS NOT NULL AND v_used >= v_tokens);
        v_left := least(p_limit, coalesce(v_tokens, p_limit)) - v_used;
        IF v_seen < v_chunk THEN
            EXIT WHEN v_second OR p_safe IS NULL;
            v_second := true;
            v_marks := p_safe;
        ELSIF v_looked >= 4000 THEN
            id := -4; seq := 0;
            RETURN NEXT;
            EXIT;
        END IF;
        v_chunk := least(1000, v_chunk * 4);
    END LOOP;

    IF v_l.rate IS NOT NULL THEN
        IF v_used > 0 THEN
            v_until := v_until + v_used * v_step;
            INSERT INTO {schema}.strunk_rates (queue, limit_key, until_us) VALUES (p_queue, '', v_until);
        END IF;
        IF v_used >= v_tokens THEN
            id := -2; seq := greatest(0, v_until + (1 - v_l.rate_burst) * v_step - v_us); limit_key := NULL; place := NULL;
            payload := NULL; metadata := NULL; at := NULL; timeout_ms := NULL; due_at := NULL; dedup_key := NULL;
            RETURN NEXT;
        END IF;
    END IF;
END $$;

-- Calls the lines of keys, as strunk_claim_line does for p_done; returns how many tasks were called.
CREATE FUNCTION {schema}.strunk_call_keys(p_queue text, p_keys text[], p_places bigint[]) RETURNS bigint
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
CREATE FUNCTION {schema}.strunk_call_lines(p_queue text, p_after text, p_limit integer, OUT last_key text, OUT called bigint)
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

-- Gives a worker its part of the queue's limit, and returns it; null where there is no limit. p_using are its tasks that are claimed
-- and not ended: its share is at least that, and it must begin nothing beyond its old share until it has the answer.
-- p_wants is what it could use, 0 when it is about to stop. The shares of all rows together never exceed the limit (except
-- where the limit was lowered, until enough has ended): a row counts until it is gone, which is when the tasks of a
-- lost worker have been given back. A free share goes to whoever asks, up to an even part of the limit, and beyond it only what
-- no other worker is short of.
CREATE FUNCTION {schema}.strunk_take_share(p_worker bigint, p_queue text, p_using integer, p_wants integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_limit  integer;
    v_share  integer;
    v_others integer;
    v_n      integer;
    v_rank   integer;
    v_short  integer;
    v_even   integer;
    v_new    integer;
BEGIN
    SELECT l.running INTO v_limit FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF v_limit IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('strunk_share:{schema}:' || p_queue, 0));
    SELECT l.running INTO v_limit FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF v_limit IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT w.share INTO v_share FROM {schema}.strunk_workers w WHERE w.id = p_worker AND NOT w.condemned;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT count(*) FILTER (WHERE NOT w.condemned), coalesce(sum(w.share) FILTER (WHERE w.id <> p_worker), 0),
        count(*) FILTER (WHERE NOT w.condemned AND w.id < p_worker)
    INTO v_n, v_others, v_rank FROM {schema}.strunk_workers w WHERE w.queue = p_queue;
    -- The remainder goes to the first ones by id, which is random.
    v_even := v_limit / v_n + (v_rank < v_limit % v_n)::integer;
    SELECT coalesce(sum(greatest(0, least(w.concurrency, v_limit / v_n + (w.nth < v_limit % v_n)::integer) - w.share)), 0) INTO v_short
    FROM (SELECT w.*, row_number() OVER (ORDER BY w.id) - 1 AS nth FROM {schema}.strunk_workers w
          WHERE w.queue = p_queue AND NOT w.condemned) w
    WHERE w.id <> p_worker;
    v_new := least(p_wants, greatest(v_even, v_limit - v_others - v_short));
    v_new := greatest(p_using, least(v_new, v_limit - v_others), 0);
    -- Who wants less from now on (it stops, or is a claim by hand) is short of nothing beyond that.
    UPDATE {schema}.strunk_workers w SET share = v_new, concurrency = least(w.concurrency, p_wants)
    WHERE w.id = p_worker AND (w.share <> v_new OR w.concurrency > p_wants);
    RETURN v_new;
END $$;
