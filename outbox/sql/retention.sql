-- Removing what is past its retention.

-- Deletes the delivered tasks of a queue (null: of all but p_except) from p_blocks blocks of a
-- partition, from p_block on, or only those that ended more than p_keep_ms ago; null where the
-- partition has no block p_block. Then it notes that the partition is done, unless p_keep_ms is given.
-- For queues whose tasks are kept for less time than the partition is. Enters the partition by the row's
-- place: the partition has no index for this. Old rows alone are locked.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_partition(p_partition text, p_queue text, p_except text[],
    p_block bigint, p_blocks integer, p_keep_ms bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
    SET jit = off AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_keep_ms * interval '1 millisecond';
    v_pages bigint;
    v_n     bigint;
BEGIN
    SELECT pg_relation_size(c.oid) / current_setting('block_size')::bigint INTO v_pages
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = '{schema}.strunk_outbox_delivered_tasks'::regclass AND c.relname = p_partition;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF p_block >= v_pages THEN
        INSERT INTO {schema}.strunk_reaped (partition_name, queue)
        SELECT p_partition, coalesce(p_queue, '') WHERE p_keep_ms IS NULL ON CONFLICT DO NOTHING;
        RETURN NULL;
    END IF;
    EXECUTE format('DELETE FROM {schema}.%I d WHERE d.ctid >= %L::tid AND d.ctid < %L::tid '
        'AND CASE WHEN $1 IS NULL THEN NOT d.key = ANY ($2) ELSE d.key = $1 END '
        'AND ($3 IS NULL OR d.finished_at < $3)',
        p_partition, format('(%s,0)', p_block), format('(%s,0)', p_block + p_blocks))
        USING p_queue, p_except, v_before;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Deletes up to p_limit dead letters of a queue (null: all but the tasks of p_except) older than
-- p_keep_ms, oldest first; returns how many. Runs beside itself and beside a retry: SKIP LOCKED.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_dead(p_queue text, p_except text[], p_keep_ms bigint,
    p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
    SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_keep_ms * interval '1 millisecond';
    v_n      bigint;
BEGIN
    DELETE FROM {schema}.strunk_outbox_dead d WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_outbox_dead o
        WHERE o.finished_at < v_before
            AND CASE WHEN p_queue IS NULL THEN o.kind <> 'task' OR NOT o.key = ANY (p_except) ELSE o.kind = 'task'
                AND o.key = p_queue END
        ORDER BY o.finished_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Deletes up to p_limit cancelled and discarded tasks of a queue (null: all but p_except) that ended
-- more than p_keep_ms ago, oldest first; returns how many. Runs beside itself and beside a retry: SKIP LOCKED.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_cancelled(p_queue text, p_except text[], p_keep_ms bigint,
    p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
    SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_keep_ms * interval '1 millisecond';
    v_n      bigint;
BEGIN
    DELETE FROM {schema}.strunk_outbox_cancelled d WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_outbox_cancelled o
        WHERE o.finished_at < v_before
            AND CASE WHEN p_queue IS NULL THEN NOT o.key = ANY (p_except) ELSE o.key = p_queue END
        ORDER BY o.finished_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Deletes up to p_limit rows of schedules' past runs older than p_keep_ms; returns how many. Firing them again is ruled
-- out by last_due.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_schedule_runs(p_keep_ms bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_keep_ms * interval '1 millisecond';
    v_n      bigint;
BEGIN
    DELETE FROM {schema}.strunk_schedule_runs d WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_schedule_runs o WHERE o.fired_at < v_before ORDER BY o.fired_at
            LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Forgets the notes about partitions that are gone.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_notes() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM {schema}.strunk_reaped r WHERE to_regclass('{schema}.' || quote_ident(r.partition_name)) IS NULL;
    DELETE FROM {schema}.strunk_closed_days d
    WHERE to_regclass('{schema}.' || quote_ident(d.partition_name)) IS NULL;
$$;

-- Retention: deletes up to p_limit rows of each of these tables that are past use; returns how
-- many. Marks of the inbox, results and steps go by age; a task's mark stays while the task is active, dead,
-- cancelled or discarded, for only then can it be handled again.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_marks(p_inbox interval, p_tasks interval, p_limit integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
    SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_now   timestamptz := clock_timestamp();
    v_inbox timestamptz := v_now - p_inbox;
    v_tasks timestamptz := v_now - p_tasks;
    v_n     bigint;
    v_all   bigint := 0;
BEGIN
    DELETE FROM {schema}.strunk_inbox i WHERE i.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_inbox o WHERE o.task_id IS NULL AND o.handled_at < v_inbox
        ORDER BY o.handled_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_inbox i WHERE i.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_inbox o WHERE o.task_id IS NOT NULL AND o.handled_at < v_tasks
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = o.task_id)
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d WHERE d.id = o.task_id)
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_cancelled c WHERE c.id = o.task_id)
        ORDER BY o.handled_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_results r WHERE r.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_results o WHERE o.updated_at < v_tasks
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = o.task_id)
        ORDER BY o.updated_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_dedups d WHERE d.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_dedups o WHERE o.expires_at < v_now ORDER BY o.expires_at LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_cancels c
    WHERE NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = c.task_id);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    DELETE FROM {schema}.strunk_holds h WHERE h.until < v_now;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_all + v_n + {schema}.strunk_reap_steps(v_tasks, p_limit);
END $$;

-- Raises the floor of the feed: whole partitions whose last event was relayed longer than
-- p_retention_ms ago, and that every registered subscriber has passed. p_cap_ms (null: none) drops
-- what is older than that whoever has not passed it, and marks those subscribers. Returns the
-- partitions below the floor, which may then be detached and dropped, and the subscribers marked.
-- Locks the floor: a subscriber that chooses its place comes before or after, never in between.
CREATE OR REPLACE FUNCTION {schema}.strunk_raise_floor(p_retention_ms bigint, p_cap_ms bigint)
RETURNS TABLE (partition_name text, marked text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_floor  bigint;
    v_old    bigint;
    v_capped bigint;
    v_passed bigint;
    v_new    bigint;
BEGIN
    SELECT l.floor INTO v_floor FROM {schema}.strunk_feed_floor l FOR UPDATE;
    SELECT f.head INTO v_old FROM {schema}.strunk_feed f WHERE f.moved_at <= v_now - p_retention_ms * interval
        '1 millisecond' ORDER BY f.slot DESC LIMIT 1;
    SELECT f.head INTO v_capped FROM {schema}.strunk_feed f WHERE f.moved_at <= v_now - greatest(p_cap_ms,
        p_retention_ms) * interval '1 millisecond'
    AND p_cap_ms IS NOT NULL ORDER BY f.slot DESC LIMIT 1;
    SELECT min(s.cursor) INTO v_passed FROM {schema}.strunk_subscribers s WHERE NOT s.needs_restart;
    SELECT max(p.past) - 1 INTO v_new FROM {schema}.strunk_feed_partitions p
    -- least() leaves out nulls: without this an installation younger than the retention would drop
    -- whatever all have passed.
    WHERE p.past - 1 <= greatest(CASE WHEN v_old IS NOT NULL THEN least(v_old, v_passed) END, v_capped);
    IF v_new > v_floor THEN
        UPDATE {schema}.strunk_feed_floor l SET floor = v_new;
        RETURN QUERY UPDATE {schema}.strunk_subscribers s SET needs_restart = true WHERE s.cursor < v_new
            AND NOT s.needs_restart RETURNING NULL::text, s.name;
        v_floor := v_new;
    END IF;
    RETURN QUERY SELECT p.name, NULL::text FROM {schema}.strunk_feed_partitions p WHERE p.past - 1 <= v_floor
        ORDER BY p.first;
    -- Of the record of positions and times, the newest of each minute is kept, and nothing that is
    -- older than all partitions.
    DELETE FROM {schema}.strunk_feed f WHERE f.slot < (SELECT max(g.slot) FROM {schema}.strunk_feed g) - 3600
        AND (f.head < v_floor OR EXISTS (
        SELECT 1 FROM {schema}.strunk_feed g WHERE g.slot > f.slot AND g.slot < (f.slot / 60 + 1) * 60));
END $$;

-- Forgets a partition of the feed that has been dropped, with its table where that is detached.
CREATE OR REPLACE FUNCTION {schema}.strunk_forget_feed_partition(p_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
    IF p_name !~ '^strunk_outbox_delivered_events_[0-9]+$' THEN
        RAISE EXCEPTION 'strunk_forget_feed_partition: % is no partition of the feed', p_name USING ERRCODE = '22023';
    END IF;
    IF EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = to_regclass('{schema}.' || quote_ident(p_name))) THEN
        RAISE EXCEPTION 'strunk_forget_feed_partition: % is still attached', p_name USING ERRCODE = '55006';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS {schema}.%I', p_name);
    DELETE FROM {schema}.strunk_feed_partitions p WHERE p.name = p_name;
END $$;
