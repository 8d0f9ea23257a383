-- Claiming tasks: the ordinary claim, and how far a worker may start what it has claimed.

-- Claims up to p_limit pending tasks of a queue, highest priority first, then first in first out.
--
-- p_high and p_low hold a watermark for each priority from 9 down to 0. The index is entered above
-- the watermark, past the entries of finished tasks that an open snapshot keeps alive. The first
-- pass enters at p_high. What it does not fill is sought once more from p_low; a null p_low leaves
-- the second pass out. p_limits is the version of the queue's limits that the worker follows, 0 for
-- none. A worker that does not know of a limit claims nothing (STR02). p_bytes bounds the payloads
-- that a pass claims, as they are stored: the task that reaches it is the last. begin_in_ms is how
-- long a task with a deadline may still begin.
--
-- A claim of 1 to p_start tasks lets all of them start: it writes so as row p_write of strunk_starts,
-- together with what has started: all of them where they are p_at_once or fewer, and up to p_started
-- otherwise. Both are places (claim, 9 - priority, seq); (claim, 10, 0) is after every task of a claim.
--
-- Locks: the queue's admission lock, shared: a change of limits waits for the claim, and the claim
-- for it. Then the lease row FOR KEY SHARE. strunk_expire_lease and strunk_void_claims take it FOR
-- UPDATE, so either they see the rows of this claim, or this claim sees their change and does
-- nothing. Then the tasks, with SKIP LOCKED: claims run beside each other. claimed_at is read for
-- each row after it was locked: read before, it could lie before due_at. The planner is pinned:
-- with stale statistics it would sort the whole backlog, with fresh ones walk another index.
CREATE OR REPLACE FUNCTION {schema}.strunk_claim(
    p_worker bigint, p_claim bigint, p_queue text, p_limit integer, p_high bigint[], p_low bigint[],
    p_limits bigint DEFAULT 0, p_bytes bigint DEFAULT 4194304, p_start integer DEFAULT 0,
    p_write bigint DEFAULT 0, p_started bigint[] DEFAULT NULL, p_at_once integer DEFAULT 0)
RETURNS TABLE (id bigint, seq bigint, created_at timestamptz, due_at timestamptz, timeout_ms integer, attempts smallint,
    max_attempts smallint, priority smallint, dedup_key text, payload json, metadata json, at tid, customer_key text,
    possibly_started boolean, begin_in_ms bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_watermarks bigint[] := p_high;
    v_limit integer := p_limit;
    v_n     integer;
    v_all   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock_shared({schema}.strunk_admission_key(p_queue));
    PERFORM 1 FROM {schema}.strunk_workers w
    WHERE w.id = p_worker AND NOT w.expired AND w.claim_floor < p_claim FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_claim: worker % has no lease for claim %', p_worker, p_claim USING ERRCODE = 'STR01';
    END IF;
    IF coalesce((SELECT l.version FROM {schema}.strunk_limits l WHERE l.queue = p_queue), 0) <> p_limits THEN
        RAISE EXCEPTION 'strunk_claim: queue %: its limits are not those of version %', p_queue, p_limits
            USING ERRCODE = 'STR02';
    END IF;
    LOOP
        RETURN QUERY
        WITH c AS MATERIALIZED (
            SELECT x.tid, x.bytes FROM unnest(v_watermarks) WITH ORDINALITY AS m(watermark, o)
            CROSS JOIN LATERAL (
                SELECT t.ctid AS tid, coalesce(pg_column_size(t.payload), 0) AS bytes
                FROM {schema}.strunk_outbox_tasks t
                WHERE t.status = 'pending' AND t.admitted AND t.key = p_queue AND t.priority = (10 - m.o)::smallint
                    AND t.seq > m.watermark
                ORDER BY t.seq LIMIT v_limit FOR UPDATE SKIP LOCKED) x
            LIMIT v_limit)
        UPDATE {schema}.strunk_outbox_tasks t
        SET status = 'claimed', worker_id = p_worker, claim_no = p_claim, claimed_at = clock_timestamp(),
            attempts = t.attempts + 1
        FROM c WHERE t.ctid = c.tid AND (
            -- Mostly all of them fit. Only where they do not are running sums computed: always, they cost 2 %.
            (SELECT sum(c.bytes) FROM c) < p_bytes
            OR c.tid IN (
                SELECT y.tid FROM (
                    SELECT c.tid, sum(c.bytes) OVER (ROWS UNBOUNDED PRECEDING) - c.bytes AS before FROM c) y
                WHERE y.before < p_bytes))
        RETURNING t.id, t.seq, t.created_at, t.due_at, t.timeout_ms, t.attempts, t.max_attempts, t.priority,
                  t.dedup_key, t.payload, t.metadata, t.ctid, t.customer_key, t.possibly_started,
                  CASE WHEN t.begin_before IS NOT NULL THEN
                      floor(extract(epoch FROM t.begin_before - clock_timestamp()) * 1000)::bigint END;
        GET DIAGNOSTICS v_n = ROW_COUNT;
        v_all := v_all + v_n;
        EXIT WHEN v_n >= v_limit OR p_low IS NULL OR v_watermarks = p_low;
        v_limit := v_limit - v_n;
        v_watermarks := p_low;
    END LOOP;
    IF v_all BETWEEN 1 AND p_start THEN
        INSERT INTO {schema}.strunk_starts (worker_id, write_no, started_to, may_start_to)
        VALUES (p_worker, p_write, CASE WHEN v_all <= p_at_once THEN ARRAY[p_claim, 10, 0] ELSE p_started END,
            ARRAY[p_claim, 10, 0]);
    END IF;
END $$;

-- Writes ahead, as row p_write of strunk_starts, that a worker's tasks have started up to p_started
-- and may start up to p_may_start. Forgets its rows from p_from (null: none) to below p_to. Returns
-- false, and changes nothing, where the worker has lost its lease. Locks: the lease row FOR KEY
-- SHARE, for the same reason as strunk_claim.
CREATE OR REPLACE FUNCTION {schema}.strunk_allow_starts(
    p_worker bigint, p_write bigint, p_started bigint[], p_may_start bigint[], p_from bigint, p_to bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_workers w WHERE w.id = p_worker AND NOT w.expired FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.strunk_starts (worker_id, write_no, started_to, may_start_to)
    VALUES (p_worker, p_write, p_started, p_may_start);
    IF p_from IS NOT NULL THEN
        DELETE FROM {schema}.strunk_starts s WHERE s.worker_id = p_worker AND s.write_no >= p_from
            AND s.write_no < p_to;
    END IF;
    RETURN true;
END $$;

-- Which of these queues have a pending task above the watermarks (see strunk_claim), ten for each queue, or a task with
-- a customer key that waits above the seq p_backlogs: their places in p_queues, counted from 1. Reads only: polling
-- empty queues spends no transaction id and writes nothing.
CREATE OR REPLACE FUNCTION {schema}.strunk_queues_with_work(p_queues text[], p_watermarks bigint[], p_backlogs bigint[])
RETURNS TABLE (place integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    FOR i IN 1 .. cardinality(p_queues) LOOP
        PERFORM 1 FROM unnest(p_watermarks[10 * i - 9:10 * i]) WITH ORDINALITY AS m(watermark, o)
        CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.strunk_outbox_tasks t
            WHERE t.status = 'pending' AND t.admitted AND t.key = p_queues[i] AND t.priority = (10 - m.o)::smallint
                AND t.seq > m.watermark
            ORDER BY t.seq LIMIT 1) x
        LIMIT 1;
        IF FOUND OR {schema}.strunk_has_backlog(p_queues[i], p_backlogs[i]) THEN
            place := i;
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

-- Moves low watermarks forward, from p_from towards p_to, for each priority from 9 down to 0. It
-- stops below the first task that is still pending (a lock that was skipped and rolled back). The
-- caller has made sure that no transaction is left that could still commit a task at or below p_to.
-- Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_advance_watermarks(p_queue text, p_from bigint[], p_to bigint[])
RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_watermarks bigint[] := p_to;
    v_seq   bigint;
BEGIN
    FOR i IN 1 .. cardinality(p_to) LOOP
        CONTINUE WHEN p_to[i] <= p_from[i];
        SELECT t.seq INTO v_seq FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'pending' AND t.admitted AND t.key = p_queue AND t.priority = (10 - i)::smallint
            AND t.seq > p_from[i] AND t.seq <= p_to[i]
        ORDER BY t.seq LIMIT 1;
        IF FOUND THEN
            v_watermarks[i] := v_seq - 1;
        END IF;
    END LOOP;
    RETURN v_watermarks;
END $$;
