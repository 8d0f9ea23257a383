-- Fairness: in a queue with fair limits the customer keys take turns. See also the head of limits.sql.
--
-- strunk_turns has a row for each key that may have tasks waiting: its turn, at a virtual time. An admission
-- admits the task whose turn is the earliest, moves the key's turn on by strunk_turn_step, and so on, as many as the
-- claim after it takes. So while a key waits, no other key begins more than its weight in tasks for each of this key's
-- weight, and one more. This is start-time fair queueing, with the time of the earliest turn as the clock.
--
--   A key whose tasks arrive, or are released, gets a turn one step after the clock: behind the keys that wait
--   already, and at most one round later.
--   A key that has nothing to admit loses its turn: nothing waits, or its quota, its rate or a hold keeps it
--   back. It gets another when a task of it ends, its rate or hold lets go, or a sweep finds it.
--
-- All of this happens under the admission lock. Turns are never set back: a search enters above a turn that
-- was the earliest before (p_low_turn), past the entries that an open snapshot keeps alive.

-- How far one task moves the turn of its key on, of a weight from 1 to 100. The functions have no SET, so that the
-- planner inlines them.
CREATE OR REPLACE FUNCTION {schema}.strunk_turn_step(p_weight integer) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (10000 OPERATOR(pg_catalog./) coalesce(p_weight, 1))::bigint
$$;

-- Gives a turn to each of these keys that has tasks waiting and has none, in their order; returns how many of them have
-- a turn now. Where no key has a turn the clock starts anew, later than it has ever been: each task that is admitted
-- draws two numbers of the sequence, and moves the clock on by at most one step. The caller holds the admission lock.
CREATE OR REPLACE FUNCTION {schema}.strunk_give_turns(p_queue text, p_keys text[], p_low_seq bigint,
    p_low_turn bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off
SET enable_hashjoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_clock bigint;
    v_n     bigint;
BEGIN
    SELECT t.at INTO v_clock FROM {schema}.strunk_turns t WHERE t.queue = p_queue AND t.at > p_low_turn
    ORDER BY t.at LIMIT 1;
    v_clock := coalesce(v_clock, greatest(p_low_turn, nextval('{schema}.strunk_outbox_id_seq') * 10000));
    -- Each search is a lateral one with a limit: the planner would hash, or join, all turns and all tasks that wait.
    WITH waiting AS MATERIALIZED (
        SELECT k.key, k.o, turn.at IS NOT NULL AS has_turn FROM (
            SELECT u.key, min(u.o) AS o FROM unnest(p_keys) WITH ORDINALITY AS u(key, o) GROUP BY u.key) k
        LEFT JOIN LATERAL (
            SELECT t.at FROM {schema}.strunk_turns t
            WHERE t.queue = p_queue AND t.customer_key = k.key AND t.at > p_low_turn ORDER BY t.at DESC LIMIT 1) turn
            ON true
        LEFT JOIN LATERAL (
            SELECT t.seq FROM {schema}.strunk_outbox_tasks t WHERE turn.at IS NULL AND t.key = p_queue
                AND t.customer_key = k.key AND t.status = 'pending' AND NOT t.admitted AND t.backlog_seq IS NULL
                AND t.seq + 0 > p_low_seq ORDER BY t.seq + 0 LIMIT 1) fresh ON true
        LEFT JOIN LATERAL (
            SELECT t.seq FROM {schema}.strunk_outbox_tasks t WHERE turn.at IS NULL AND fresh.seq IS NULL
                AND t.key = p_queue AND t.customer_key = k.key AND NOT t.admitted AND t.backlog_seq IS NOT NULL
            ORDER BY t.backlog_seq LIMIT 1) back ON true
        WHERE coalesce(turn.at, fresh.seq, back.seq) IS NOT NULL),
    given AS (
        INSERT INTO {schema}.strunk_turns (at, n, queue, customer_key)
        SELECT v_clock + {schema}.strunk_turn_step(own.weight), nextval('{schema}.strunk_outbox_id_seq'), p_queue, w.key
        FROM (SELECT x.key FROM waiting x WHERE NOT x.has_turn ORDER BY x.o) w
        LEFT JOIN LATERAL (
            SELECT l.weight FROM {schema}.strunk_key_limits l
            WHERE l.queue = p_queue AND l.customer_key = w.key LIMIT 1) own ON true)
    SELECT count(*) INTO v_n FROM waiting;
    RETURN v_n;
END $$;

-- Admits the tasks whose turns are the earliest, about p_want; see strunk_admit for what it returns, of which more says
-- that keys with turns are left. It looks at the p_want earliest turns. Each key takes part with its first task, and
-- with further ones whose turns come before the last of these; where no other keys have turns, before the clock
-- will have come to when p_want tasks have had theirs. The caller holds the admission lock.
CREATE OR REPLACE FUNCTION {schema}.strunk_take_turns(
    p_limits {schema}.strunk_limits, p_queue text, p_want integer, p_low_seq bigint, p_low_slot bigint,
    p_low_turn bigint, OUT admitted bigint, OUT wait_keys text[], OUT waits_us bigint[], OUT more boolean,
    OUT low_turn bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off
SET enable_hashjoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_rows  tid[];
    v_keys  text[];
    v_turns bigint[];
    v_steps bigint[];
    v_most  integer[];
    v_until bigint;
BEGIN
    SELECT array_agg(x.row_at), array_agg(x.customer_key), array_agg(x.at), array_agg(x.step),
        -- Where these may not be all, a key's second task must come before the last turn: others may have the same.
        CASE WHEN count(*) = p_want THEN max(x.at) - 1
            ELSE greatest(max(x.at), min(x.at) + ceil(p_want / sum(1.0 / x.step))::bigint) END
    INTO v_rows, v_keys, v_turns, v_steps, v_until
    FROM (SELECT t.ctid AS row_at, t.customer_key, t.at, {schema}.strunk_turn_step((
            SELECT l.weight FROM {schema}.strunk_key_limits l
            WHERE l.queue = p_queue AND l.customer_key = t.customer_key)) AS step
        FROM {schema}.strunk_turns t
        WHERE t.queue = p_queue AND t.at > p_low_turn ORDER BY t.at, t.n LIMIT p_want) x;
    SELECT array_agg(least(p_want, 1 + greatest(0, v_until - u.at) / u.step)::integer ORDER BY u.o) INTO v_most
    FROM unnest(v_turns, v_steps) WITH ORDINALITY AS u(at, step, o);
    IF v_keys IS NOT NULL THEN
        WITH had AS MATERIALIZED (
            SELECT a.*, v_rows[a.nth] AS row_at,
                CASE WHEN a.chosen = 0 THEN a.found > 0
                    WHEN a.admitted = 0 THEN false -- somebody has locked them: a sweep finds them later
                    ELSE a.found > a.chosen OR a.found = v_most[a.nth] END AS stays
            FROM {schema}.strunk_admit_keys(p_limits, p_queue, v_keys, p_want, p_low_seq, p_low_slot, v_turns, v_steps,
                v_most) a),
        moved AS (
            UPDATE {schema}.strunk_turns t
            SET at = t.at + h.chosen * v_steps[h.nth], n = nextval('{schema}.strunk_outbox_id_seq')
            FROM (SELECT * FROM had WHERE had.stays AND had.chosen > 0
                -- Of equal turns the one comes first whose turn before this came first.
                ORDER BY v_turns[had.nth] + had.chosen * v_steps[had.nth], v_steps[had.nth] DESC, least(had.chosen, 2),
                    had.nth) h
            WHERE t.ctid = h.row_at),
        gone AS (
            DELETE FROM {schema}.strunk_turns t USING had h WHERE NOT h.stays AND t.ctid = h.row_at)
        SELECT sum(h.admitted), array_agg(h.customer_key) FILTER (WHERE h.wait_us IS NOT NULL),
            array_agg(h.wait_us) FILTER (WHERE h.wait_us IS NOT NULL)
        INTO admitted, wait_keys, waits_us FROM had h;
    END IF;
    SELECT t.at - 1 INTO low_turn FROM {schema}.strunk_turns t WHERE t.queue = p_queue AND t.at > p_low_turn
    ORDER BY t.at LIMIT 1;
    more := low_turn IS NOT NULL;
    low_turn := coalesce(low_turn, greatest(p_low_turn, nextval('{schema}.strunk_outbox_id_seq') * 10000));
    admitted := coalesce(admitted, 0);
END $$;

-- How many tasks of a queue are admitted and not claimed above the watermarks of a claim, up to p_most.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_admitted(p_queue text, p_marks bigint[], p_most integer)
RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (SELECT count(*) FROM (
        SELECT 1 FROM unnest(p_marks) WITH ORDINALITY AS m(watermark, o)
        CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.strunk_outbox_tasks t
            WHERE t.status = 'pending' AND t.admitted AND t.key = p_queue AND t.priority = (10 - m.o)::smallint
                AND t.seq > m.watermark
            ORDER BY t.seq LIMIT p_most) x
        LIMIT p_most) y);
END $$;
