-- Statistics: functions and views. None counts without a bound: a count that reaches its cap is what
-- the last pass of counts.sql says (precision counted, counted_for ago), or at_least the cap.

-- The names of queues after p_after, in "C" order, at most p_limit: those with a pending, a dead,
-- a cancelled or a discarded task, with a worker, a setting or a schedule, among the first 1,000
-- scheduled tasks, or with a scheduled task when it was last counted.
CREATE OR REPLACE FUNCTION {schema}.strunk_queue_names(p_after text DEFAULT '', p_limit integer DEFAULT 1000)
RETURNS TABLE (queue text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = on
    SET jit = off AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE pending AS (
        (SELECT t.key FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending' AND t.admitted
            AND t.key > p_after COLLATE "C" ORDER BY t.key, t.priority, t.seq LIMIT 1)
        UNION ALL
        SELECT (SELECT t.key FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending' AND t.admitted
            AND t.key > p.key ORDER BY t.key, t.priority, t.seq LIMIT 1)
        FROM pending p WHERE p.key IS NOT NULL),
    waiting AS (
        (SELECT t.key FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending' AND NOT t.admitted
            AND t.key > p_after COLLATE "C" ORDER BY t.key, t.seq LIMIT 1)
        UNION ALL
        SELECT (SELECT t.key FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending' AND NOT t.admitted
            AND t.key > w.key ORDER BY t.key, t.seq LIMIT 1)
        FROM waiting w WHERE w.key IS NOT NULL),
    dead AS (
        (SELECT d.key FROM {schema}.strunk_outbox_dead d WHERE d.kind = 'task' AND d.key > p_after COLLATE "C"
            ORDER BY d.key, d.id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.key FROM {schema}.strunk_outbox_dead d WHERE d.kind = 'task' AND d.key > p.key
            ORDER BY d.key, d.id LIMIT 1)
        FROM dead p WHERE p.key IS NOT NULL),
    cancelled AS (
        (SELECT c.key FROM {schema}.strunk_outbox_cancelled c WHERE c.key > p_after COLLATE "C"
            ORDER BY c.key, c.id LIMIT 1)
        UNION ALL
        SELECT (SELECT c.key FROM {schema}.strunk_outbox_cancelled c WHERE c.key > p.key
            ORDER BY c.key, c.id LIMIT 1)
        FROM cancelled p WHERE p.key IS NOT NULL),
    names AS (
        (SELECT p.key FROM pending p LIMIT p_limit)
        UNION ALL (SELECT c.key FROM cancelled c LIMIT p_limit)
        UNION ALL (SELECT w.key FROM waiting w LIMIT p_limit)
        UNION ALL (SELECT d.key FROM dead d LIMIT p_limit)
        UNION ALL SELECT w.queue FROM {schema}.strunk_workers w
        UNION ALL SELECT q.queue FROM {schema}.strunk_queues q
        UNION ALL SELECT s.queue FROM {schema}.strunk_schedules s
        UNION ALL (SELECT t.key FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'scheduled' ORDER BY t.due_at
            LIMIT 1000)
        UNION ALL SELECT c.name FROM {schema}.strunk_counts c WHERE c.part = 'scheduled')
    SELECT DISTINCT x.key COLLATE "C" AS name FROM names x WHERE x.key > p_after COLLATE "C" ORDER BY name
        LIMIT p_limit;
END $$;

-- The state of queues. Counts end at p_cap: their precision is exact, counted or at_least. With a p_cap of 0 no
-- more is looked at than whether anything waits or runs: pending and claimed are at_least 1 or 0, others at_least 0.
-- p_delivered adds what is kept of the delivered, null otherwise. waiting_since is when the task at
-- the head of the queue became due, its enqueue at the earliest: of each priority, the first by seq.
CREATE OR REPLACE FUNCTION {schema}.strunk_queue_states(p_queues text[], p_cap integer,
    p_delivered boolean DEFAULT false)
RETURNS TABLE (queue text, pending bigint, pending_precision text, scheduled bigint, scheduled_precision text,
    claimed bigint,
    claimed_precision text, dead bigint, dead_precision text, cancelled bigint, cancelled_precision text,
    discarded bigint, discarded_precision text, delivered bigint, delivered_precision text,
    counted_for interval, waiting_since timestamptz, waiting_for interval,
    next_due_at timestamptz, workers bigint, concurrency bigint, paused_at timestamptz, paused_by text,
    pause_reason text, all_paused boolean, held_until timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    IF p_cap = 0 THEN
        RETURN QUERY SELECT h.* FROM {schema}.strunk_queue_heads(p_queues) h;
        RETURN;
    END IF;
    RETURN QUERY
    WITH counted AS MATERIALIZED (
        SELECT c.place, max(c.n) FILTER (WHERE c.part = 'pending') AS pending,
            max(c.precise) FILTER (WHERE c.part = 'pending') AS pending_precise,
            max(c.n) FILTER (WHERE c.part = 'scheduled') AS scheduled,
            max(c.precise) FILTER (WHERE c.part = 'scheduled') AS scheduled_precise,
            max(c.due) FILTER (WHERE c.part = 'scheduled') AS due,
            max(c.n) FILTER (WHERE c.part = 'claimed') AS claimed,
            max(c.precise) FILTER (WHERE c.part = 'claimed') AS claimed_precise,
            max(c.n) FILTER (WHERE c.part = 'dead') AS dead,
            max(c.precise) FILTER (WHERE c.part = 'dead') AS dead_precise,
            max(c.n) FILTER (WHERE c.part = 'cancelled') AS cancelled,
            max(c.precise) FILTER (WHERE c.part = 'cancelled') AS cancelled_precise,
            max(c.n) FILTER (WHERE c.part = 'discarded') AS discarded,
            max(c.precise) FILTER (WHERE c.part = 'discarded') AS discarded_precise
        FROM {schema}.strunk_queue_counts(p_queues,
            '{pending,scheduled,claimed,dead,cancelled,discarded}'::text[], p_cap) c
        GROUP BY c.place)
    SELECT h.queue, c.pending, c.pending_precise, c.scheduled, c.scheduled_precise, c.claimed, c.claimed_precise,
        c.dead, c.dead_precise, c.cancelled, c.cancelled_precise, c.discarded, c.discarded_precise, d.n, d.precise,
        h.counted_for, h.waiting_since, h.waiting_for, c.due, h.workers, h.concurrency, h.paused_at, h.paused_by,
        h.pause_reason, h.all_paused, h.held_until
    FROM {schema}.strunk_queue_heads(p_queues) WITH ORDINALITY h
    JOIN counted c ON c.place = h.ordinality
    LEFT JOIN LATERAL (
        SELECT x.n, x.precise FROM {schema}.strunk_count_delivered(h.queue, p_cap) x WHERE p_delivered) d ON true
    ORDER BY h.ordinality;
END $$;

-- How many tasks of each queue there are of each part (pending, scheduled, claimed, dead, cancelled, discarded),
-- counted to p_cap. place is the queue's in p_queues; due is when the first of the scheduled tasks is due.
-- Of the scheduled, no index has the queue: one look at the first p_cap serves all queues. Of the claimed, those of
-- each worker are counted to p_cap. Beyond p_cap, n is what the last pass of counts.sql says: see strunk_over_cap.
-- A range of one key, rather than the key, leaves the order to the index that has the key: with the
-- key alone, the index of id gives the order too, and would be walked past all other queues' dead letters.
CREATE OR REPLACE FUNCTION {schema}.strunk_queue_counts(p_queues text[], p_parts text[], p_cap integer)
RETURNS TABLE (place bigint, part text, n bigint, precise text, due timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH later AS MATERIALIZED (
        SELECT t.key, t.due_at FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'scheduled' AND 'scheduled' = ANY (p_parts) ORDER BY t.due_at LIMIT p_cap + 1),
    later_of AS MATERIALIZED (
        SELECT l.key, count(*) AS n, min(l.due_at) AS due FROM later l GROUP BY l.key),
    claimed_of AS MATERIALIZED (
        SELECT w.queue, sum(least(x.n, p_cap))::bigint AS n, max(x.n) > p_cap AS more
        FROM {schema}.strunk_workers w CROSS JOIN LATERAL (
            SELECT count(*) AS n FROM (SELECT 1 FROM {schema}.strunk_outbox_tasks t
                WHERE t.status = 'claimed' AND t.worker_id = w.id ORDER BY t.worker_id, t.claim_no LIMIT p_cap + 1) y) x
        WHERE 'claimed' = ANY (p_parts) AND w.queue = ANY (p_queues) GROUP BY w.queue),
    counted AS MATERIALIZED (
        SELECT q.place, q.name, p.part, l.due, CASE p.part WHEN 'scheduled' THEN coalesce(l.n, 0)
                WHEN 'claimed' THEN coalesce(c.n, 0) ELSE least(x.n, p_cap) END AS n,
            CASE p.part WHEN 'scheduled' THEN (SELECT count(*) > p_cap FROM later)
                WHEN 'claimed' THEN coalesce(c.more, false) ELSE x.n > p_cap END AS more
        FROM unnest(p_queues) WITH ORDINALITY q (name, place) CROSS JOIN unnest(p_parts) p (part)
        LEFT JOIN later_of l ON p.part = 'scheduled' AND l.key = q.name
        LEFT JOIN claimed_of c ON p.part = 'claimed' AND c.queue = q.name
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
            (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE p.part = 'pending' AND t.status = 'pending'
                AND t.admitted AND t.key = q.name ORDER BY t.key, t.priority, t.seq LIMIT p_cap + 1)
            UNION ALL
            (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE p.part = 'pending' AND t.status = 'pending'
                AND NOT t.admitted AND t.key = q.name ORDER BY t.key, t.seq LIMIT p_cap + 1)
            UNION ALL
            (SELECT 1 FROM {schema}.strunk_outbox_dead d WHERE p.part = 'dead' AND d.kind = 'task'
                AND d.key >= q.name AND d.key <= q.name ORDER BY d.key, d.id LIMIT p_cap + 1)
            UNION ALL
            (SELECT 1 FROM {schema}.strunk_outbox_cancelled e WHERE p.part IN ('cancelled', 'discarded')
                AND e.status = p.part AND e.key = q.name ORDER BY e.status, e.key, e.id LIMIT p_cap + 1)
            LIMIT p_cap + 1) y) x)
    SELECT c.place, c.part, CASE WHEN c.more THEN greatest(o.n, c.n) ELSE c.n END,
        CASE WHEN NOT c.more THEN 'exact'
            WHEN coalesce(o.complete, a.complete) AND coalesce(o.n, 0) >= c.n THEN 'counted' ELSE 'at_least' END, c.due
    FROM counted c
    LEFT JOIN {schema}.strunk_counts o ON c.more AND o.part = c.part AND o.name = c.name
    LEFT JOIN {schema}.strunk_counts a ON c.more AND o.complete IS NULL AND a.part = c.part AND a.name = '';
END $$;

-- What strunk_queue_states returns with a p_cap of 0: in one statement, and without counts.
CREATE OR REPLACE FUNCTION {schema}.strunk_queue_heads(p_queues text[])
RETURNS TABLE (queue text, pending bigint, pending_precision text, scheduled bigint, scheduled_precision text,
    claimed bigint,
    claimed_precision text, dead bigint, dead_precision text, cancelled bigint, cancelled_precision text,
    discarded bigint, discarded_precision text, delivered bigint, delivered_precision text,
    counted_for interval, waiting_since timestamptz, waiting_for interval,
    next_due_at timestamptz, workers bigint, concurrency bigint, paused_at timestamptz, paused_by text,
    pause_reason text, all_paused boolean, held_until timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now     timestamptz := clock_timestamp();
    v_counted timestamptz := {schema}.strunk_counted_at();
    v_paused  {schema}.strunk_all_paused;
BEGIN
    SELECT a.* INTO v_paused FROM {schema}.strunk_all_paused a LIMIT 1;
    RETURN QUERY
    WITH RECURSIVE first (place, name, priority, since) AS ( -- of each priority that waits
        SELECT q.place, q.name, (-1)::smallint, NULL::timestamptz FROM unnest(p_queues) WITH ORDINALITY q (name, place)
        UNION ALL
        SELECT f.place, f.name, t.priority, t.since FROM first f CROSS JOIN LATERAL (
            SELECT p.priority, greatest(p.due_at, p.created_at) AS since FROM {schema}.strunk_outbox_tasks p
            WHERE p.status = 'pending' AND p.admitted AND p.key = f.name AND p.priority > f.priority
            ORDER BY p.key, p.priority, p.seq LIMIT 1) t)
    SELECT q.name, CASE WHEN least(q.since, b.since) IS NULL THEN 0 ELSE 1 END::bigint, 'at_least', 0::bigint,
        'at_least', least(w.busy, 1), 'at_least', 0::bigint, 'at_least', 0::bigint, 'at_least', 0::bigint, 'at_least',
        NULL::bigint, NULL::text, v_now - v_counted, least(q.since, b.since), v_now - least(q.since, b.since),
        NULL::timestamptz, w.n, w.slots, coalesce(p.paused_at, v_paused.paused_at),
        coalesce(p.paused_by, v_paused.paused_by), coalesce(p.pause_reason, v_paused.reason),
        v_paused.paused_at IS NOT NULL, d.until
    FROM (SELECT f.place, f.name, min(f.since) AS since FROM first f GROUP BY f.place, f.name) q
    LEFT JOIN LATERAL (
        SELECT greatest(t.due_at, t.created_at) AS since FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'pending' AND NOT t.admitted AND t.key = q.name ORDER BY t.key, t.seq LIMIT 1) b ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(sum(v.concurrency), 0)::bigint AS slots, count(c.one) AS busy
        FROM {schema}.strunk_workers v LEFT JOIN LATERAL (
            SELECT 1 AS one FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'claimed' AND t.worker_id = v.id
            ORDER BY t.worker_id, t.claim_no LIMIT 1) c ON true
        WHERE v.queue = q.name) w
    LEFT JOIN LATERAL (
        SELECT s.paused_at, coalesce(s.paused_by, '') AS paused_by, coalesce(s.pause_reason, '') AS pause_reason
        FROM {schema}.strunk_queues s WHERE s.queue = q.name AND s.paused_at IS NOT NULL LIMIT 1) p ON true
    LEFT JOIN LATERAL (
        SELECT o.until FROM {schema}.strunk_holds o WHERE o.customer_key = '' AND o.queue = q.name AND o.until > v_now
        LIMIT 1) d ON true
    ORDER BY q.place;
END $$;

-- How many delivered tasks of a queue (null: of all) are kept. Exact where there are at most p_cap of
-- all queues: no index has the queue.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_delivered(p_queue text, p_cap integer)
RETURNS TABLE (n bigint, precise text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET jit = off AS $$
DECLARE
    v_all bigint;
BEGIN
    SELECT count(*) FILTER (WHERE x.key = p_queue OR p_queue IS NULL), count(*) INTO n, v_all FROM (
        SELECT d.key FROM {schema}.strunk_outbox_delivered_tasks d ORDER BY d.id LIMIT p_cap + 1) x;
    IF v_all > p_cap THEN
        RETURN QUERY SELECT c.n, c.precise FROM {schema}.strunk_over_cap(least(n, p_cap), 'delivered',
            coalesce(p_queue, '')) c;
    ELSE
        precise := 'exact';
        RETURN NEXT;
    END IF;
END $$;

-- How many tasks of a queue (null: of all) were cancelled or discarded, counted to p_cap.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_cancelled(p_queue text, p_status text, p_cap integer)
RETURNS TABLE (n bigint, precise text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET jit = off AS $$
BEGIN
    IF p_queue IS NULL THEN
        SELECT count(*) INTO n FROM (SELECT 1 FROM {schema}.strunk_outbox_cancelled c WHERE c.status = p_status
            ORDER BY c.status, c.id LIMIT p_cap + 1) x;
    ELSE
        SELECT count(*) INTO n FROM (SELECT 1 FROM {schema}.strunk_outbox_cancelled c
            WHERE c.status = p_status AND c.key = p_queue ORDER BY c.status, c.key, c.id LIMIT p_cap + 1) x;
    END IF;
    IF n > p_cap THEN
        RETURN QUERY SELECT c.n, c.precise FROM {schema}.strunk_over_cap(p_cap, p_status, coalesce(p_queue, '')) c;
    ELSE
        precise := 'exact';
        RETURN NEXT;
    END IF;
END $$;

CREATE OR REPLACE VIEW {schema}.strunk_queue_stats AS
    SELECT s.* FROM {schema}.strunk_queue_names() q CROSS JOIN LATERAL {schema}.strunk_queue_states(ARRAY[q.queue],
        100, false) s;

-- Subscribers after p_after, in "C" order of their names; p_name chooses one. waiting are the
-- events of its type after the cursor, counted to p_cap and then at_least; waiting_since is when
-- the first of them was published. positions is exact, but counts events of all types that the
-- cursor has not been told of yet.
CREATE OR REPLACE FUNCTION {schema}.strunk_subscriber_states(p_name text, p_after text, p_limit integer, p_cap integer)
RETURNS TABLE (name text, entity_type text, start text, registered_at timestamptz, cursor bigint, head bigint,
    earliest bigint, positions bigint, waiting bigint, waiting_precision text, waiting_since timestamptz,
    waiting_for interval, moved_at timestamptz, owner text, heartbeat_at timestamptz, lease_ms integer,
    owner_silent boolean, paused boolean, needs_restart boolean, bootstrapping boolean, deliveries bigint,
    deliveries_precision text, dead bigint, dead_precision text, counted_for interval, blocked_position bigint,
    blocked_attempts integer, blocked_error text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    s     {schema}.strunk_subscribers;
BEGIN
    SELECT f.head INTO head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    SELECT l.floor + 1 INTO earliest FROM {schema}.strunk_feed_floor l;
    FOR s IN SELECT t.* FROM {schema}.strunk_subscribers t
        WHERE (p_name IS NULL OR t.name = p_name) AND t.name > p_after COLLATE "C" ORDER BY t.name LIMIT p_limit
    LOOP
        name := s.name; entity_type := s.entity_type; start := s.start; registered_at := s.registered_at;
        cursor := s.cursor; positions := greatest(head - s.cursor, 0); moved_at := s.moved_at;
        owner := CASE WHEN s.owner IS NOT NULL THEN coalesce(s.host, '') || '/' || coalesce(s.pid, 0) END;
        heartbeat_at := s.heartbeat_at; lease_ms := s.lease_ms;
        owner_silent := s.owner IS NOT NULL AND s.heartbeat_at < v_now - s.lease_ms * interval '1 millisecond';
        paused := s.paused; needs_restart := s.needs_restart; bootstrapping := s.bootstrap <> 'done';
        SELECT count(*), min(x.created_at) INTO waiting, waiting_since FROM (
            SELECT e.created_at FROM unnest(s.entity_type || s.previous_types) AS t(type) CROSS JOIN LATERAL (
                SELECT e.created_at FROM {schema}.strunk_outbox_delivered_events e
                WHERE e.key = t.type AND e.position > s.cursor ORDER BY e.position LIMIT p_cap + 1) e) x;
        waiting_precision := 'exact';
        IF waiting > p_cap THEN
            SELECT c.n, c.precise INTO waiting, waiting_precision
            FROM {schema}.strunk_over_cap(p_cap, 'waiting', s.name) c;
        END IF;
        waiting_for := v_now - waiting_since;
        SELECT count(*) INTO deliveries FROM (SELECT 1 FROM {schema}.strunk_outbox_deliveries d
            WHERE d.subscriber = s.name ORDER BY d.subscriber, d.key, d.entity_id, d.version, d.id LIMIT p_cap + 1) x;
        deliveries_precision := 'exact';
        IF deliveries > p_cap THEN
            SELECT c.n, c.precise INTO deliveries, deliveries_precision
            FROM {schema}.strunk_over_cap(p_cap, 'deliveries', s.name) c;
        END IF;
        SELECT count(*) INTO dead FROM (SELECT 1 FROM {schema}.strunk_outbox_dead d
            WHERE d.subscriber >= s.name AND d.subscriber <= s.name ORDER BY d.subscriber, d.id LIMIT p_cap + 1) x;
        dead_precision := 'exact';
        IF dead > p_cap THEN
            SELECT c.n, c.precise INTO dead, dead_precision
            FROM {schema}.strunk_over_cap(p_cap, 'dead_deliveries', s.name) c;
        END IF;
        counted_for := v_now - {schema}.strunk_counted_at();
        SELECT r.position, r.attempts, r.last_error INTO blocked_position, blocked_attempts, blocked_error
            FROM {schema}.strunk_retries r
        WHERE r.subscriber = s.name AND r.position > s.cursor AND r.last_error IS NOT NULL ORDER BY r.subscriber,
            r.position, r.entity_id LIMIT 1;
        RETURN NEXT;
    END LOOP;
END $$;

CREATE OR REPLACE VIEW {schema}.strunk_subscriber_lag AS
    SELECT s.* FROM {schema}.strunk_subscriber_states(NULL, '', 1000, 100) s;

-- Lease rows after p_after, in id order, and how many tasks each holds (counted to p_cap). p_queue chooses a queue's.
-- silent: the heartbeat is older than its lease; the rescue will give its tasks back.
CREATE OR REPLACE FUNCTION {schema}.strunk_worker_states(p_queue text, p_after bigint, p_limit integer, p_cap integer)
RETURNS TABLE (id bigint, queue text, host text, pid integer, concurrency integer, claimed bigint,
    claimed_precision text, counted_for interval,
    started_at timestamptz, heartbeat_at timestamptz, silent_for interval, lease_ms integer, silent boolean,
        expired boolean, release text, library text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT w.id, w.queue::text, w.host, w.pid, w.concurrency, coalesce(o.n, x.n), coalesce(o.precise, 'exact'),
           v_now - {schema}.strunk_counted_at(), w.started_at, w.heartbeat_at, v_now - w.heartbeat_at, w.lease_ms,
               w.heartbeat_at < v_now - w.lease_ms * interval '1 millisecond', w.expired, w.release, w.library
    FROM (SELECT v.* FROM {schema}.strunk_workers v WHERE v.id > p_after AND (p_queue IS NULL OR v.queue = p_queue)
        ORDER BY v.id LIMIT p_limit) w
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (SELECT 1 FROM {schema}.strunk_outbox_tasks t
            WHERE t.status = 'claimed' AND t.worker_id = w.id ORDER BY t.worker_id, t.claim_no LIMIT p_cap + 1) y) x
    LEFT JOIN LATERAL {schema}.strunk_over_cap(p_cap, 'held', w.id::text) o ON x.n > p_cap
    ORDER BY w.id;
END $$;

CREATE OR REPLACE VIEW {schema}.strunk_worker_stats AS
    SELECT s.* FROM {schema}.strunk_worker_states(NULL, 0, 1000, 100) s;

-- The tasks that run longest: of each worker (of queue p_queue, or null for all; at most 1,000) the oldest that
-- it has claimed and begun, looking at its first 20. running_for counts from the claim, so it is how long the
-- task runs at the most.
CREATE OR REPLACE FUNCTION {schema}.strunk_running_tasks(p_queue text, p_limit integer)
RETURNS TABLE (id bigint, queue text, worker_id bigint, claimed_at timestamptz, running_for interval,
    attempt integer)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT x.id, x.key::text, w.id, x.claimed_at, clock_timestamp() - x.claimed_at, x.attempts + 1
    FROM (SELECT v.* FROM {schema}.strunk_workers v WHERE p_queue IS NULL OR v.queue = p_queue
        ORDER BY v.id LIMIT 1000) w
    LEFT JOIN LATERAL (SELECT max(s.started_to) AS started_to FROM {schema}.strunk_starts s
        WHERE s.worker_id = w.id) s ON true
    CROSS JOIN LATERAL (
        SELECT t.* FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'claimed' AND t.worker_id = w.id
        ORDER BY t.worker_id, t.claim_no LIMIT 20) x
    WHERE NOT w.writes_starts OR ARRAY[x.claim_no, 9 - x.priority, x.seq] <= s.started_to
    ORDER BY x.claimed_at, x.id LIMIT p_limit
$$;

-- Ended rows of one status (dead, cancelled, discarded), without their payloads: of a queue, of a
-- subscriber, or all; after p_from in id order, or with p_newest before it, newest first. A null
-- p_from is the beginning. A range of one key: see strunk_queue_counts. The statement is put
-- together from parts of this function alone; what is given are its parameters.
CREATE OR REPLACE FUNCTION {schema}.strunk_dead_letters(p_queue text, p_subscriber text, p_from bigint,
    p_newest boolean, p_limit integer,
    p_status text)
RETURNS TABLE (id bigint, kind text, key text, entity_id text, subscriber text, "position" bigint,
    attempts smallint, max_attempts smallint,
    created_at timestamptz, finished_at timestamptz, last_error text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET jit = off
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_table  text := CASE p_status WHEN 'dead' THEN 'strunk_outbox_dead' ELSE 'strunk_outbox_cancelled' END;
    v_where  text := CASE p_status WHEN 'dead' THEN '' ELSE 'd.status = $5 AND ' END;
    v_of     text := CASE WHEN p_queue IS NOT NULL THEN 'd.kind = ''task''' WHEN p_subscriber IS NOT NULL
        THEN 'd.subscriber IS NOT NULL' END;
    v_column text := CASE WHEN p_queue IS NOT NULL THEN 'd.key' ELSE 'd.subscriber' END;
    v_value  text := CASE WHEN p_queue IS NOT NULL THEN '$1' ELSE '$2' END;
BEGIN
    RETURN QUERY EXECUTE
        'SELECT d.id, d.kind::text, d.key::text, d.entity_id::text, d.subscriber::text, d.position, d.attempts,
                d.max_attempts, d.created_at, d.finished_at, left(d.last_error, 1000)
         FROM {schema}.' || v_table || ' d WHERE ' || v_where
        || CASE WHEN v_of IS NULL THEN CASE WHEN p_from IS NULL THEN 'true' WHEN p_newest THEN 'd.id < $3'
            ELSE 'd.id > $3' END
                || CASE WHEN p_newest THEN ' ORDER BY d.id DESC LIMIT $4' ELSE ' ORDER BY d.id LIMIT $4' END
            ELSE v_of || CASE WHEN p_from IS NULL THEN format(' AND %1$s >= %2$s AND %1$s <= %2$s', v_column, v_value)
                    WHEN p_newest THEN format(' AND %1$s >= %2$s AND (%1$s, d.id) < (%2$s, $3)', v_column, v_value)
                    ELSE format(' AND %1$s <= %2$s AND (%1$s, d.id) > (%2$s, $3)', v_column, v_value) END
                || format(CASE WHEN p_newest THEN ' ORDER BY %s DESC, d.id DESC LIMIT $4'
                    ELSE ' ORDER BY %s, d.id LIMIT $4' END, v_column) END
    USING p_queue, p_subscriber, p_from, p_limit, p_status;
END $$;

-- Sizes of all tables of this installation, a row for each partition; rows is the planner's estimate,
-- null where the table was never analyzed.
CREATE OR REPLACE VIEW {schema}.strunk_table_sizes AS
    SELECT c.relname::text AS name,
           CASE WHEN c.relname LIKE 'strunk\_outbox\_delivered\_tasks\_%' THEN 'delivered_tasks'
                WHEN c.relname LIKE 'strunk\_outbox\_delivered\_events\_%' THEN 'delivered_events'
                ELSE regexp_replace(c.relname, '^strunk_(outbox_)?', '') END AS part,
           CASE WHEN c.reltuples < 0 THEN NULL WHEN c.relpages = 0 THEN c.reltuples::bigint
                ELSE (c.reltuples::float8 / c.relpages * (pg_catalog.pg_relation_size(c.oid) /
                    current_setting('block_size')::bigint))::bigint END AS rows,
           pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead_rows,
           pg_catalog.pg_table_size(c.oid) AS table_bytes,
           pg_catalog.pg_indexes_size(c.oid) AS index_bytes,
           pg_catalog.pg_total_relation_size(c.oid) AS total_bytes
    FROM pg_catalog.pg_class c
    WHERE c.relkind = 'r' AND c.relname LIKE 'strunk\_%'
        AND c.relnamespace = (SELECT r.relnamespace FROM pg_catalog.pg_class r
            WHERE r.oid = '{schema}.strunk_outbox'::pg_catalog.regclass)
    ORDER BY c.relname;

-- Who holds back the horizon before which PostgreSQL may clean up: sessions, prepared transactions,
-- replication slots; the oldest first. open_for is null where the role may not see it (GRANT
-- pg_read_all_stats).
CREATE OR REPLACE VIEW {schema}.strunk_horizon AS
    SELECT h.holder, h.name, h.pid, h.state, h.xids, pg_catalog.clock_timestamp() - h.since AS open_for
    FROM (
        SELECT 'session' AS holder, a.application_name AS name, a.pid, a.state, a.xact_start AS since,
               greatest(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid)) AS xids
        FROM pg_catalog.pg_stat_activity a
        WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_catalog.pg_backend_pid()
            AND coalesce(a.backend_type, '') <> 'autovacuum worker'
            AND (a.datname = current_database() OR a.datname IS NULL)
        UNION ALL
        SELECT 'prepared transaction' AS holder, p.gid, NULL::integer AS pid, NULL::text AS state, p.prepared,
               pg_catalog.age(p.transaction) AS age
            FROM pg_catalog.pg_prepared_xacts p
        WHERE p.database = current_database()
        UNION ALL
        SELECT 'replication slot' AS holder, s.slot_name::text AS slot_name, s.active_pid, NULL::text AS state,
               NULL::timestamptz AS since, pg_catalog.age(s.xmin) AS age
            FROM pg_catalog.pg_replication_slots s
        WHERE s.xmin IS NOT NULL) h
    ORDER BY h.xids DESC;

-- What the loops have before them. relay_since is when the first event that waits for the relay was
-- published, promoter_for how long the first scheduled task is overdue, scheduler_for the first
-- schedule, rescue_for how far beyond its lease the most silent worker is; null where nothing is.
-- missing_days are days from today on, until tomorrow, whose partition of delivered tasks is
-- missing; feed_ahead says that a partition of the feed is ready that nothing has reached. The relay's
-- share of the index is where it looks itself: above the highest seq seen, and in the gaps.
CREATE OR REPLACE FUNCTION {schema}.strunk_backlog()
RETURNS TABLE (now_at timestamptz, relay_since timestamptz, promoter_for interval, scheduler_for interval,
    rescue_for interval,
    missing_days text[], feed_ahead boolean, notify_usage double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_feed {schema}.strunk_feed;
BEGIN
    now_at := clock_timestamp();
    SELECT f.* INTO v_feed FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    SELECT min(x.created_at) INTO relay_since FROM (
        (SELECT e.created_at FROM {schema}.strunk_outbox_events e WHERE e.seq > v_feed.high ORDER BY e.seq LIMIT 1)
        UNION ALL
        (SELECT y.created_at FROM unnest(v_feed.missing) AS r(r) CROSS JOIN LATERAL (
            SELECT e.created_at FROM {schema}.strunk_outbox_events e
            WHERE e.seq >= lower(r.r) AND e.seq < upper(r.r) ORDER BY e.seq LIMIT 1) y LIMIT 1)) x;
    SELECT now_at - t.due_at INTO promoter_for FROM {schema}.strunk_outbox_tasks t
    WHERE t.status = 'scheduled' AND t.due_at <= now_at ORDER BY t.due_at LIMIT 1;
    SELECT now_at - s.next_due INTO scheduler_for FROM {schema}.strunk_schedules s
    WHERE s.enabled AND s.next_due <= now_at ORDER BY s.next_due LIMIT 1;
    SELECT max(now_at - w.heartbeat_at - w.lease_ms * interval '1 millisecond') INTO rescue_for
        FROM {schema}.strunk_workers w
    WHERE w.heartbeat_at < now_at - w.lease_ms * interval '1 millisecond';
    SELECT coalesce(array_agg(to_char(d, 'YYYY-MM-DD') ORDER BY d), '{}') INTO missing_days
    FROM (SELECT (now_at AT TIME ZONE 'UTC')::date + i AS d FROM generate_series(0, 1) i) x
    WHERE NOT {schema}.strunk_is_partition('strunk_outbox_delivered_tasks_' || to_char(x.d, 'YYYYMMDD'));
    SELECT coalesce(max(p.first) > v_feed.head AND bool_and({schema}.strunk_is_partition(p.name)), false)
    INTO feed_ahead FROM {schema}.strunk_feed_partitions p WHERE p.past > v_feed.head + 1;
    notify_usage := pg_notification_queue_usage();
    RETURN NEXT;
END $$;

-- Everything of the whole installation. Counts end at p_cap, as those of strunk_queue_states do.
-- events_kept is exact: positions have no gaps.
CREATE OR REPLACE FUNCTION {schema}.strunk_overall(p_cap integer DEFAULT 1000)
RETURNS TABLE (pending bigint, pending_precision text, scheduled bigint, scheduled_precision text, claimed bigint,
    claimed_precision text,
    dead bigint, dead_precision text, cancelled bigint, cancelled_precision text, discarded bigint,
    discarded_precision text, delivered bigint, delivered_precision text, events_waiting bigint,
    events_waiting_precision text, counted_for interval, events_kept bigint,
    events_head bigint, deliveries bigint, deliveries_precision text, workers bigint, subscribers bigint,
        schedules bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_feed {schema}.strunk_feed;
    v_n    bigint;
BEGIN
    SELECT count(*) INTO pending FROM (
        (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending' AND t.admitted ORDER BY t.key,
            t.priority, t.seq LIMIT p_cap + 1)
        UNION ALL
        (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'pending' AND NOT t.admitted ORDER BY t.key,
            t.seq LIMIT p_cap + 1)
        LIMIT p_cap + 1) x;
    pending_precision := 'exact';
    IF pending > p_cap THEN
        SELECT c.n, c.precise INTO pending, pending_precision
        FROM {schema}.strunk_over_cap(p_cap, 'pending', '') c;
    END IF;
    SELECT count(*) INTO scheduled FROM (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'scheduled'
        ORDER BY t.due_at LIMIT p_cap + 1) x;
    scheduled_precision := 'exact';
    IF scheduled > p_cap THEN
        SELECT c.n, c.precise INTO scheduled, scheduled_precision
        FROM {schema}.strunk_over_cap(p_cap, 'scheduled', '') c;
    END IF;
    SELECT count(*) INTO claimed FROM (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'claimed'
        ORDER BY t.worker_id, t.claim_no LIMIT p_cap + 1) x;
    claimed_precision := 'exact';
    IF claimed > p_cap THEN
        SELECT c.n, c.precise INTO claimed, claimed_precision
        FROM {schema}.strunk_over_cap(p_cap, 'claimed', '') c;
    END IF;
    SELECT count(*) INTO dead FROM (SELECT 1 FROM {schema}.strunk_outbox_dead d ORDER BY d.id LIMIT p_cap + 1) x;
    dead_precision := 'exact';
    IF dead > p_cap THEN
        SELECT c.n, c.precise INTO dead, dead_precision
        FROM {schema}.strunk_over_cap(p_cap, 'dead_of_any_kind', '') c;
    END IF;
    SELECT c.n, c.precise INTO cancelled, cancelled_precision
    FROM {schema}.strunk_count_cancelled(NULL, 'cancelled', p_cap) c;
    SELECT c.n, c.precise INTO discarded, discarded_precision
    FROM {schema}.strunk_count_cancelled(NULL, 'discarded', p_cap) c;
    SELECT c.n, c.precise INTO delivered, delivered_precision
    FROM {schema}.strunk_count_delivered(NULL, p_cap) c;
    SELECT f.* INTO v_feed FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    SELECT count(*) INTO events_waiting FROM (SELECT 1 FROM {schema}.strunk_outbox_events e
        WHERE e.seq > v_feed.high ORDER BY e.seq LIMIT p_cap + 1) x;
    SELECT count(*) INTO v_n FROM (SELECT 1 FROM unnest(v_feed.missing) AS r(r) CROSS JOIN LATERAL (
        SELECT 1 FROM {schema}.strunk_outbox_events e WHERE e.seq >= lower(r.r) AND e.seq < upper(r.r)
            ORDER BY e.seq LIMIT p_cap) y LIMIT p_cap) x;
    events_waiting := events_waiting + v_n;
    events_waiting_precision := 'exact';
    IF events_waiting > p_cap THEN
        SELECT c.n, c.precise INTO events_waiting, events_waiting_precision
        FROM {schema}.strunk_over_cap(p_cap, 'events', '') c;
    END IF;
    SELECT coalesce(v_feed.head, 0) - l.floor INTO events_kept FROM {schema}.strunk_feed_floor l;
    events_head := coalesce(v_feed.head, 0);
    SELECT count(*) INTO deliveries FROM (SELECT 1 FROM {schema}.strunk_outbox_deliveries d ORDER BY d.id
        LIMIT p_cap + 1) x;
    deliveries_precision := 'exact';
    IF deliveries > p_cap THEN
        SELECT c.n, c.precise INTO deliveries, deliveries_precision
        FROM {schema}.strunk_over_cap(p_cap, 'deliveries', '') c;
    END IF;
    counted_for := clock_timestamp() - {schema}.strunk_counted_at();
    SELECT count(*) INTO workers FROM {schema}.strunk_workers;
    SELECT count(*) INTO subscribers FROM {schema}.strunk_subscribers;
    SELECT count(*) INTO schedules FROM {schema}.strunk_schedules;
    RETURN NEXT;
END $$;
