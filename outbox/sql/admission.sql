-- Admission: which tasks with a customer key may be claimed. See the head of limits.sql.

-- The number of a queue's admission lock, an advisory one. Its holder admits, claims by rates, or
-- changes limits; claims share it. The function has no SET, so that the planner inlines it:
-- otherwise each claim would parse and plan its body anew, which costs 60 microseconds.
CREATE OR REPLACE FUNCTION {schema}.strunk_admission_key(p_queue text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.hashtextextended(pg_catalog.textcat('strunk_admission:{schema}:', p_queue), 0)
$$;

-- Takes the admission lock of a queue until the transaction ends.
CREATE OR REPLACE FUNCTION {schema}.strunk_lock_admission(p_queue text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_xact_lock({schema}.strunk_admission_key(p_queue))
$$;

-- Admits the next tasks of these keys, of each at most p_max and what its quota and its rate leave.
-- Returns, for each key, how many it admitted, and where its rate or a hold (strunk_hold) holds it up
-- the microseconds until the next may begin. The caller holds the admission lock. In the rows, key is
-- the queue and customer_key the key. A task that returns with a backlog_seq goes first, and while it
-- is put off for another attempt its place in the quota is kept. Slots and seqs are looked for above
-- p_low_slot and p_low_seq (see limits.sql). A task that somebody has locked is not admitted, and with
-- FIFO nothing of its key is: a later look finds it.
--
-- With the turns of the keys (p_turns, and by how much a task moves each on, p_steps; see turns.sql) it admits at
-- most p_max tasks in all, in the order of their turns, and of each key at most p_most. nth is the place of the
-- key in p_keys; found are the tasks of it that it might admit, chosen are those whose turns come first.
CREATE OR REPLACE FUNCTION {schema}.strunk_admit_keys(
    p_limits {schema}.strunk_limits, p_queue text, p_keys text[], p_max integer, p_low_seq bigint, p_low_slot bigint,
    p_turns bigint[] DEFAULT NULL, p_steps bigint[] DEFAULT NULL, p_most integer[] DEFAULT NULL)
RETURNS TABLE (customer_key text, admitted bigint, wait_us bigint, nth bigint, found bigint, chosen bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off
SET enable_hashjoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_max     constant integer := 1000000; -- no limit
    v_running constant integer := coalesce(p_limits.key_running, v_max);
    v_rated   constant boolean := p_limits.key_rate IS NOT NULL;
    v_counted constant boolean := p_limits.key_running IS NOT NULL OR v_rated;
    v_dead_hold_keys constant boolean := coalesce(p_limits.hold_dead, false);
    v_now     constant bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    v_own     constant boolean := p_limits.key_running IS NOT NULL AND NOT p_limits.fifo; -- see strunk_key_limits
    v_any_hold constant boolean := EXISTS (SELECT 1 FROM {schema}.strunk_holds h
        WHERE h.queue = p_queue AND h.customer_key > '' AND h.until > clock_timestamp()); -- some key is on hold
BEGIN
    IF v_rated THEN
        PERFORM {schema}.strunk_mend_rates(p_limits, p_queue, p_keys);
    END IF;
    RETURN QUERY
    WITH quota AS MATERIALIZED (
        SELECT k.key, k.o, held.left_us, of_key.step_us,
            -- when the next could begin, were none to be admitted now
            coalesce(used.until_us, v_now) + (slots.unclaimed + 1 - of_key.burst) * of_key.step_us AS next_us,
            CASE WHEN held.left_us > 0 THEN 0
                WHEN v_dead_hold_keys AND EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d
                WHERE d.key = p_queue AND d.customer_key = k.key AND d.backlog_seq IS NOT NULL) THEN 0
                ELSE least(p_max, p_most[k.o], own.running - slots.n) END AS free,
            CASE WHEN v_rated THEN (v_now + of_key.burst * of_key.step_us - coalesce(used.until_us, v_now))
                / of_key.step_us - slots.unclaimed ELSE v_max END AS tokens
        FROM (SELECT u.key, min(u.o) AS o FROM unnest(p_keys) WITH ORDINALITY AS u(key, o) GROUP BY u.key) k
        CROSS JOIN LATERAL (
            SELECT coalesce((SELECT l.running FROM {schema}.strunk_key_limits l
                WHERE v_own AND l.queue = p_queue AND l.customer_key = k.key), v_running) AS running) own
        CROSS JOIN LATERAL (
            SELECT count(*)::integer AS n, (count(*) FILTER (WHERE x.status = 'pending'))::integer AS unclaimed FROM (
                SELECT t.status FROM {schema}.strunk_outbox_tasks t
                WHERE v_counted AND t.key = p_queue AND t.customer_key = k.key AND t.slot > p_low_slot
                ORDER BY t.slot DESC LIMIT own.running) x) slots
        LEFT JOIN LATERAL {schema}.strunk_key_rate(p_limits, p_queue, k.key) of_key ON true
        LEFT JOIN LATERAL (
            SELECT r.until_us FROM {schema}.strunk_rates r
            WHERE v_rated AND r.queue = p_queue AND r.customer_key = k.key AND r.until_us > v_now
            ORDER BY r.until_us DESC LIMIT 1) used ON true
        LEFT JOIN LATERAL (
            SELECT ceil(extract(epoch FROM h.until) * 1000000)::bigint - v_now AS left_us FROM {schema}.strunk_holds h
            WHERE v_any_hold AND h.queue = p_queue AND h.customer_key = k.key) held ON true
        ORDER BY k.o),
    ready AS MATERIALIZED (
        SELECT q.key, q.o, n.tid, n.rank FROM quota q CROSS JOIN LATERAL (
            SELECT m.tid, row_number() OVER () AS rank FROM (
                (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
                WHERE t.key = p_queue AND t.customer_key = q.key AND NOT t.admitted AND t.backlog_seq IS NOT NULL
                ORDER BY t.backlog_seq LIMIT greatest(0, least(q.free, q.tokens)))
                UNION ALL
                (SELECT t.ctid FROM {schema}.strunk_outbox_tasks t
                WHERE t.key = p_queue AND t.customer_key = q.key AND t.status = 'pending' AND NOT t.admitted
                    AND t.backlog_seq IS NULL AND t.seq + 0 > p_low_seq
                ORDER BY t.seq + 0 LIMIT greatest(0, least(q.free, q.tokens)))
                LIMIT greatest(0, least(q.free, q.tokens))) m) n),
    next AS MATERIALIZED (
        SELECT r.key, r.tid FROM ready r
        -- Of equal turns the one comes first that was given, or moved on to, first.
        ORDER BY p_turns[r.o] + (r.rank - 1) * p_steps[r.o], least(r.rank, 2), p_steps[r.o] DESC, r.o, r.rank
        LIMIT CASE WHEN p_turns IS NOT NULL THEN p_max END),
    locked AS MATERIALIZED (
        SELECT n.tid FROM next n JOIN {schema}.strunk_outbox_tasks t ON t.ctid = n.tid
        WHERE t.status || '' = 'pending' AND NOT t.admitted FOR UPDATE OF t SKIP LOCKED),
    done AS (
        UPDATE {schema}.strunk_outbox_tasks t SET admitted = true, backlog_seq = coalesce(t.backlog_seq, t.seq),
            slot = nextval('{schema}.strunk_outbox_id_seq'), seq = nextval('{schema}.strunk_outbox_id_seq')
        FROM locked WHERE t.ctid = locked.tid
        RETURNING t.customer_key)
    -- Without a join: there may be a thousand keys, and joins by nested loops are all that is left to the planner.
    SELECT x.key, sum(x.done)::bigint,
        CASE WHEN max(x.left_us) > 0 THEN max(x.left_us)
            WHEN v_rated AND max(x.free) > 0 AND greatest(max(x.tokens), 0) <= sum(x.done)
            THEN max(x.next_us) + sum(x.done)::bigint * max(x.step_us) - v_now END,
        max(x.o), sum(x.found)::bigint, sum(x.chosen)::bigint
    FROM (
        SELECT q.key, q.o, q.left_us, q.free, q.tokens, q.next_us, q.step_us, 0 AS found, 0 AS chosen, 0 AS done
        FROM quota q
        UNION ALL SELECT r.key, 0, 0, 0, 0, 0, 0, 1, 0, 0 FROM ready r WHERE p_turns IS NOT NULL
        UNION ALL SELECT n.key, 0, 0, 0, 0, 0, 0, 0, 1, 0 FROM next n WHERE p_turns IS NOT NULL
        UNION ALL SELECT d.customer_key, 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM done d) x
    GROUP BY x.key;
END $$;

-- One admission: looks at the keys of up to p_limit tasks that have arrived above seq p_top, of up
-- to p_limit above seq p_late (null: of none), and at p_keys, and admits what their quotas leave.
-- It waits for the admission lock, and reads in later statements, so that it sees whatever its
-- predecessors committed. Refuses (STR02) unless the queue's limits are of version p_limits.
-- p_settled is a seq at or below which nothing arrives any more. In a queue with fair limits these keys are given
-- turns, and what is admitted are the p_want tasks of which the turns come next (see turns.sql), less what is
-- admitted already above the watermarks p_marks of the claim that follows (see strunk_claim); but one at least.
--   arrived, top         how many it has looked at above p_top, and the highest seq of these
--   late_top             the highest seq that it has looked at above p_late; null where that was all
--   low_seq, low_slot    numbers to pass next time: nothing waits at or below low_seq, and no slot is
--                        at or below low_slot
--   wait_keys, waits_us  the keys that their rate or a hold holds up, and for how long
--   more, low_turn       whether keys with turns are left; a turn to pass next time
CREATE OR REPLACE FUNCTION {schema}.strunk_admit(
    p_queue text, p_limits bigint, p_keys text[], p_top bigint, p_late bigint, p_limit integer,
    p_settled bigint, p_low_seq bigint, p_low_slot bigint, p_want integer DEFAULT 0, p_marks bigint[] DEFAULT NULL,
    p_low_turn bigint DEFAULT 0)
RETURNS TABLE (admitted bigint, arrived bigint, top bigint, late_top bigint, low_seq bigint, low_slot bigint,
    wait_keys text[], waits_us bigint[], more boolean, low_turn bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_limits {schema}.strunk_limits;
    v_keys   text[];
    v_late   text[];
BEGIN
    PERFORM {schema}.strunk_lock_admission(p_queue);
    PERFORM pg_current_xact_id(); -- whoever draws a seq has an id already
    SELECT l.* INTO v_limits FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF coalesce(v_limits.version, 0) <> p_limits THEN
        RAISE EXCEPTION 'strunk_admit: queue %: its limits are not those of version %', p_queue,
            p_limits USING ERRCODE = 'STR02';
    END IF;
    SELECT t.slot - 1 INTO low_slot FROM {schema}.strunk_outbox_tasks t
    WHERE t.key = p_queue AND t.slot IS NOT NULL AND t.slot + 0 > p_low_slot ORDER BY t.slot + 0 LIMIT 1;
    low_slot := coalesce(low_slot, nextval('{schema}.strunk_outbox_id_seq')); -- all slots to come are higher
    SELECT t.seq - 1 INTO low_seq FROM {schema}.strunk_outbox_tasks t
    WHERE t.key = p_queue AND t.status = 'pending' AND NOT t.admitted AND t.seq > p_low_seq ORDER BY t.seq LIMIT 1;
    low_seq := least(p_settled, low_seq);

    SELECT array_agg(x.customer_key), count(*), max(x.seq) INTO v_keys, arrived, top FROM (
        SELECT t.customer_key, t.seq FROM {schema}.strunk_outbox_tasks t
        WHERE t.key = p_queue AND t.status = 'pending' AND NOT t.admitted AND t.seq > p_top ORDER BY t.seq
            LIMIT p_limit) x;
    IF p_late IS NOT NULL THEN
        SELECT array_agg(x.customer_key), CASE WHEN count(*) = p_limit THEN max(x.seq) END INTO v_late, late_top FROM (
            SELECT t.customer_key, t.seq FROM {schema}.strunk_outbox_tasks t
            WHERE t.key = p_queue AND t.status = 'pending' AND NOT t.admitted AND t.seq > p_late ORDER BY t.seq
                LIMIT p_limit) x;
    END IF;
    more := false;
    low_turn := p_low_turn;
    IF v_limits.fair THEN
        PERFORM {schema}.strunk_give_turns(p_queue, p_keys || v_late || v_keys, low_seq, p_low_turn);
        SELECT x.* INTO admitted, wait_keys, waits_us, more, low_turn FROM {schema}.strunk_take_turns(v_limits, p_queue,
            greatest(1, p_want - {schema}.strunk_count_admitted(p_queue, p_marks, p_want)), low_seq, low_slot,
            p_low_turn) x;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT coalesce(sum(a.admitted), 0), array_agg(a.customer_key) FILTER (WHERE a.wait_us IS NOT NULL),
        array_agg(a.wait_us) FILTER (WHERE a.wait_us IS NOT NULL)
    INTO admitted, wait_keys, waits_us
    FROM {schema}.strunk_admit_keys(v_limits, p_queue, p_keys || v_late || v_keys, greatest(1000, 2 * p_limit),
        low_seq, low_slot) a;
    RETURN NEXT;
END $$;

-- Admits the next tasks of these keys, of which others have ended; returns how many. In a queue with fair limits it
-- gives the keys turns instead (p_low_turn is below all turns), and returns how many of them have one now.
CREATE OR REPLACE FUNCTION {schema}.strunk_admit_released(p_queue text, p_keys text[], p_low_turn bigint DEFAULT 0)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_limits {schema}.strunk_limits;
BEGIN
    PERFORM {schema}.strunk_lock_admission(p_queue);
    PERFORM pg_current_xact_id();
    SELECT l.* INTO v_limits FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF v_limits.fair THEN
        RETURN {schema}.strunk_give_turns(p_queue, p_keys, 0, p_low_turn);
    END IF;
    RETURN (SELECT coalesce(sum(a.admitted), 0) FROM {schema}.strunk_admit_keys(v_limits, p_queue, p_keys, 1000, 0,
        0) a);
END $$;

-- Looks at up to p_limit keys of a queue's backlog after p_after, whoever has looked at them
-- before. Returns the last key, null where there is none, and how many tasks it admitted. Also
-- deletes what rates no longer need.
CREATE OR REPLACE FUNCTION {schema}.strunk_sweep_backlog(p_queue text, p_after text, p_limit integer,
    p_low_turn bigint DEFAULT 0, OUT last_key text, OUT admitted bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET jit = off AS $$
DECLARE
    v_keys text[] := '{}';
    v_key    text := coalesce(p_after, '');
BEGIN
    -- An empty backlog costs no lock and no transaction id.
    FOR i IN 1 .. p_limit LOOP
        SELECT least(
            (SELECT t.customer_key FROM {schema}.strunk_outbox_tasks t WHERE t.key = p_queue
                AND t.status = 'pending' AND NOT t.admitted
                AND t.backlog_seq IS NULL AND t.customer_key > v_key ORDER BY t.customer_key LIMIT 1),
            (SELECT t.customer_key FROM {schema}.strunk_outbox_tasks t WHERE t.key = p_queue AND NOT t.admitted
                AND t.backlog_seq IS NOT NULL AND t.customer_key > v_key ORDER BY t.customer_key LIMIT 1)) INTO v_key;
        EXIT WHEN v_key IS NULL;
        v_keys := v_keys || v_key;
    END LOOP;
    last_key := v_keys[cardinality(v_keys)];
    admitted := 0;
    IF cardinality(v_keys) > 0 THEN
        admitted := {schema}.strunk_admit_released(p_queue, v_keys, p_low_turn);
    END IF;
    DELETE FROM {schema}.strunk_rates r WHERE r.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_rates o WHERE o.until_us < extract(epoch FROM now()) * 1000000 - 1000000
            ORDER BY o.until_us LIMIT 10000));
END $$;

-- Whether a task with a customer key waits in a queue above seq p_low. Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_has_backlog(p_queue text, p_low bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.key = p_queue AND t.status = 'pending' AND NOT t.admitted AND t.seq > p_low ORDER BY t.seq LIMIT 1;
    RETURN FOUND;
END $$;
