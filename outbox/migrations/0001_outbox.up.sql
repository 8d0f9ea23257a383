-- The outbox table with its parts, the lease rows of workers, and the task functions.
--
-- {schema} is the quoted PostgreSQL schema and {channel} the quoted NOTIFY channel of this installation.
-- Columns are ordered wide to narrow. There is no foreign key anywhere: a lease row is locked by the claim itself
-- (strunk_claim), and a key check for each of a thousand rows would cost more than the claim.

-- CACHE 1: seq and id must rise with the order in which transactions draw them; a session cache would hand out old numbers late.
CREATE SEQUENCE {schema}.strunk_outbox_id_seq AS bigint CACHE 1;

-- What every reader of the SQL sees. seq has no default on purpose: a number drawn before its transaction has an id
-- could appear under a worker's safe mark, so rows come through strunk_enqueue and strunk_publish only.
CREATE TABLE {schema}.strunk_outbox (
    id             bigint      NOT NULL,
    seq            bigint      NOT NULL,
    position       bigint,
    version        bigint,
    worker_id      bigint,
    claim_no       bigint,
    place          bigint,
    turn           bigint,
    created_at     timestamptz NOT NULL,
    due_at         timestamptz,
    claimed_at     timestamptz,
    finished_at    timestamptz,
    timeout_ms     integer,
    attempts       smallint    NOT NULL DEFAULT 0,
    max_attempts   smallint    NOT NULL DEFAULT 12,
    priority       smallint    NOT NULL DEFAULT 0,
    standing       smallint,
    dedup_waiting  boolean,
    status         text COLLATE "C" NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    entity_id      text COLLATE "C",
    dedup_key      text COLLATE "C",
    limit_key      text COLLATE "C",
    subscriber     text COLLATE "C",
    schema_version text,
    last_error     text,
    payload        json,
    metadata       json,
    errors         jsonb
) PARTITION BY LIST (status);

-- Small and hot. One leaf for each kind, so that a burst of events waiting for the relay does not bloat the tasks' pages.
-- Half of each page is left free for the claimed versions: an update within its page writes 15 % less WAL a task (no lock
-- record of its own, and only what changed of the row).
CREATE TABLE {schema}.strunk_outbox_active
    PARTITION OF {schema}.strunk_outbox FOR VALUES IN ('scheduled', 'pending', 'claimed')
    PARTITION BY LIST (kind);

CREATE TABLE {schema}.strunk_outbox_tasks
    PARTITION OF {schema}.strunk_outbox_active FOR VALUES IN ('task')
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
          autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.2,
          autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX strunk_outbox_tasks_id ON {schema}.strunk_outbox_tasks (id);
-- The claim index, and the only one that holds seq: ORDER BY seq can be answered by no other.
CREATE INDEX strunk_outbox_tasks_claim ON {schema}.strunk_outbox_tasks (key, priority, seq) WHERE status = 'pending';
-- A task holds its dedup key until it leaves this leaf, or, with dedup_waiting, until its first claim, which sets worker_id
-- for good. Every ON CONFLICT and every search for a holder repeats the predicate.
CREATE UNIQUE INDEX strunk_outbox_tasks_dedup ON {schema}.strunk_outbox_tasks (key, dedup_key)
    WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL);
CREATE INDEX strunk_outbox_tasks_due ON {schema}.strunk_outbox_tasks (due_at) WHERE status = 'scheduled';
-- For the rescue and the heartbeat's comparison of claim numbers.
CREATE INDEX strunk_outbox_tasks_claimed ON {schema}.strunk_outbox_tasks (worker_id, claim_no) WHERE status = 'claimed';

-- How a task stands with the limits of its queue (0007), where it has a limit_key:
--   null  not taken in yet, or no limit holds for its key
--   0     in its key's line, at place: scheduled, and due when it is called
--   1     has one of its key's shares, which another attempt must ask for again
--   2     has its key's turn, and keeps it until it is delivered or dead
--   3     has its key's turn, and keeps it as a dead letter
-- turn and place are drawn under the queue's lock (strunk_lock_line), so that they rise with the order of commits. Two of these
-- hold turn or place in an expression, so that each search finds one index that can serve it.
CREATE INDEX strunk_outbox_tasks_arrived ON {schema}.strunk_outbox_tasks (key, limit_key, (seq + 0))
    WHERE limit_key IS NOT NULL AND standing IS NULL AND status = 'pending';
CREATE INDEX strunk_outbox_tasks_turn ON {schema}.strunk_outbox_tasks (key, limit_key, turn) WHERE standing > 0;
CREATE INDEX strunk_outbox_tasks_turns ON {schema}.strunk_outbox_tasks (key, (turn + 0)) WHERE standing > 0;
CREATE INDEX strunk_outbox_tasks_line ON {schema}.strunk_outbox_tasks (key, limit_key, place) WHERE standing = 0;
CREATE INDEX strunk_outbox_tasks_lines ON {schema}.strunk_outbox_tasks (key, (place + 0)) WHERE standing = 0;

-- Append-only; retention detaches and drops its leaves, so it has no index but the one for looking a row up.
CREATE TABLE {schema}.strunk_outbox_delivered
    PARTITION OF {schema}.strunk_outbox FOR VALUES IN ('delivered')
    PARTITION BY LIST (kind);

CREATE TABLE {schema}.strunk_outbox_delivered_tasks
    PARTITION OF {schema}.strunk_outbox_delivered (finished_at NOT NULL) FOR VALUES IN ('task')
    PARTITION BY RANGE (finished_at);

-- Dead letters. Their dedup key no longer binds: no unique index on it here.
CREATE TABLE {schema}.strunk_outbox_dead
    PARTITION OF {schema}.strunk_outbox FOR VALUES IN ('dead');

CREATE UNIQUE INDEX strunk_outbox_dead_id ON {schema}.strunk_outbox_dead (id);
CREATE INDEX strunk_outbox_dead_key ON {schema}.strunk_outbox_dead (key, id);
CREATE INDEX strunk_outbox_dead_finished ON {schema}.strunk_outbox_dead (finished_at);
CREATE INDEX strunk_outbox_dead_turn ON {schema}.strunk_outbox_dead (key, limit_key) WHERE standing = 3;

-- One lease row for each worker process and queue. condemned is set before any of its tasks is given back and is never
-- unset; claim_floor voids claims whose answer was lost. Room in the page keeps heartbeats HOT.
CREATE TABLE {schema}.strunk_workers (
    id          bigint      PRIMARY KEY,
    beat        bigint      NOT NULL DEFAULT 0,
    claim_floor bigint      NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_ms    integer     NOT NULL,
    pid         integer     NOT NULL,
    concurrency integer     NOT NULL,
    share       integer     NOT NULL DEFAULT 0,
    condemned   boolean     NOT NULL DEFAULT false,
    queue       text COLLATE "C" NOT NULL,
    host        text        NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- The limits of queues (0007); a queue without a row has none. Rates are counts in so many microseconds.
CREATE TABLE {schema}.strunk_limits (
    version        bigint  NOT NULL,
    rate_us        bigint,
    key_rate_us    bigint,
    running        integer,
    key_running    integer,
    rate           integer,
    rate_burst     integer,
    key_rate       integer,
    key_rate_burst integer,
    fifo           boolean NOT NULL DEFAULT false,
    hold_dead      boolean NOT NULL DEFAULT false,
    queue          text COLLATE "C" PRIMARY KEY
);

-- Makes the delivered tasks' partitions from today to p_ahead days on. Safe beside itself: an advisory lock.
-- CREATE and ATTACH rather than PARTITION OF: ATTACH blocks no insert.
CREATE FUNCTION {schema}.strunk_ensure_task_partitions(p_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    v_made  integer := 0;
    v_name  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('strunk_partitions:{schema}', 0));
    FOR i IN 0 .. p_ahead LOOP
        v_name := 'strunk_outbox_delivered_tasks_' || to_char(v_today + i, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('{schema}.' || quote_ident(v_name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.strunk_outbox_delivered_tasks INCLUDING DEFAULTS)', v_name);
        EXECUTE format('CREATE UNIQUE INDEX %I ON {schema}.%I (id)', v_name || '_id', v_name);
        EXECUTE format('ALTER TABLE {schema}.strunk_outbox_delivered_tasks ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)',
            v_name, to_char(v_today + i, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(v_today + i + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;

-- Enqueues many tasks in one statement. Arrays of length one give the value for all; a null array gives the default.
-- Every list is in item order, and so are the ids. Locks: dedup keys in "C" order of (queue, key), so that two batches
-- cannot deadlock on each other; a deadlock with something else (another order in one transaction), or the caller's own
-- lock_timeout, undoes this call alone (one subtransaction around all its rounds) and comes back as one row with ord 0.
-- pg_current_xact_id() first: whoever draws a seq has an id already, which is what makes a worker's safe mark safe.
CREATE FUNCTION {schema}.strunk_enqueue_many(
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[], p_notify boolean, p_limit_keys text[] DEFAULT NULL)
RETURNS TABLE (ord integer, id bigint, duplicate boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_n    integer := cardinality(p_payloads);
    -- What an array of length one gives to all; in a longer one a null element is that item's default.
    v_due      timestamptz := CASE WHEN cardinality(p_dues) = 1 THEN p_dues[1] END;
    v_delay    bigint := CASE WHEN cardinality(p_delays_ms) = 1 THEN p_delays_ms[1] END;
    v_timeout  integer := CASE WHEN cardinality(p_timeouts_ms) = 1 THEN p_timeouts_ms[1] END;
    v_metadata text := CASE WHEN cardinality(p_metadata) = 1 THEN p_metadata[1] END;
    v_limit    text := CASE WHEN cardinality(p_limit_keys) = 1 THEN p_limit_keys[1] END;
    v_ids  bigint[];
    v_rest integer[];
    v_done bigint[];
BEGIN
    PERFORM pg_current_xact_id();
    IF p_dedups IS NULL THEN
        RETURN QUERY
        WITH ins AS (
            INSERT INTO {schema}.strunk_outbox_tasks
                (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, status, kind, key, limit_key, payload, metadata)
            SELECT i.n, i.n, v_now, i.due, i.timeout_ms, i.max_attempts, i.priority,
                   CASE WHEN i.due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', i.queue, i.limit_key, i.payload, i.metadata
            FROM (SELECT nextval('{schema}.strunk_outbox_id_seq') AS n,
                         coalesce(u.due, v_due, v_now + coalesce(u.delay, v_delay) * interval '1 millisecond') AS due,
                         coalesce(u.timeout_ms, v_timeout) AS timeout_ms,
                         coalesce(u.max_attempts, p_max_attempts[1], 12::smallint) AS max_attempts,
                         coalesce(u.priority, p_priorities[1], 0::smallint) AS priority,
                         coalesce(u.queue, p_queues[1]) AS queue, coalesce(u.limit_key, v_limit) AS limit_key,
                         u.payload::json AS payload, coalesce(u.metadata, v_metadata)::json AS metadata
                  FROM unnest(p_payloads, p_queues, p_priorities, p_max_attempts, p_delays_ms, p_dues, p_timeouts_ms, p_metadata, p_limit_keys)
                       AS u(payload, queue, priority, max_attempts, delay, due, timeout_ms, metadata, limit_key)
                  OFFSET 0) i
            RETURNING strunk_outbox_tasks.id)
        SELECT (row_number() OVER ())::integer, ins.id, false FROM ins;
    ELSE
        SELECT array_agg(nextval('{schema}.strunk_outbox_id_seq')), array_agg(g) INTO v_ids, v_rest FROM generate_series(1, v_n) g;
        -- A round inserts what conflicts with nothing, then names the holder of what did. A holder may be gone again by
        -- then (done, or dead): such an item goes round once more.
        BEGIN
            FOR round IN 1 .. 100 LOOP
                WITH ins AS (
                    INSERT INTO {schema}.strunk_outbox_tasks
                        (id, seq, created_at, due_at, timeout_ms, max_attempts, priority, status, kind, key, dedup_key, limit_key, payload, metadata)
                    SELECT i.n, i.n, v_now, i.due, i.timeout_ms, i.max_attempts, i.priority,
                           CASE WHEN i.due > v_now THEN 'scheduled' ELSE 'pending' END, 'task', i.queue, i.dedup, i.limit_key, i.payload, i.metadata
                    FROM (SELECT v_ids[u.o] AS n, u.o, u.dedup COLLATE "C" AS dedup,
                                 coalesce(u.due, v_due, v_now + coalesce(u.delay, v_delay) * interval '1 millisecond') AS due,
                                 coalesce(u.timeout_ms, v_timeout) AS timeout_ms,
                                 coalesce(u.max_attempts, p_max_attempts[1], 12::smallint) AS max_attempts,
                                 coalesce(u.priority, p_priorities[1], 0::smallint) AS priority,
                                 coalesce(u.queue, p_queues[1]) COLLATE "C" AS queue, coalesce(u.limit_key, v_limit) AS limit_key,
                                 u.payload::json AS payload, coalesce(u.metadata, v_metadata)::json AS metadata
                          FROM unnest(p_payloads, p_queues, p_priorities, p_max_attempts, p_delays_ms, p_dues, p_timeouts_ms, p_metadata, p_dedups, p_limit_keys)
                               WITH ORDINALITY AS u(payload, queue, priority, max_attempts, delay, due, timeout_ms, metadata, dedup, limit_key, o)) i
                    WHERE i.o = ANY (v_rest)
                    ORDER BY i.queue, i.dedup, i.o
                    ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL) DO NOTHING
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
CREATE FUNCTION {schema}.strunk_enqueue(
    queue text, payload json DEFAULT '{}', priority integer DEFAULT 0, delay interval DEFAULT NULL,
    due_at timestamptz DEFAULT NULL, dedup_key text DEFAULT NULL, max_attempts integer DEFAULT 12,
    timeout interval DEFAULT NULL, metadata json DEFAULT NULL, limit_key text DEFAULT NULL)
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
        RAISE EXCEPTION 'strunk_enqueue: payload: must not be NULL (give ''null''::json for a JSON null)' USING ERRCODE = '22023';
    ELSIF NOT isfinite(due_at) THEN
        RAISE EXCEPTION 'strunk_enqueue: due_at: % is no time', due_at USING ERRCODE = '22023';
    ELSIF octet_length(dedup_key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'strunk_enqueue: dedup_key: must have 1 to 500 bytes' USING ERRCODE = '22023';
    ELSIF octet_length(limit_key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'strunk_enqueue: limit_key: must have 1 to 500 bytes' USING ERRCODE = '22023';
    ELSIF octet_length(payload::text) > 1048576 THEN
        RAISE EXCEPTION 'strunk_enqueue: payload: more than 1 MiB; keep large data in a table of its own and enqueue its key' USING ERRCODE = '22023';
    END IF;
    SELECT e.ord, e.id INTO v_ord, v_id FROM {schema}.strunk_enqueue_many(
        ARRAY[queue], ARRAY[payload::text], ARRAY[priority]::smallint[], ARRAY[max_attempts]::smallint[],
        CASE WHEN delay IS NOT NULL THEN ARRAY[ceil(extract(epoch FROM delay) * 1000)]::bigint[] END,
        CASE WHEN due_at IS NOT NULL THEN ARRAY[due_at] END,
        CASE WHEN dedup_key IS NOT NULL THEN ARRAY[dedup_key] END,
        CASE WHEN timeout IS NOT NULL THEN ARRAY[ceil(extract(epoch FROM timeout) * 1000)]::integer[] END,
        CASE WHEN metadata IS NOT NULL THEN ARRAY[metadata::text] END, true,
        CASE WHEN limit_key IS NOT NULL THEN ARRAY[limit_key] END) e;
    IF v_ord = 0 THEN
        RAISE EXCEPTION 'strunk_enqueue: dedup_key: % is being enqueued by transactions that wait for each other; try again', dedup_key USING ERRCODE = '40P01';
    END IF;
    RETURN v_id;
END $$;

-- Claims up to p_limit pending tasks of a queue, highest priority first, then first in first out.
-- p_fast and p_safe hold a mark for each priority from 9 down to 0: the index is entered behind the mark, past the
-- entries of tasks already done that an open snapshot keeps alive. What the fast marks do not fill is sought once more
-- from the safe marks; a null p_safe leaves that out.
-- p_limits is the version of the queue's limits that the worker obeys, 0 for none: whoever does not know of a limit claims
-- nothing (STR02). It obeys the limit of the queue by its share, and those of keys and rates by strunk_claim_line instead.
-- Locks: its lease row FOR KEY SHARE (strunk_condemn and strunk_void_claims take it FOR UPDATE, so either they see this
-- claim's rows or this claim sees them and does nothing), then rows with SKIP LOCKED: claims run beside each other.
-- claimed_at is read row by row, after the row was found and locked: read before, it could lie before due_at.
-- The planner is pinned: with stale statistics it would sort the whole backlog, with fresh ones walk another index.
CREATE FUNCTION {schema}.strunk_claim(
    p_worker bigint, p_claim bigint, p_queue text, p_limit integer, p_fast bigint[], p_safe bigint[], p_limits bigint DEFAULT 0)
RETURNS TABLE (id bigint, seq bigint, created_at timestamptz, due_at timestamptz, timeout_ms integer, attempts smallint,
    max_attempts smallint, priority smallint, dedup_key text, payload json, metadata json, at tid, limit_key text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_marks bigint[] := p_fast;
    v_limit integer := p_limit;
    v_n     integer;
BEGIN
    PERFORM 1 FROM {schema}.strunk_workers w
    WHERE w.id = p_worker AND NOT w.condemned AND w.claim_floor < p_claim FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_claim: worker % has no lease for claim %', p_worker, p_claim USING ERRCODE = 'STR01';
    END IF;
    IF coalesce((SELECT l.version FROM {schema}.strunk_limits l WHERE l.queue = p_queue), 0) <> p_limits THEN
        RAISE EXCEPTION 'strunk_claim: queue %: its limits are not those of version %', p_queue, p_limits USING ERRCODE = 'STR02';
    END IF;
    LOOP
        RETURN QUERY
        WITH c AS MATERIALIZED (
            SELECT x.tid FROM unnest(v_marks) WITH ORDINALITY AS m(mark, o)
            CROSS JOIN LATERAL (
                SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
                WHERE t.status = 'pending' AND t.key = p_queue AND t.priority = (10 - m.o)::smallint AND t.seq > m.mark
                ORDER BY t.seq LIMIT v_limit FOR UPDATE SKIP LOCKED) x
            LIMIT v_limit)
        UPDATE {schema}.strunk_outbox_tasks t
        SET status = 'claimed', worker_id = p_worker, claim_no = p_claim, claimed_at = clock_timestamp(), attempts = t.attempts + 1
        FROM c WHERE t.ctid = c.tid
        RETURNING t.id, t.seq, t.created_at, t.due_at, t.timeout_ms, t.attempts, t.max_attempts, t.priority,
                  t.dedup_key, t.payload, t.metadata, t.ctid, t.limit_key;
        GET DIAGNOSTICS v_n = ROW_COUNT;
        EXIT WHEN v_n >= v_limit OR p_safe IS NULL OR v_marks = p_safe;
        v_limit := v_limit - v_n;
        v_marks := p_safe;
    END LOOP;
END $$;

-- Whether a queue has a pending task behind the marks (as in strunk_claim). Reads only: polling an empty queue spends no
-- transaction id and writes nothing.
CREATE FUNCTION {schema}.strunk_has_pending(p_queue text, p_marks bigint[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN EXISTS (
        SELECT 1 FROM unnest(p_marks) WITH ORDINALITY AS m(mark, o)
        CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.strunk_outbox_tasks t
            WHERE t.status = 'pending' AND t.key = p_queue AND t.priority = (10 - m.o)::smallint AND t.seq > m.mark
            ORDER BY t.seq LIMIT 1) x);
END $$;

-- Moves safe marks forward: from p_from towards p_to for each priority from 9 down to 0, stopping below the first task
-- that is still pending (a lock that was skipped and rolled back). The caller has made sure that no transaction is left
-- that could still commit a task at or below p_to. Reads only.
CREATE FUNCTION {schema}.strunk_advance_marks(p_queue text, p_from bigint[], p_to bigint[]) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_marks bigint[] := p_to;
    v_seq   bigint;
BEGIN
    FOR i IN 1 .. cardinality(p_to) LOOP
        CONTINUE WHEN p_to[i] <= p_from[i];
        SELECT t.seq INTO v_seq FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'pending' AND t.key = p_queue AND t.priority = (10 - i)::smallint AND t.seq > p_from[i] AND t.seq <= p_to[i]
        ORDER BY t.seq LIMIT 1;
        IF FOUND THEN
            v_marks[i] := v_seq - 1;
        END IF;
    END LOOP;
    RETURN v_marks;
END $$;

-- Completes claimed tasks: moves them to delivered, or deletes them where p_keep is false. Returns the ids it moved; an
-- id that is missing was not claimed under this token any more. p_ids must be in ascending order: rows are locked in it.
--
-- The plan leaves no choice, whatever the statistics, and so do those of strunk_retry and strunk_bury. LATERAL with OFFSET 0
-- puts the ids outside and a look-up inside, for which no index but that of id can serve. The row is then taken by its ctid,
-- for which no index can. A plain join was made on an empty table's statistics now and then, and walked all claimed
-- rows for each id: 260 µs a task in place of 15. A row that moved in between is missed: the caller asks once more.
CREATE FUNCTION {schema}.strunk_complete(p_worker bigint, p_ids bigint[], p_claims bigint[], p_keep boolean) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF NOT p_keep THEN
        RETURN QUERY
        WITH l AS MATERIALIZED (
            SELECT x.tid, u.claim FROM unnest(p_ids, p_claims) AS u(id, claim)
            CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = u.id OFFSET 0) x)
        DELETE FROM {schema}.strunk_outbox_tasks t USING l
        WHERE t.ctid = l.tid AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = l.claim
        RETURNING t.id;
        RETURN;
    END IF;
    RETURN QUERY
    WITH l AS MATERIALIZED (
        SELECT x.tid, u.claim FROM unnest(p_ids, p_claims) AS u(id, claim)
        CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = u.id OFFSET 0) x),
    d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t USING l
        WHERE t.ctid = l.tid AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = l.claim
        RETURNING t.*)
    INSERT INTO {schema}.strunk_outbox_delivered_tasks AS r
        (id, seq, worker_id, claim_no, created_at, due_at, claimed_at, finished_at, timeout_ms, attempts, max_attempts,
         priority, status, kind, key, dedup_key, limit_key, last_error, payload, metadata, errors)
    SELECT d.id, d.seq, d.worker_id, d.claim_no, d.created_at, d.due_at, d.claimed_at, v_now, d.timeout_ms, d.attempts, d.max_attempts,
           d.priority, 'delivered', d.kind, d.key, d.dedup_key, d.limit_key, d.last_error, d.payload, d.metadata, d.errors
    FROM d
    RETURNING r.id;
END $$;

-- strunk_complete with the places that strunk_claim told: no index is searched. A row that is no longer at its place is
-- missed, as if its token were another: the caller asks strunk_complete for those.
CREATE FUNCTION {schema}.strunk_complete_at(p_worker bigint, p_ids bigint[], p_claims bigint[], p_at tid[], p_keep boolean) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF NOT p_keep THEN
        RETURN QUERY
        DELETE FROM {schema}.strunk_outbox_tasks t USING unnest(p_ids, p_claims, p_at) AS u(id, claim, at)
        WHERE t.ctid = u.at AND t.id + 0 = u.id AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = u.claim
        RETURNING t.id;
        RETURN;
    END IF;
    RETURN QUERY
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t USING unnest(p_ids, p_claims, p_at) AS u(id, claim, at)
        WHERE t.ctid = u.at AND t.id + 0 = u.id AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = u.claim
        RETURNING t.*)
    INSERT INTO {schema}.strunk_outbox_delivered_tasks AS r
        (id, seq, worker_id, claim_no, created_at, due_at, claimed_at, finished_at, timeout_ms, attempts, max_attempts,
         priority, status, kind, key, dedup_key, limit_key, last_error, payload, metadata, errors)
    SELECT d.id, d.seq, d.worker_id, d.claim_no, d.created_at, d.due_at, d.claimed_at, v_now, d.timeout_ms, d.attempts, d.max_attempts,
           d.priority, 'delivered', d.kind, d.key, d.dedup_key, d.limit_key, d.last_error, d.payload, d.metadata, d.errors
    FROM d
    RETURNING r.id;
END $$;

-- The history of a task's attempts with one more entry, at most the last twenty.
CREATE FUNCTION {schema}.strunk_add_error(p_errors jsonb, p_attempt integer, p_at timestamptz, p_error text, p_stack text, p_by text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_error IS NULL THEN p_errors
        ELSE CASE WHEN jsonb_array_length(p_errors) >= 20 THEN p_errors - 0 ELSE coalesce(p_errors, '[]'::jsonb) END
             || jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
                    'attempt', p_attempt, 'at', p_at, 'error', p_error, 'stack', nullif(p_stack, ''), 'worker', p_by)))
        END
$$;

-- Gives claimed tasks back for another attempt: scheduled after their delay, or pending where it is 0. A null error is no
-- failure (a shutdown, a snooze), and p_refunds says that the attempt is not spent. A share of its key's is given up, a turn
-- is kept. Fenced and ordered as strunk_complete.
CREATE FUNCTION {schema}.strunk_retry(
    p_worker bigint, p_ids bigint[], p_claims bigint[], p_delays_ms bigint[], p_refunds boolean[], p_errors text[], p_stacks text[], p_by text)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM pg_current_xact_id();
    RETURN QUERY
    WITH u AS MATERIALIZED (
        SELECT x.tid, v.* FROM unnest(p_ids, p_claims, p_delays_ms, p_refunds, p_errors, p_stacks)
            AS v(id, claim, delay, refund, error, stack)
        CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = v.id OFFSET 0) x)
    UPDATE {schema}.strunk_outbox_tasks t
    SET status = CASE WHEN u.delay > 0 THEN 'scheduled' ELSE 'pending' END,
        due_at = v_now + u.delay * interval '1 millisecond',
        seq = nextval('{schema}.strunk_outbox_id_seq'),
        standing = CASE WHEN t.standing > 1 THEN t.standing END,
        turn = CASE WHEN t.standing > 1 THEN t.turn END,
        place = CASE WHEN t.standing > 1 THEN t.place END,
        attempts = t.attempts - u.refund::integer,
        last_error = coalesce(u.error, t.last_error),
        errors = {schema}.strunk_add_error(t.errors, t.attempts, v_now, u.error, u.stack, p_by)
    FROM u
    WHERE t.ctid = u.tid AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = u.claim
    RETURNING t.id;
END $$;

-- Moves claimed tasks to the dead letters with their last error. Fenced and ordered as strunk_complete. One that keeps its key's
-- turn as a dead letter gives it up where it was cancelled.
CREATE FUNCTION {schema}.strunk_bury(
    p_worker bigint, p_ids bigint[], p_claims bigint[], p_errors text[], p_stacks text[], p_by text)
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH u AS MATERIALIZED (
        SELECT x.tid, v.* FROM unnest(p_ids, p_claims, p_errors, p_stacks) AS v(id, claim, error, stack)
        CROSS JOIN LATERAL (SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t WHERE t.id = v.id OFFSET 0) x),
    d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t USING u
        WHERE t.ctid = u.tid AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker AND t.claim_no + 0 = u.claim
        RETURNING t.*, u.error, u.stack)
    INSERT INTO {schema}.strunk_outbox_dead AS r
        (id, seq, worker_id, claim_no, created_at, due_at, claimed_at, finished_at, timeout_ms, attempts, max_attempts,
         priority, standing, status, kind, key, dedup_key, limit_key, last_error, payload, metadata, errors)
    SELECT d.id, d.seq, d.worker_id, d.claim_no, d.created_at, d.due_at, d.claimed_at, v_now, d.timeout_ms, d.attempts, d.max_attempts,
           d.priority, CASE WHEN d.standing = 3 AND NOT EXISTS (
               SELECT 1 FROM {schema}.strunk_cancels c WHERE c.queue = d.key AND c.task_id = d.id) THEN 3 END,
           'dead', d.kind, d.key, d.dedup_key, d.limit_key, coalesce(d.error, d.last_error), d.payload, d.metadata,
           {schema}.strunk_add_error(d.errors, d.attempts, v_now, d.error, d.stack, p_by)
    FROM d
    RETURNING r.id;
END $$;

-- Which of these tokens ended as delivered or dead: asked after the answer to a commit was lost.
CREATE FUNCTION {schema}.strunk_ended(p_worker bigint, p_ids bigint[], p_claims bigint[]) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.id FROM unnest(p_ids, p_claims) AS u(id, claim)
    JOIN {schema}.strunk_outbox_delivered_tasks d ON d.id = u.id AND d.worker_id = p_worker AND d.claim_no = u.claim
    UNION ALL
    SELECT d.id FROM unnest(p_ids, p_claims) AS u(id, claim)
    JOIN {schema}.strunk_outbox_dead d ON d.id = u.id AND d.worker_id = p_worker AND d.claim_no = u.claim
    UNION ALL
    SELECT t.id FROM unnest(p_ids, p_claims) AS u(id, claim)
    JOIN {schema}.strunk_outbox_tasks t ON t.id = u.id AND t.worker_id = p_worker AND t.claim_no = u.claim AND t.status <> 'claimed'
$$;

-- Renews leases; returns the ids that still have one.
CREATE FUNCTION {schema}.strunk_beat(p_workers bigint[]) RETURNS SETOF bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE {schema}.strunk_workers w SET beat = w.beat + 1, beat_at = clock_timestamp()
    WHERE w.id = ANY (p_workers) AND NOT w.condemned RETURNING w.id
$$;

-- Claim numbers above p_low that the table holds for a worker and that the worker does not know of.
CREATE FUNCTION {schema}.strunk_unknown_claims(p_worker bigint, p_low bigint, p_known bigint[]) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT DISTINCT t.claim_no FROM {schema}.strunk_outbox_tasks t
    WHERE t.status = 'claimed' AND t.worker_id = p_worker AND t.claim_no > p_low AND NOT t.claim_no = ANY (p_known)
$$;

-- Voids claim numbers up to p_floor that are still to come. FOR UPDATE waits for a claim that is being committed; one
-- that arrives later finds the floor and does nothing. Commit it before strunk_return_claims is called.
CREATE FUNCTION {schema}.strunk_void_claims(p_worker bigint, p_floor bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_workers w WHERE w.id = p_worker FOR UPDATE;
    UPDATE {schema}.strunk_workers w SET claim_floor = greatest(w.claim_floor, p_floor) WHERE w.id = p_worker;
END $$;

-- Gives back, unspent, the tasks of claims whose answer was lost. Locks in id order.
CREATE FUNCTION {schema}.strunk_return_claims(p_worker bigint, p_claims bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN QUERY
    WITH l AS MATERIALIZED (
        SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'claimed' AND t.worker_id = p_worker AND t.claim_no = ANY (p_claims) ORDER BY t.id FOR UPDATE)
    UPDATE {schema}.strunk_outbox_tasks t
    SET status = 'pending', seq = nextval('{schema}.strunk_outbox_id_seq'), attempts = t.attempts - 1
    FROM l WHERE t.ctid = l.tid
    RETURNING t.id;
END $$;

-- Takes a worker's lease away if its heartbeat still stands at p_beat (null: whatever it is). Waits for a claim that is being committed, so
-- that every claimed row is visible to the strunk_rescue that follows; later claims find the row condemned. The row stays
-- until the last task is given back: no claimed row is ever without its worker.
CREATE FUNCTION {schema}.strunk_condemn(p_worker bigint, p_beat bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_workers w WHERE w.id = p_worker AND (p_beat IS NULL OR w.beat = p_beat) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE {schema}.strunk_workers w SET condemned = true WHERE w.id = p_worker;
    RETURN true;
END $$;

-- Gives back up to p_limit tasks of a condemned worker: pending, or dead where their attempts are spent. When none is
-- left it removes the worker's row and ends; repeat while it returns rows. Locks in id order, waits for completions
-- under way (no SKIP LOCKED: a skipped row would be an orphan).
CREATE FUNCTION {schema}.strunk_rescue(p_worker bigint, p_limit integer)
RETURNS TABLE (id bigint, queue text, status text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_ids  bigint[];
    v_by   text;
BEGIN
    SELECT w.host || '/' || w.pid INTO v_by FROM {schema}.strunk_workers w WHERE w.id = p_worker AND w.condemned;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM pg_current_xact_id();
    v_ids := ARRAY(SELECT t.id FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'claimed' AND t.worker_id = p_worker ORDER BY t.claim_no LIMIT p_limit);
    IF cardinality(v_ids) = 0 THEN
        DELETE FROM {schema}.strunk_workers w WHERE w.id = p_worker AND w.condemned;
        RETURN;
    END IF;
    v_ids := ARRAY(SELECT t.id FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = ANY (v_ids) AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker ORDER BY t.id FOR UPDATE);
    RETURN QUERY
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (v_ids) AND t.attempts >= t.max_attempts RETURNING t.*)
    INSERT INTO {schema}.strunk_outbox_dead AS r
        (id, seq, worker_id, claim_no, created_at, due_at, claimed_at, finished_at, timeout_ms, attempts, max_attempts,
         priority, standing, status, kind, key, dedup_key, limit_key, last_error, payload, metadata, errors)
    SELECT d.id, d.seq, d.worker_id, d.claim_no, d.created_at, d.due_at, d.claimed_at, v_now, d.timeout_ms, d.attempts, d.max_attempts,
           d.priority, CASE WHEN d.standing = 3 AND NOT EXISTS (
               SELECT 1 FROM {schema}.strunk_cancels c WHERE c.queue = d.key AND c.task_id = d.id) THEN 3 END,
           'dead', d.kind, d.key, d.dedup_key, d.limit_key, 'the worker was lost', d.payload, d.metadata,
           {schema}.strunk_add_error(d.errors, d.attempts, v_now, 'the worker was lost', NULL, v_by)
    FROM d RETURNING r.id, r.key, r.status;
    RETURN QUERY
    UPDATE {schema}.strunk_outbox_tasks t
    SET status = 'pending', seq = nextval('{schema}.strunk_outbox_id_seq'), last_error = 'the worker was lost',
        errors = {schema}.strunk_add_error(t.errors, t.attempts, v_now, 'the worker was lost', NULL, v_by)
    WHERE t.id = ANY (v_ids)
    RETURNING t.id, t.key, t.status;
END $$;

-- Makes due tasks pending, the longest due first, at most p_limit; returns the queues to wake. Enters the index at p_from,
-- past the entries of earlier promotions that an open snapshot keeps alive. Runs beside itself: SKIP LOCKED.
CREATE FUNCTION {schema}.strunk_promote(p_from timestamptz, p_limit integer)
RETURNS TABLE (queue text, promoted bigint, last_due timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- Nothing due: no transaction id is spent on looking.
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.status = 'scheduled' AND t.due_at >= p_from AND t.due_at <= v_now ORDER BY t.due_at LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM pg_current_xact_id();
    RETURN QUERY
    WITH c AS MATERIALIZED (
        SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'scheduled' AND t.due_at >= p_from AND t.due_at <= v_now
        ORDER BY t.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
    up AS (
        UPDATE {schema}.strunk_outbox_tasks t SET status = 'pending', seq = nextval('{schema}.strunk_outbox_id_seq')
        FROM c WHERE t.ctid = c.tid RETURNING t.key, t.due_at)
    SELECT up.key, count(*), max(up.due_at) FROM up GROUP BY up.key;
END $$;

-- Milliseconds until the next scheduled task is due, at least 0; null where there is none from p_from on. One that a person
-- has put off for ever is none.
CREATE FUNCTION {schema}.strunk_next_due_ms(p_from timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
    SELECT greatest(0, ceil(extract(epoch FROM t.due_at - clock_timestamp()) * 1000))::bigint FROM {schema}.strunk_outbox_tasks t
    WHERE t.status = 'scheduled' AND t.due_at >= p_from AND t.due_at < 'infinity' ORDER BY t.due_at LIMIT 1
$$;

-- On the dead leaf alone: a dead task that a person sets back to pending or scheduled is made whole again.
CREATE FUNCTION {schema}.strunk_revive() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM pg_current_xact_id();
    NEW.seq := nextval('{schema}.strunk_outbox_id_seq');
    IF OLD.standing = 3 THEN -- it has kept its key's turn; the number must be a new one, drawn under the lock
        PERFORM {schema}.strunk_lock_line(NEW.key);
        IF {schema}.strunk_has_turn(NEW.key, NEW.limit_key) THEN
            NEW.standing := NULL;
        ELSE
            NEW.turn := nextval('{schema}.strunk_outbox_id_seq');
        END IF;
    END IF;
    NEW.worker_id := NULL;
    NEW.claim_no := NULL;
    NEW.claimed_at := NULL;
    NEW.finished_at := NULL;
    IF NEW.status = 'pending' THEN
        NEW.due_at := NULL;
    ELSIF NEW.due_at IS NULL THEN
        NEW.due_at := clock_timestamp();
    END IF;
    IF NEW.dedup_key IS NOT NULL AND EXISTS (
        SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.key = NEW.key AND t.dedup_key = NEW.dedup_key
            AND (t.dedup_waiting IS NULL OR t.worker_id IS NULL)) THEN
        NEW.dedup_key := NULL;
    END IF;
    PERFORM pg_notify({channel}, CASE WHEN NEW.status = 'pending' THEN 'q:' || NEW.key ELSE 'due' END);
    RETURN NEW;
END $$;

CREATE TRIGGER strunk_revive BEFORE UPDATE ON {schema}.strunk_outbox_dead
    FOR EACH ROW WHEN (OLD.kind = 'task' AND NEW.status IN ('pending', 'scheduled'))
    EXECUTE FUNCTION {schema}.strunk_revive();

SELECT {schema}.strunk_ensure_task_partitions();
