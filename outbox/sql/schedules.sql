-- Recurring tasks.

-- Registers a schedule, or changes the one with the id: a disabled one stays disabled, and the due
-- time stays unless the spec or its time zone has changed. A registration that changes nothing
-- writes nothing. Locks the schedule's row.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_put(
    p_id text, p_queue text, p_spec text, p_time_zone text, p_next_due timestamptz, p_misfire text,
        p_misfire_cap integer,
    p_payload text, p_metadata text, p_dedup_key text, p_priority smallint, p_max_attempts smallint,
        p_timeout_ms integer, p_notify boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO {schema}.strunk_schedules AS s
        (id, queue, spec, time_zone, next_due, misfire, misfire_cap, payload, metadata, dedup_key, priority,
            max_attempts,
         timeout_ms, created_at, updated_at)
    VALUES (p_id, p_queue, p_spec, p_time_zone, p_next_due, p_misfire, p_misfire_cap, p_payload::json,
        p_metadata::json, p_dedup_key,
        p_priority, p_max_attempts, p_timeout_ms, v_now, v_now)
    ON CONFLICT (id) DO UPDATE
    SET queue = excluded.queue, spec = excluded.spec, time_zone = excluded.time_zone, misfire = excluded.misfire,
        misfire_cap = excluded.misfire_cap, payload = excluded.payload, metadata = excluded.metadata,
            dedup_key = excluded.dedup_key,
        priority = excluded.priority, max_attempts = excluded.max_attempts, timeout_ms = excluded.timeout_ms,
        next_due = CASE WHEN (s.spec, s.time_zone) = (excluded.spec, excluded.time_zone) THEN s.next_due
                        ELSE greatest(excluded.next_due, s.last_due + interval '1 microsecond') END,
        revision = s.revision + 1, updated_at = v_now, last_error = NULL
    WHERE (s.queue, s.spec, s.time_zone, s.misfire, s.misfire_cap, s.payload::text, s.metadata::text, s.dedup_key,
        s.priority, s.max_attempts, s.timeout_ms)
        IS DISTINCT FROM (excluded.queue, excluded.spec, excluded.time_zone, excluded.misfire,
            excluded.misfire_cap, excluded.payload::text,
            excluded.metadata::text, excluded.dedup_key, excluded.priority, excluded.max_attempts, excluded.timeout_ms);
    IF FOUND AND p_notify THEN
        PERFORM {schema}.strunk_announce('schedule');
    END IF;
END $$;

-- Enables or disables a schedule; returns whether there is one. p_next_due is that of one that is
-- enabled: what it missed while disabled is gone. Locks the schedule's row: a firing under way is
-- waited for.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_switch(p_id text, p_enabled boolean, p_next_due timestamptz,
    p_notify boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_schedules s WHERE s.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE {schema}.strunk_schedules s
    SET enabled = p_enabled, next_due = CASE WHEN p_enabled THEN greatest(p_next_due, s.next_due) ELSE s.next_due END,
        revision = s.revision + 1, updated_at = clock_timestamp(), last_error = NULL
    WHERE s.id = p_id AND s.enabled <> p_enabled;
    IF FOUND AND p_notify THEN
        PERFORM {schema}.strunk_announce('schedule');
    END IF;
    RETURN true;
END $$;

-- Removes a schedule; returns whether there was one. Its tasks and its runs stay.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_remove(p_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM {schema}.strunk_schedules s WHERE s.id = p_id;
    RETURN FOUND;
END $$;

-- Enqueues a schedule's task for one due time, and counts it. Its metadata says which: handlers see it.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_enqueue(p_schedule {schema}.strunk_schedules,
    p_due timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_id  bigint;
BEGIN
    v_id := {schema}.strunk_enqueue(
        queue => (p_schedule).queue, payload => (p_schedule).payload, priority => (p_schedule).priority,
            due_at => p_due,
        dedup_key => (p_schedule).dedup_key, max_attempts => (p_schedule).max_attempts,
        timeout => (p_schedule).timeout_ms * interval '1 millisecond',
        metadata => (coalesce((p_schedule).metadata::jsonb, '{}') || jsonb_build_object('schedule', (p_schedule).id,
            'scheduled_for', to_char(p_due AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))::json);
    INSERT INTO {schema}.strunk_counters (kind, name, enqueued)
    SELECT 'queue', t.key, 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = v_id AND t.created_at >= v_now;
    RETURN v_id;
END $$;

-- Enqueues a schedule's task once more, now, beside its due times. Null where there is no such schedule. A disabled one
-- runs too: a person asked for it.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_run_now(p_id text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schedule {schema}.strunk_schedules;
BEGIN
    SELECT s.* INTO v_schedule FROM {schema}.strunk_schedules s WHERE s.id = p_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN {schema}.strunk_schedule_enqueue(v_schedule, clock_timestamp());
END $$;

-- What is due, the longest due first, without the ids in p_skip; now_at is the database's time. Locks nothing.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedules_due(p_skip text[], p_limit integer)
RETURNS TABLE (now_at timestamptz, next_due timestamptz, revision bigint, misfire_cap integer, id text, queue text,
    spec text, time_zone text, misfire text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT v_now, s.next_due, s.revision, s.misfire_cap, s.id, s.queue, s.spec, s.time_zone, s.misfire
    FROM {schema}.strunk_schedules s
    WHERE s.enabled AND s.next_due <= v_now AND NOT s.id = ANY (p_skip)
    ORDER BY s.next_due LIMIT p_limit;
END $$;

-- Microseconds until the next schedule is due, without the ids in p_skip; null where there is none.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedules_wait_us(p_skip text[]) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT greatest(0, ceil(extract(epoch FROM s.next_due - clock_timestamp()) * 1000000))::bigint
        FROM {schema}.strunk_schedules s
    WHERE s.enabled AND NOT s.id = ANY (p_skip) ORDER BY s.next_due LIMIT 1
$$;

-- Fires a schedule that still stands at p_revision and p_due: enqueues a task for each of p_fire
-- and moves on to p_next (null: there is no further time, and the schedule is disabled). Returns
-- the tasks' ids, or null where another process has fired it or is doing so. All of it is this one
-- statement, so a process that is frozen or killed has either done it or not. Locks the schedule's
-- row, SKIP LOCKED; the key of strunk_schedule_runs stands behind it: should two ever get here with
-- the same due time, one fails and does nothing.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_fire(p_id text, p_revision bigint, p_due timestamptz,
    p_fire timestamptz[], p_next timestamptz) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_schedule {schema}.strunk_schedules;
    v_tasks    bigint[] := '{}';
    v_task     bigint;
    v_due      timestamptz;
BEGIN
    SELECT s.* INTO v_schedule FROM {schema}.strunk_schedules s
    WHERE s.id = p_id AND s.revision = p_revision AND s.next_due = p_due AND s.enabled FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    FOREACH v_due IN ARRAY p_fire LOOP
        CONTINUE WHEN v_due <= v_schedule.last_due;
        PERFORM 1 FROM {schema}.strunk_schedule_runs r WHERE r.schedule_id = p_id AND r.due_at = v_due;
        CONTINUE WHEN FOUND;
        v_task := {schema}.strunk_schedule_enqueue(v_schedule, v_due);
        INSERT INTO {schema}.strunk_schedule_runs (schedule_id, due_at, fired_at, task_id) VALUES (p_id, v_due,
            clock_timestamp(), v_task);
        v_tasks := v_tasks || v_task;
        v_schedule.last_due := v_due;
    END LOOP;
    UPDATE {schema}.strunk_schedules s
    SET next_due = coalesce(p_next, s.next_due), enabled = p_next IS NOT NULL, last_due = v_schedule.last_due,
        last_task_id = coalesce(v_task, s.last_task_id),
        last_error = CASE WHEN p_next IS NULL THEN 'there is no further time' END
    WHERE s.id = p_id;
    RETURN v_tasks;
END $$;

-- Sets a schedule that still stands at p_revision right after the clock was set back: it is due at
-- p_next at the latest, and no due time after now has been fired.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_set_back(p_id text, p_revision bigint, p_next timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE {schema}.strunk_schedules s
    SET next_due = least(s.next_due, p_next), last_due = least(s.last_due, v_now)
    WHERE s.id = p_id AND s.revision = p_revision AND (s.next_due > p_next OR s.last_due > v_now);
    IF FOUND THEN
        DELETE FROM {schema}.strunk_schedule_runs r WHERE r.schedule_id = p_id AND r.due_at > v_now;
    END IF;
END $$;

-- Keeps why a schedule could not be fired, where it still stands at p_revision.
CREATE OR REPLACE FUNCTION {schema}.strunk_schedule_failed(p_id text, p_revision bigint, p_error text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE {schema}.strunk_schedules s SET last_error = p_error
    WHERE s.id = p_id AND s.revision = p_revision AND s.last_error IS DISTINCT FROM p_error
$$;
