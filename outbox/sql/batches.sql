-- Batches: tasks of any queues whose endings are counted together, and what follows when all have ended.
--
-- A member has the id of its batch in its row. Whoever adds members, ends them or retries them leaves how many, in the
-- same transaction, in strunk_batch_changes. The promoter adds these up (strunk_fold_batches), and finishes a batch
-- that is closed and of which all members have ended. So counts are exact, and no row is written by each task.
--
-- Whoever adds members holds the row of the batch FOR KEY SHARE until the transaction ends. Finishing takes it FOR
-- UPDATE: so no member is added to a batch that is finished.
--
-- Lock order: the row of one batch, then snapshots, then rows of the outbox. Several batches: SKIP LOCKED.

-- Makes an open batch; returns its id. p_follow_up is a task that waits, best enqueued in this transaction: it is taken
-- out of its queue, and put back when the batch is finished. p_event_type: then a state event of that entity type is
-- published, whose entity is the batch.
CREATE OR REPLACE FUNCTION {schema}.strunk_create_batch(p_name text, p_follow_up bigint DEFAULT NULL,
    p_event_type text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_id   bigint := nextval('{schema}.strunk_outbox_id_seq');
    v_task json;
BEGIN
    IF coalesce(octet_length(p_name), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'strunk_create_batch: the name must have 1 to 200 bytes' USING ERRCODE = '22023';
    ELSIF octet_length(p_event_type) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'strunk_create_batch: the event type must have 1 to 200 bytes' USING ERRCODE = '22023';
    ELSIF p_follow_up IS NOT NULL THEN
        DELETE FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = p_follow_up AND t.status IN ('scheduled', 'pending') RETURNING row_to_json(t.*) INTO v_task;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'strunk_create_batch: the follow-up, task %, does not wait', p_follow_up
                USING ERRCODE = '22023';
        END IF;
    END IF;
    INSERT INTO {schema}.strunk_batches (id, created_at, name, follow_up_id, follow_up, event_type)
    VALUES (v_id, clock_timestamp(), p_name, p_follow_up, v_task, p_event_type);
    RETURN v_id;
END $$;

-- Whether a batch takes members: it is there, and neither finished nor cancelled. If so, it stays so until the
-- transaction ends.
CREATE OR REPLACE FUNCTION {schema}.strunk_hold_batch_open(p_batch bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_batches b
    WHERE b.id = p_batch AND b.finished_at IS NULL AND b.cancelled_at IS NULL FOR KEY SHARE;
    RETURN FOUND;
END $$;

-- Notes new members. A duplicate of a task that was there is none.
CREATE OR REPLACE FUNCTION {schema}.strunk_note_members(p_batch bigint, p_ids bigint[], p_duplicates boolean[])
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH members AS (
        INSERT INTO {schema}.strunk_batch_tasks (batch_id, task_id)
        SELECT p_batch, u.id FROM unnest(p_ids, p_duplicates) AS u(id, duplicate) WHERE u.id > 0 AND NOT u.duplicate
        RETURNING 1)
    INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what) SELECT p_batch, count(*), 'added' FROM members
$$;

-- strunk_enqueue_many for members of a batch. One row with ord -1: the batch takes none.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_in_batch(p_batch bigint,
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[], p_notify boolean,
    p_customer_keys text[])
RETURNS TABLE (ord integer, id bigint, duplicate boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ords       integer[];
    v_ids        bigint[];
    v_duplicates boolean[];
BEGIN
    IF NOT {schema}.strunk_hold_batch_open(p_batch) THEN
        RETURN QUERY SELECT -1, 0::bigint, false;
        RETURN;
    END IF;
    SELECT array_agg(e.ord), array_agg(e.id), array_agg(e.duplicate) INTO v_ords, v_ids, v_duplicates
    FROM {schema}.strunk_enqueue_many(p_queues, p_payloads, p_priorities, p_max_attempts, p_delays_ms, p_dues, p_dedups,
        p_timeouts_ms, p_metadata, p_notify, p_customer_keys, p_batch) e;
    PERFORM {schema}.strunk_note_members(p_batch, v_ids, v_duplicates);
    RETURN QUERY SELECT * FROM unnest(v_ords, v_ids, v_duplicates);
END $$;

-- strunk_enqueue_dedup for members of a batch, as strunk_enqueue_in_batch.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_dedup_in_batch(p_batch bigint,
    p_queues text[], p_payloads text[], p_priorities smallint[], p_max_attempts smallint[], p_delays_ms bigint[],
    p_dues timestamptz[], p_dedups text[], p_timeouts_ms integer[], p_metadata text[],
    p_modes text[], p_windows_ms bigint[], p_max_ms bigint[], p_notify boolean, p_customer_keys text[])
RETURNS TABLE (ord integer, id bigint, duplicate boolean, replaced boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ords       integer[];
    v_ids        bigint[];
    v_duplicates boolean[];
    v_replaced   boolean[];
BEGIN
    IF NOT {schema}.strunk_hold_batch_open(p_batch) THEN
        RETURN QUERY SELECT -1, 0::bigint, false, false;
        RETURN;
    END IF;
    SELECT array_agg(e.ord), array_agg(e.id), array_agg(e.duplicate), array_agg(e.replaced)
    INTO v_ords, v_ids, v_duplicates, v_replaced
    FROM {schema}.strunk_enqueue_dedup(p_queues, p_payloads, p_priorities, p_max_attempts, p_delays_ms, p_dues,
        p_dedups, p_timeouts_ms, p_metadata, p_modes, p_windows_ms, p_max_ms, p_notify, p_customer_keys, p_batch) e;
    PERFORM {schema}.strunk_note_members(p_batch, v_ids, v_duplicates);
    RETURN QUERY SELECT * FROM unnest(v_ords, v_ids, v_duplicates, v_replaced);
END $$;

-- Closes a batch: from now on it finishes as soon as all its members have ended. Until then members may still be
-- added. False where there is none.
CREATE OR REPLACE FUNCTION {schema}.strunk_close_batch(p_batch bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    UPDATE {schema}.strunk_batches b SET closed_at = coalesce(b.closed_at, clock_timestamp()) WHERE b.id = p_batch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what) VALUES (p_batch, 0, 'added'); -- to be looked at
    RETURN true;
END $$;

-- Cancels up to p_limit members of a batch with ids above p_after: those that wait are cancelled, those that run are
-- asked to stop. last_id is null where that was all. With p_after 0 it first closes the batch for new members, for
-- which it waits 5 s for whoever adds some. Locks tasks in the order of ids. Nothing where there is no batch.
CREATE OR REPLACE FUNCTION {schema}.strunk_cancel_batch(p_batch bigint, p_reason text, p_after bigint, p_limit integer)
RETURNS TABLE (last_id bigint, cancelled bigint, cancelling bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_error   text := 'cancelled' || coalesce(': ' || nullif(p_reason, ''), '');
    v_ids     bigint[];
    v_waiting bigint[];
BEGIN
    IF p_after = 0 THEN
        PERFORM 1 FROM {schema}.strunk_batches b WHERE b.id = p_batch FOR UPDATE;
        IF NOT {schema}.strunk_close_batch(p_batch) THEN
            RETURN;
        END IF;
        UPDATE {schema}.strunk_batches b SET cancelled_at = coalesce(b.cancelled_at, clock_timestamp())
        WHERE b.id = p_batch AND b.finished_at IS NULL;
    END IF;
    v_ids := ARRAY(SELECT m.task_id FROM {schema}.strunk_batch_tasks m WHERE m.batch_id = p_batch
        AND m.task_id > p_after ORDER BY m.task_id LIMIT p_limit);
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (v_ids) ORDER BY t.id FOR UPDATE;
    WITH marked AS (
        INSERT INTO {schema}.strunk_cancels (task_id, queue, reason)
        SELECT t.id, t.key, v_error FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = ANY (v_ids) AND t.status = 'claimed' ORDER BY t.id
        ON CONFLICT DO NOTHING RETURNING queue),
    told AS (SELECT pg_notify({channel}, 'c:' || q.queue) FROM (SELECT DISTINCT m.queue FROM marked m) q)
    SELECT count(*) INTO cancelling FROM marked WHERE (SELECT count(*) FROM told) >= 0;
    v_waiting := ARRAY(SELECT t.id FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = ANY (v_ids) AND t.status IN ('scheduled', 'pending') ORDER BY t.id);
    WITH ended AS MATERIALIZED (SELECT c.queue FROM {schema}.strunk_cancel_waiting(v_waiting, v_error) c),
    told AS (SELECT pg_notify({channel}, 'r:' || q.queue) FROM (SELECT DISTINCT e.queue FROM ended e) q)
    SELECT count(*) INTO cancelled FROM ended WHERE (SELECT count(*) FROM told) >= 0;
    last_id := CASE WHEN cardinality(v_ids) = p_limit THEN v_ids[p_limit] END;
    RETURN NEXT;
END $$;

-- The batch of a task: the one whose member it is, else the one whose follow-up it is; null where there is none.
CREATE OR REPLACE FUNCTION {schema}.strunk_batch_of(p_task bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT coalesce((SELECT b.id FROM {schema}.strunk_batches b WHERE b.follow_up_id = p_task LIMIT 1),
        (SELECT t.batch_id FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_task))
$$;

-- Batches with their counts up to this moment: of the ids p_ids; or (null) up to p_limit with ids below p_before, the
-- newest first, with p_open only those that are not finished. Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_batch_states(p_ids bigint[], p_before bigint DEFAULT NULL,
    p_open boolean DEFAULT false, p_limit integer DEFAULT 100)
RETURNS TABLE (id bigint, name text, follow_up_id bigint, created_at timestamptz, closed_at timestamptz,
    cancelled_at timestamptz, finished_at timestamptz, added bigint, done bigint, dead bigint, cancelled bigint,
    discarded bigint, deleted bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT b.id, b.name, b.follow_up_id, b.created_at, b.closed_at, b.cancelled_at, b.finished_at, b.added + c.added,
        b.done + c.done, b.dead + c.dead, b.cancelled + c.cancelled, b.discarded + c.discarded, b.deleted + c.deleted
    FROM (SELECT x.* FROM {schema}.strunk_batches x
        WHERE CASE WHEN p_ids IS NOT NULL THEN x.id = ANY (p_ids)
            ELSE x.id < coalesce(p_before, 9223372036854775807) AND (NOT p_open OR x.finished_at IS NULL) END
        ORDER BY x.id DESC LIMIT p_limit) b
    CROSS JOIN LATERAL (SELECT s.* FROM {schema}.strunk_sum_of_changes(ARRAY(
        SELECT o FROM {schema}.strunk_batch_changes o WHERE o.batch_id = b.id)) s) c
    ORDER BY b.id DESC
$$;

-- Up to p_limit members of a batch with ids above p_after, in the order of their ids. status is null for a task that is
-- kept no longer. Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_batch_members(p_batch bigint, p_after bigint, p_limit integer)
RETURNS TABLE (id bigint, queue text, status text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT m.task_id, o.key, o.status FROM (
        SELECT x.task_id FROM {schema}.strunk_batch_tasks x WHERE x.batch_id = p_batch AND x.task_id > p_after
        ORDER BY x.task_id LIMIT p_limit) m
    LEFT JOIN LATERAL {schema}.strunk_task(m.task_id) o ON true
    ORDER BY m.task_id
$$;

-- The sums of changes, by what has happened.
CREATE OR REPLACE FUNCTION {schema}.strunk_sum_of_changes(p_changes {schema}.strunk_batch_changes[])
RETURNS TABLE (added bigint, done bigint, dead bigint, cancelled bigint, discarded bigint, deleted bigint)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(u.n) FILTER (WHERE u.what = 'added'), 0)::bigint,
        coalesce(sum(u.n) FILTER (WHERE u.what = 'done'), 0)::bigint,
        coalesce(sum(u.n) FILTER (WHERE u.what = 'dead'), 0)::bigint,
        coalesce(sum(u.n) FILTER (WHERE u.what = 'cancelled'), 0)::bigint,
        coalesce(sum(u.n) FILTER (WHERE u.what = 'discarded'), 0)::bigint,
        coalesce(sum(u.n) FILTER (WHERE u.what = 'deleted'), 0)::bigint
    FROM unnest(p_changes) u
$$;

-- Adds up to p_limit changes of a batch up; returns whether that was all. The caller holds the row of the batch.
CREATE OR REPLACE FUNCTION {schema}.strunk_fold_batch(p_batch bigint, p_limit integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_changes {schema}.strunk_batch_changes[];
BEGIN
    WITH d AS (
        DELETE FROM {schema}.strunk_batch_changes c WHERE c.ctid = ANY (ARRAY(
            SELECT o.ctid FROM {schema}.strunk_batch_changes o WHERE o.batch_id = p_batch LIMIT p_limit))
        RETURNING c AS change)
    SELECT array_agg(d.change) INTO v_changes FROM d;
    UPDATE {schema}.strunk_batches b SET added = b.added + s.added, done = b.done + s.done, dead = b.dead + s.dead,
        cancelled = b.cancelled + s.cancelled, discarded = b.discarded + s.discarded, deleted = b.deleted + s.deleted
    FROM {schema}.strunk_sum_of_changes(v_changes) s WHERE b.id = p_batch;
    RETURN coalesce(cardinality(v_changes), 0) < p_limit;
END $$;

-- Adds up what has happened to the members of up to p_limit batches, and finishes those of which all members have
-- ended. Returns how many it has looked at. Runs beside itself: a batch that another one has locked is left to it.
CREATE OR REPLACE FUNCTION {schema}.strunk_fold_batches(p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_batch bigint := -9223372036854775808;
    v_n     integer := 0;
BEGIN
    FOR i IN 1 .. p_limit LOOP
        SELECT c.batch_id INTO v_batch FROM {schema}.strunk_batch_changes c WHERE c.batch_id > v_batch
        ORDER BY c.batch_id LIMIT 1;
        EXIT WHEN NOT FOUND;
        PERFORM 1 FROM {schema}.strunk_batches b WHERE b.id = v_batch FOR NO KEY UPDATE SKIP LOCKED;
        IF FOUND THEN
            v_n := v_n + 1;
            IF {schema}.strunk_fold_batch(v_batch, 20000) THEN
                PERFORM {schema}.strunk_finish_batch(v_batch);
            END IF;
        ELSIF NOT EXISTS (SELECT 1 FROM {schema}.strunk_batches b WHERE b.id = v_batch) THEN
            DELETE FROM {schema}.strunk_batch_changes c WHERE c.batch_id = v_batch; -- retention has dropped the batch
        END IF;
    END LOOP;
    RETURN v_n;
END $$;

-- Finishes a batch that is closed and of which all members have ended: enqueues its follow-up and publishes its event.
-- The caller has added its changes up, and holds its row. While somebody adds members it is left for later.
CREATE OR REPLACE FUNCTION {schema}.strunk_finish_batch(p_batch bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_batch {schema}.strunk_batches;
BEGIN
    SELECT b.* INTO v_batch FROM {schema}.strunk_batches b
    WHERE b.id = p_batch AND b.finished_at IS NULL AND b.closed_at IS NOT NULL
        AND b.added <= b.done + b.dead + b.cancelled + b.discarded + b.deleted;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM 1 FROM {schema}.strunk_batches b WHERE b.id = p_batch FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what) VALUES (p_batch, 0, 'added'); -- look again
        RETURN;
    ELSIF EXISTS (SELECT 1 FROM {schema}.strunk_batch_changes c WHERE c.batch_id = p_batch) THEN
        RETURN; -- of somebody who has committed since
    END IF;
    UPDATE {schema}.strunk_batches b SET finished_at = clock_timestamp(), follow_up = NULL
    WHERE b.id = p_batch RETURNING b.finished_at INTO v_batch.finished_at;
    IF v_batch.event_type IS NOT NULL THEN
        PERFORM {schema}.strunk_publish_many(ARRAY[v_batch.event_type], ARRAY[p_batch::text], ARRAY[json_build_object(
            'id', v_batch.id, 'name', v_batch.name, 'added', v_batch.added, 'done', v_batch.done, 'dead', v_batch.dead,
            'cancelled', v_batch.cancelled, 'discarded', v_batch.discarded, 'deleted', v_batch.deleted, 'created_at',
            v_batch.created_at, 'closed_at', v_batch.closed_at, 'cancelled_at', v_batch.cancelled_at, 'finished_at',
            v_batch.finished_at)::text], ARRAY[NULL], ARRAY[NULL], ARRAY[NULL], true);
    END IF;
    IF v_batch.follow_up IS NOT NULL THEN
        PERFORM {schema}.strunk_enqueue_follow_up(v_batch.follow_up);
    END IF;
END $$;

-- Enqueues a follow-up that strunk_create_batch has taken out of its queue: under its id, at the end of the queue. A
-- dedup key that another task holds is given up.
CREATE OR REPLACE FUNCTION {schema}.strunk_enqueue_follow_up(p_task json) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_task {schema}.strunk_outbox_tasks;
BEGIN
    PERFORM pg_current_xact_id();
    v_task := json_populate_record(v_task, p_task);
    v_task.seq := nextval('{schema}.strunk_outbox_id_seq');
    v_task.status := CASE WHEN v_task.due_at > clock_timestamp() THEN 'scheduled' ELSE 'pending' END;
    FOR i IN 1 .. 2 LOOP
        INSERT INTO {schema}.strunk_outbox_tasks SELECT (v_task).*
        ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL)
            DO NOTHING;
        EXIT WHEN FOUND;
        v_task.dedup_key := NULL;
    END LOOP;
    PERFORM pg_notify({channel}, CASE v_task.status WHEN 'pending' THEN 'q:' || v_task.key ELSE 'due' END);
END $$;

-- Counts the members of the first batch with an id above p_after that is not finished, and notes as deleted what has
-- vanished: somebody has deleted rows of strunk_outbox_tasks itself. Returns the batch; null is the end. Locks the
-- batch: two counts at once would note the same twice.
CREATE OR REPLACE FUNCTION {schema}.strunk_recount_batch(p_after bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_batch bigint;
BEGIN
    SELECT b.id INTO v_batch FROM {schema}.strunk_batches b WHERE b.id > p_after AND b.finished_at IS NULL
    ORDER BY b.id LIMIT 1 FOR NO KEY UPDATE;
    INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what)
    SELECT v_batch, x.open - x.active, 'deleted' FROM (
        SELECT b.added - b.done - b.dead - b.cancelled - b.discarded - b.deleted AS open, (
            SELECT count(*) FROM {schema}.strunk_batch_tasks m WHERE m.batch_id = v_batch AND (
                EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = m.task_id) OR EXISTS (
                SELECT 1 FROM {schema}.strunk_batches p
                WHERE p.follow_up_id = m.task_id AND p.finished_at IS NULL))) AS active
        FROM {schema}.strunk_batch_states(ARRAY[v_batch]) b) x
    WHERE x.open > x.active;
    RETURN v_batch;
END $$;

-- Deletes up to p_limit members of batches that finished more than p_keep_ms ago, and those batches that have none
-- left; returns how many rows.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_batches(p_keep_ms bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_old bigint[] := ARRAY(SELECT b.id FROM {schema}.strunk_batches b
        WHERE b.finished_at < clock_timestamp() - p_keep_ms * interval '1 millisecond'
        ORDER BY b.finished_at LIMIT p_limit);
    v_members bigint;
    v_batches bigint;
BEGIN
    DELETE FROM {schema}.strunk_batch_tasks m WHERE m.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_batch_tasks o WHERE o.batch_id = ANY (v_old) LIMIT p_limit));
    GET DIAGNOSTICS v_members = ROW_COUNT;
    DELETE FROM {schema}.strunk_batches b WHERE b.id = ANY (v_old)
        AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_batch_tasks m WHERE m.batch_id = b.id);
    GET DIAGNOSTICS v_batches = ROW_COUNT;
    RETURN v_members + v_batches;
END $$;
