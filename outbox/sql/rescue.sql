-- The leases of workers, and the tasks of workers that are gone.

-- Renews leases; returns the workers that still have one, their heartbeats, and since when this
-- server runs.
CREATE OR REPLACE FUNCTION {schema}.strunk_heartbeat(p_workers bigint[])
RETURNS TABLE (worker_id bigint, heartbeat bigint, server_started timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE {schema}.strunk_workers w SET heartbeat = w.heartbeat + 1, heartbeat_at = clock_timestamp()
    WHERE w.id = ANY (p_workers) AND NOT w.expired
    RETURNING w.id, w.heartbeat, pg_postmaster_start_time();
$$;

-- Takes a worker's lease away if its heartbeat still stands at p_heartbeat (null: whatever it is). Waits
-- for a claim that is being committed, so that every claimed row is visible to the strunk_rescue
-- that follows; later claims find the row expired. The row stays until the last task is given
-- back: no claimed row is ever without its worker.
CREATE OR REPLACE FUNCTION {schema}.strunk_expire_lease(p_worker bigint, p_heartbeat bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_workers w WHERE w.id = p_worker AND (p_heartbeat IS NULL
        OR w.heartbeat = p_heartbeat) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE {schema}.strunk_workers w SET expired = true WHERE w.id = p_worker;
    RETURN true;
END $$;

-- What a worker's crash means for each of its claimed tasks p_ids: started (the attempt is spent),
-- possibly_started (it is not, and the task is started alone from then on) or waiting (nothing has
-- happened to it). See strunk_starts.
CREATE OR REPLACE FUNCTION {schema}.strunk_crash_states(p_worker bigint, p_ids bigint[]) RETURNS TABLE (id bigint,
    state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT t.id, CASE
        WHEN NOT w.writes_starts OR ARRAY[t.claim_no, 9 - t.priority, t.seq] <= s.started_to THEN 'started'
        WHEN ARRAY[t.claim_no, 9 - t.priority, t.seq] <= s.may_start_to THEN 'possibly_started'
        ELSE 'waiting' END
    FROM {schema}.strunk_workers w
    LEFT JOIN LATERAL (
        SELECT max(x.started_to) AS started_to, max(x.may_start_to) AS may_start_to FROM {schema}.strunk_starts x
        WHERE x.worker_id = w.id) s ON true
    JOIN {schema}.strunk_outbox_tasks t ON t.id = ANY (p_ids)
    WHERE w.id = p_worker
$$;

-- Gives back up to p_limit tasks of an expired worker, of p_bytes of payloads and one more: pending,
-- or dead where their attempts are spent. The attempt of a task that had not started is not
-- spent. One that has, or may have, has no deadline any more.
-- When none is left it removes the worker's row and ends; repeat while it returns rows. Locks in id
-- order, waits for completions under way (no SKIP LOCKED: a skipped row would be an orphan). The
-- || '' and + 0 keep the planner from the indexes of status and worker_id: the row is found by its id.
CREATE OR REPLACE FUNCTION {schema}.strunk_rescue(p_worker bigint, p_limit integer, p_bytes bigint DEFAULT 8388608)
RETURNS TABLE (id bigint, queue text, status text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off SET enable_bitmapscan = off
SET jit = off AS $$
DECLARE
    v_now     timestamptz := clock_timestamp();
    v_ids     bigint[];
    v_started bigint[];
    v_maybe   bigint[];
    v_worker_name      text;
BEGIN
    SELECT w.host || '/' || w.pid INTO v_worker_name FROM {schema}.strunk_workers w WHERE w.id = p_worker AND w.expired;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM pg_current_xact_id();
    v_ids := ARRAY(SELECT y.id FROM (
        SELECT x.id, sum(x.bytes) OVER (ROWS UNBOUNDED PRECEDING) - x.bytes AS before FROM (
            SELECT t.id, coalesce(pg_column_size(t.payload), 0) AS bytes FROM {schema}.strunk_outbox_tasks t
            WHERE t.status = 'claimed' AND t.worker_id = p_worker ORDER BY t.claim_no LIMIT p_limit) x) y
        WHERE y.before < p_bytes);
    IF cardinality(v_ids) = 0 THEN
        DELETE FROM {schema}.strunk_workers w WHERE w.id = p_worker AND w.expired;
        DELETE FROM {schema}.strunk_starts s WHERE s.worker_id = p_worker;
        RETURN;
    END IF;
    v_ids := ARRAY(SELECT t.id FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = ANY (v_ids) AND t.status || '' = 'claimed' AND t.worker_id + 0 = p_worker ORDER BY t.id
            FOR UPDATE);
    SELECT array_agg(c.id) FILTER (WHERE c.state = 'started'),
        array_agg(c.id) FILTER (WHERE c.state = 'possibly_started')
    INTO v_started, v_maybe FROM {schema}.strunk_crash_states(p_worker, v_ids) c;
    INSERT INTO {schema}.strunk_failures (failed_at, n, kind, name, fingerprint, error)
    SELECT v_now, f.n, 'task', f.key, 'the worker was lost', 'the worker was lost'
    FROM (SELECT t.key, count(*) AS n FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (v_started)
        GROUP BY t.key) f;
    INSERT INTO {schema}.strunk_counters (kind, name, failed, retried, dead)
    SELECT 'queue', t.key, count(*), count(*) FILTER (WHERE t.attempts < t.max_attempts),
        count(*) FILTER (WHERE t.attempts >= t.max_attempts)
    FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (v_started) GROUP BY t.key;
    RETURN QUERY
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (v_started) AND t.attempts >= t.max_attempts
        RETURNING t AS task)
    SELECT {schema}.strunk_store_ended(d.task, NULL, 'dead', 'the worker was lost', NULL, v_worker_name),
        (d.task).key, 'dead'
    FROM d;
    RETURN QUERY
    UPDATE {schema}.strunk_outbox_tasks t
    SET status = 'pending', seq = nextval('{schema}.strunk_outbox_id_seq'), admitted = t.customer_key IS NULL,
        slot = NULL, begin_before = NULL,
        last_error = 'the worker was lost',
        errors = {schema}.strunk_add_error(t.errors, t.attempts, v_now, 'the worker was lost', NULL, v_worker_name)
    WHERE t.id = ANY (v_started)
    RETURNING t.id, t.key, t.status;
    RETURN QUERY
    UPDATE {schema}.strunk_outbox_tasks t
    SET status = 'pending', seq = nextval('{schema}.strunk_outbox_id_seq'), admitted = t.customer_key IS NULL,
        slot = NULL,
        attempts = greatest(0, t.attempts - 1),
        begin_before = CASE WHEN t.id = ANY (v_maybe) THEN NULL ELSE t.begin_before END,
        possibly_started = CASE WHEN t.id = ANY (v_maybe) THEN true ELSE t.possibly_started END
    WHERE t.id = ANY (v_ids) AND NOT coalesce(t.id = ANY (v_started), false)
    RETURNING t.id, t.key, t.status;
END $$;

-- Who deletes the row of a worker whose tasks are claimed takes its lease away: the row, and with it the worker's quota
-- in the limit of its queue, stays until they have been given back. By now the row is locked against claims.
CREATE OR REPLACE FUNCTION {schema}.strunk_keep_worker() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'claimed' AND t.worker_id = OLD.id LIMIT 1;
    IF NOT FOUND THEN
        RETURN OLD;
    END IF;
    PERFORM {schema}.strunk_expire_lease(OLD.id, NULL);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER strunk_keep_worker BEFORE DELETE ON {schema}.strunk_workers
    FOR EACH ROW EXECUTE FUNCTION {schema}.strunk_keep_worker();

-- Gives claimed tasks whose worker has no row a row that is expired, so that the ordinary rescue
-- gives them back: somebody has emptied strunk_workers past its triggers. Returns how many workers.
-- It hops over the index from worker to worker.
CREATE OR REPLACE FUNCTION {schema}.strunk_adopt_orphans() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off SET enable_bitmapscan = off
SET jit = off AS $$
DECLARE
    v_n bigint;
BEGIN
    WITH RECURSIVE holders AS (
        (SELECT t.worker_id FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'claimed' ORDER BY t.worker_id LIMIT 1)
        UNION ALL
        SELECT (SELECT t.worker_id FROM {schema}.strunk_outbox_tasks t
                WHERE t.status = 'claimed' AND t.worker_id > h.worker_id ORDER BY t.worker_id LIMIT 1)
        FROM holders h WHERE h.worker_id IS NOT NULL)
    INSERT INTO {schema}.strunk_workers (id, lease_ms, pid, concurrency, expired, queue, host)
    SELECT h.worker_id, 1000, 0, 0, true,
           (SELECT t.key FROM {schema}.strunk_outbox_tasks t WHERE t.status = 'claimed'
               AND t.worker_id = h.worker_id LIMIT 1), 'unknown'
    FROM holders h
    WHERE h.worker_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_workers w WHERE w.id = h.worker_id)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;
