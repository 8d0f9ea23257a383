-- Claiming tasks of a queue with limits.

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
CREATE OR REPLACE FUNCTION {schema}.strunk_claim_line(
    p_worker bigint, p_claim bigint, p_queue text, p_limit integer, p_fast bigint[], p_safe bigint[], p_limits bigint,
    p_turns bigint, p_lines bigint, p_arrived bigint, p_done text[], p_done_places bigint[])
RETURNS TABLE (id bigint, seq bigint, created_at timestamptz, due_at timestamptz, timeout_ms integer, attempts smallint,
    max_attempts smallint, priority smallint, dedup_key text, payload json, metadata json, at tid, limit_key text, possibly_started boolean, place bigint)
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
                u.payload, u.metadata, u.at, u.limit_key, u.possibly_started, u.place
            FROM claimed u
            UNION ALL
            SELECT 0, least(max(s.seq), (SELECT min(u.seq) - 1 FROM undecided u WHERE u.priority = s.priority)), v_now, NULL,
                count(*)::integer, 0::smallint, 0::smallint, s.priority, NULL, NULL, NULL, NULL, NULL, NULL, (SELECT count(*) FROM a)
            FROM s GROUP BY s.priority
            UNION ALL -- the line of a key waits for its rate alone: it is called when the next may begin
            SELECT -3, max(d.until_us) + (count(*) FILTER (WHERE d.go) + 1 - v_l.key_rate_burst) * v_each - v_us, v_now, NULL, NULL,
                0::smallint, 0::smallint, 0::smallint, NULL, NULL, NULL, NULL, d.k, NULL, NULL
            FROM d WHERE v_each IS NOT NULL AND d.k IS NOT NULL GROUP BY d.k HAVING bool_or(NOT d.go AND d.standing IS NULL AND d.nth <= d.free)
            UNION ALL
            SELECT -5, 0, v_now, NULL, NULL, 0::smallint, 0::smallint, 0::smallint, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            FROM d WHERE NOT d.go AND d.standing IS NOT NULL HAVING count(*) > 0
        LOOP
            id := v_row.id; seq := v_row.seq; created_at := v_row.created_at; due_at := v_row.due_at; timeout_ms := v_row.timeout_ms;
            attempts := v_row.attempts; max_attempts := v_row.max_attempts; priority := v_row.priority; dedup_key := v_row.dedup_key;
            payload := v_row.payload; metadata := v_row.metadata; at := v_row.at; limit_key := v_row.limit_key; place := v_row.place;
            possibly_started := v_row.possibly_started;
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
