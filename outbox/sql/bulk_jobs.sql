-- Bulk jobs: one act on every task that matches a filter. A job is a row. A slice of it is one transaction,
-- which locks the row, acts on the next matching tasks in the order of their ids, and moves the position
-- past them. So whoever dies, no task is acted on twice, the counts are exact, and any process goes on.

-- Checks a filter for an act, and returns it with the times of the database's clock for the ages
-- older_than_seconds and younger_than_seconds (enqueued_until, enqueued_from). An unknown key is refused: a
-- misspelt one must not choose everything.
CREATE OR REPLACE FUNCTION {schema}.strunk_task_filter(p_act text, p_filter jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now      constant timestamptz := clock_timestamp();
    v_filter   jsonb := jsonb_strip_nulls(coalesce(p_filter, '{}'));
    v_statuses constant text[] := CASE
        WHEN p_act = 'retry' THEN ARRAY['dead', 'cancelled', 'discarded']
        WHEN p_act = 'cancel' THEN ARRAY['', 'scheduled', 'pending', 'claimed']
        WHEN p_act = 'delete' THEN ARRAY['', 'scheduled', 'pending', 'dead', 'cancelled', 'discarded']
        WHEN p_act IN ('run_now', 'reschedule', 'set_priority', 'discard') THEN ARRAY['', 'scheduled', 'pending'] END;
    v_status   constant text := coalesce(nullif(v_filter ->> 'status', ''), v_statuses[1]);
    v_unknown  text;
BEGIN
    SELECT string_agg(k, ', ') INTO v_unknown FROM jsonb_object_keys(v_filter) k WHERE k NOT IN ('status', 'queue',
        'customer_key', 'dedup_key', 'error', 'fingerprint', 'metadata', 'payload', 'older_than_seconds',
        'younger_than_seconds', 'enqueued_until', 'enqueued_from');
    IF v_statuses IS NULL THEN
        RAISE EXCEPTION 'strunk: % is no act', coalesce(p_act, 'null') USING ERRCODE = '22023',
            HINT = 'retry, run_now, reschedule, set_priority, cancel, discard and delete are';
    ELSIF v_unknown IS NOT NULL THEN
        RAISE EXCEPTION 'strunk: a filter has no %', v_unknown USING ERRCODE = '22023';
    ELSIF NOT v_status = ANY (v_statuses) THEN
        RAISE EXCEPTION 'strunk: % does nothing to tasks of the status %', p_act, v_status USING ERRCODE = '22023',
            HINT = 'it takes ' || array_to_string(array_remove(v_statuses, ''), ', ');
    END IF;
    RETURN v_filter - 'older_than_seconds' - 'younger_than_seconds' || jsonb_build_object('status', v_status)
        || CASE WHEN v_filter ? 'older_than_seconds' THEN jsonb_build_object('enqueued_until',
            v_now - (v_filter ->> 'older_than_seconds')::float8 * interval '1 second') ELSE '{}' END
        || CASE WHEN v_filter ? 'younger_than_seconds' THEN jsonb_build_object('enqueued_from',
            v_now - (v_filter ->> 'younger_than_seconds')::float8 * interval '1 second') ELSE '{}' END;
END $$;

-- The next tasks that a filter (see strunk_task_filter) chooses for an act: of those with ids above p_after,
-- up to p_until, it looks at p_examine at most and returns p_limit at most (null: all), in the order of
-- their ids. last_id is where to go on; over, that nothing is left. Without a status, tasks that run are
-- chosen for their cancellation alone.
CREATE OR REPLACE FUNCTION {schema}.strunk_matching(p_act text, p_filter jsonb, p_after bigint, p_until bigint,
    p_examine integer, p_limit integer) RETURNS TABLE (ids bigint[], last_id bigint, examined bigint, over boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_status   constant text := p_filter ->> 'status';
    v_ended    constant boolean := v_status IN ('dead', 'cancelled', 'discarded');
    v_queue    constant text := nullif(p_filter ->> 'queue', '');
    v_part     record := {schema}.strunk_task_part(CASE WHEN v_ended THEN v_status ELSE '' END, v_queue, NULL);
    v_ordering constant text := replace(v_part.ordering, 'DESC', 'ASC');
BEGIN
    EXECUTE format('SELECT max(y.id), count(*) FROM (SELECT x.id FROM {schema}.%I x
        WHERE %s AND x.id > $3 AND x.id <= $4 ORDER BY %s LIMIT $5) y', v_part.relation, v_part.condition, v_ordering)
    INTO last_id, examined USING v_status, v_queue, p_after, p_until, p_examine;
    EXECUTE format('SELECT coalesce(array_agg(y.id), ''{}'') FROM (SELECT x.id FROM {schema}.%I x
        WHERE %s AND x.id > $3 AND x.id <= $4 AND x.kind = ''task'' AND %s
            AND CASE WHEN $1 = '''' THEN $6 OR x.status <> ''claimed'' ELSE %s END
            AND ($7 IS NULL OR x.customer_key = $7) AND ($8 IS NULL OR x.dedup_key = $8)
            AND ($9 IS NULL OR strpos(x.last_error, $9) > 0)
            AND ($10 IS NULL OR x.created_at >= $10) AND ($11 IS NULL OR x.created_at <= $11)
            AND ($12 IS NULL OR {schema}.strunk_fingerprint(x.last_error) = $12)
            AND ($13 IS NULL OR {schema}.strunk_as_jsonb(x.metadata) @> $13)
            AND ($14 IS NULL OR {schema}.strunk_as_jsonb(x.payload) @> $14)
        ORDER BY %s LIMIT $5) y', v_part.relation, v_part.condition, v_part.of_queue,
        CASE WHEN v_ended THEN 'true' ELSE 'x.status = $1' END, v_ordering)
    INTO ids USING v_status, v_queue, p_after, last_id, p_limit, p_act = 'cancel',
        nullif(p_filter ->> 'customer_key', ''), nullif(p_filter ->> 'dedup_key', ''),
        nullif(p_filter ->> 'error', ''), (p_filter ->> 'enqueued_from')::timestamptz,
        (p_filter ->> 'enqueued_until')::timestamptz, nullif(p_filter ->> 'fingerprint', ''),
        p_filter -> 'metadata', p_filter -> 'payload';
    over := examined < p_examine AND cardinality(ids) IS DISTINCT FROM p_limit;
    last_id := coalesce(CASE WHEN cardinality(ids) = p_limit THEN ids[p_limit] ELSE last_id END, p_until);
    RETURN NEXT;
END $$;

-- How many tasks an act would be tried on, by a look at p_examine tasks at most: precise says exact, or at_least where
-- there were more.
CREATE OR REPLACE FUNCTION {schema}.strunk_preview_job(p_act text, p_filter jsonb, p_examine bigint DEFAULT 1000000)
RETURNS TABLE (matching bigint, precise text, examined bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_filter jsonb := {schema}.strunk_task_filter(p_act, p_filter);
    v_until  constant bigint := (SELECT s.last_value FROM {schema}.strunk_outbox_id_seq s);
    v_next   record;
BEGIN
    matching := 0; precise := 'at_least'; examined := 0;
    SELECT 0::bigint AS last_id, false AS over INTO v_next;
    WHILE examined < p_examine AND NOT v_next.over LOOP
        SELECT m.* INTO v_next FROM {schema}.strunk_matching(p_act, v_filter, v_next.last_id, v_until,
            least(10000, p_examine - examined)::integer, NULL) m;
        matching := matching + cardinality(v_next.ids);
        examined := examined + v_next.examined;
    END LOOP;
    IF v_next.over THEN
        precise := 'exact';
    END IF;
    RETURN NEXT;
END $$;

-- Starts a job and returns its id. p_filter chooses tasks: {"status": "dead", "queue": "emails", "error": "timeout"},
-- see strunk_task_filter. Tasks that are enqueued later are left alone; one that was there and begins to
-- match while the job runs is acted on unless the job has passed its id. p_per_second bounds how many tasks
-- it tries in a second; null: as many as it can. With p_one_first it stops after the first one that it changes,
-- until it is resumed. p_by says who starts it; null: the role.
CREATE OR REPLACE FUNCTION {schema}.strunk_start_job(p_act text, p_filter jsonb, p_due_at timestamptz DEFAULT NULL,
    p_priority integer DEFAULT NULL, p_reason text DEFAULT '', p_per_second double precision DEFAULT NULL,
    p_one_first boolean DEFAULT false, p_by text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_filter jsonb := {schema}.strunk_task_filter(p_act, p_filter);
    v_id     bigint;
    v_what   text := CASE
        WHEN (p_act = 'reschedule') <> (p_due_at IS NOT NULL) THEN 'only reschedule takes a due time, and it must'
        WHEN (p_act = 'set_priority') <> (p_priority IS NOT NULL) THEN 'only set_priority takes a priority, and it must'
        WHEN p_priority NOT BETWEEN 0 AND 9 THEN 'a priority is from 0 to 9'
        WHEN NOT p_per_second BETWEEN 0.001 AND 1000000 THEN 'a rate is from 0.001 to 1000000 in a second' END;
BEGIN
    IF v_what IS NOT NULL THEN
        RAISE EXCEPTION 'strunk_start_job: %', v_what USING ERRCODE = '22023';
    END IF;
    INSERT INTO {schema}.strunk_bulk_jobs (until_id, started_at, changed_at, next_at, due_at, per_second, priority,
        one_first, act, started_by, reason, filter)
    SELECT s.last_value, clock_timestamp(), clock_timestamp(), clock_timestamp(), p_due_at, p_per_second, p_priority,
        coalesce(p_one_first, false), p_act, left(coalesce(nullif(p_by, ''), {schema}.strunk_whoami()), 300),
        left(coalesce(p_reason, ''), 1000), v_filter
    FROM {schema}.strunk_outbox_id_seq s RETURNING id INTO v_id;
    PERFORM pg_notify({channel}, 'jobs');
    RETURN v_id;
END $$;

-- Stops a job after the slice under way; returns whether it ran. Locks its row.
CREATE OR REPLACE FUNCTION {schema}.strunk_stop_job(p_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE {schema}.strunk_bulk_jobs j SET state = 'stopped', changed_at = clock_timestamp()
    WHERE j.id = p_id AND j.state = 'running';
    RETURN FOUND;
END $$;

-- Has a stopped or failed job go on where it was; returns whether there was one. Locks its row.
CREATE OR REPLACE FUNCTION {schema}.strunk_resume_job(p_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE {schema}.strunk_bulk_jobs j SET state = 'running', failures = 0, next_at = clock_timestamp(),
        changed_at = clock_timestamp()
    WHERE j.id = p_id AND j.state IN ('stopped', 'failed');
    IF FOUND THEN
        PERFORM pg_notify({channel}, 'jobs');
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- Gives a job that has not ended another rate (null: none), from its next slice on; returns whether there was one.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_job_rate(p_id bigint, p_per_second double precision) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT p_per_second BETWEEN 0.001 AND 1000000 THEN
        RAISE EXCEPTION 'strunk_set_job_rate: a rate is from 0.001 to 1000000 in a second' USING ERRCODE = '22023';
    END IF;
    UPDATE {schema}.strunk_bulk_jobs j SET per_second = p_per_second, next_at = clock_timestamp()
    WHERE j.id = p_id AND j.state <> 'done';
    PERFORM pg_notify({channel}, 'jobs');
    RETURN FOUND;
END $$;

-- The running job whose next slice is due first, and in how many milliseconds; no row where none runs.
CREATE OR REPLACE FUNCTION {schema}.strunk_next_job() RETURNS TABLE (id bigint, wait_ms bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    SELECT j.id, greatest(0, ceil(extract(epoch FROM j.next_at - clock_timestamp()) * 1000))::bigint
    FROM {schema}.strunk_bulk_jobs j WHERE j.state = 'running' ORDER BY j.next_at LIMIT 1
$$;

-- Does the act of a job to tasks; returns how many it has changed. The others have begun or ended meanwhile.
CREATE OR REPLACE FUNCTION {schema}.strunk_act_on(p_job {schema}.strunk_bulk_jobs, p_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE p_job.act
        WHEN 'retry' THEN (SELECT count(*) FROM {schema}.strunk_retry_ended(p_ids))
        WHEN 'run_now' THEN (SELECT count(*) FROM {schema}.strunk_reschedule(p_ids, clock_timestamp()))
        WHEN 'reschedule' THEN (SELECT count(*) FROM {schema}.strunk_reschedule(p_ids, p_job.due_at))
        WHEN 'set_priority' THEN (SELECT count(*) FROM {schema}.strunk_reschedule(p_ids, NULL, p_job.priority))
        WHEN 'discard' THEN (SELECT count(*) FROM {schema}.strunk_discard(p_ids, p_job.reason))
        WHEN 'delete' THEN (SELECT count(*) FROM {schema}.strunk_delete_tasks(p_ids))
        WHEN 'cancel' THEN (SELECT count(*) FROM unnest(p_ids) i
            WHERE {schema}.strunk_cancel(i, p_job.reason) IN ('cancelled', 'cancelling')) END;
END $$;

-- Does the act to tasks, one by one where they cannot all be changed together: one that the database refuses is
-- counted as failed, and stops no other. What a repetition may mend is raised.
CREATE OR REPLACE FUNCTION {schema}.strunk_act_on_each(p_job {schema}.strunk_bulk_jobs, p_ids bigint[])
RETURNS TABLE (done bigint, failed bigint, error text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id bigint;
BEGIN
    done := 0; failed := 0;
    BEGIN
        done := {schema}.strunk_act_on(p_job, p_ids);
    EXCEPTION WHEN serialization_failure OR deadlock_detected OR lock_not_available THEN
        RAISE;
    WHEN OTHERS THEN
        FOREACH v_id IN ARRAY p_ids LOOP
            BEGIN
                done := done + {schema}.strunk_act_on(p_job, ARRAY[v_id]);
            EXCEPTION WHEN serialization_failure OR deadlock_detected OR lock_not_available THEN
                RAISE;
            WHEN OTHERS THEN
                failed := failed + 1;
                error := left(format('task %s: %s', v_id, SQLERRM), 1000);
            END;
        END LOOP;
    END;
    RETURN NEXT;
END $$;

-- Does the next slice of a job: looks at twenty times p_rows tasks at most, and acts on p_rows at most, on those
-- of one second where it has a rate. No row where another process does one, or none is due. Locks: the row of the
-- job, and what the act locks.
CREATE OR REPLACE FUNCTION {schema}.strunk_work_job(p_id bigint, p_rows integer, p_process text)
RETURNS TABLE (state text, act text, started_by text, done bigint, failed bigint, skipped bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now   constant timestamptz := clock_timestamp();
    v_job   {schema}.strunk_bulk_jobs;
    v_found record;
    v_did   record;
BEGIN
    SELECT j.* INTO v_job FROM {schema}.strunk_bulk_jobs j
    WHERE j.id = p_id AND j.state = 'running' AND j.next_at <= v_now FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT m.* INTO v_found FROM {schema}.strunk_matching(v_job.act, v_job.filter, v_job.position, v_job.until_id,
        p_rows * 20, CASE WHEN v_job.one_first THEN 1 ELSE least(p_rows,
            CASE WHEN v_job.per_second IS NOT NULL THEN greatest(1, ceil(v_job.per_second)) END)::integer END) m;
    SELECT e.* INTO v_did FROM {schema}.strunk_act_on_each(v_job, v_found.ids) e;
    RETURN QUERY UPDATE {schema}.strunk_bulk_jobs j SET position = v_found.last_id,
        examined = j.examined + v_found.examined, done = j.done + v_did.done, failed = j.failed + v_did.failed,
        skipped = j.skipped + cardinality(v_found.ids) - v_did.done - v_did.failed, failures = 0,
        last_error = coalesce(v_did.error, j.last_error), one_first = j.one_first AND v_did.done = 0,
        state = CASE WHEN v_found.over THEN 'done' WHEN j.one_first AND v_did.done > 0 THEN 'stopped'
            ELSE 'running' END,
        next_at = v_now + coalesce(cardinality(v_found.ids) / j.per_second, 0) * interval '1 second',
        changed_at = v_now, last_process = p_process
    WHERE j.id = p_id
    RETURNING j.state::text, j.act::text, j.started_by, j.done, j.failed, j.skipped;
END $$;

-- Notes that a slice of a job could not be done; it is tried again after p_pause_ms, and fails after p_most in a row.
-- Returns the job's state.
CREATE OR REPLACE FUNCTION {schema}.strunk_job_failed(p_id bigint, p_error text, p_pause_ms bigint, p_most integer)
RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    UPDATE {schema}.strunk_bulk_jobs j SET failures = j.failures + 1, last_error = left(p_error, 1000),
        next_at = clock_timestamp() + p_pause_ms * interval '1 millisecond', changed_at = clock_timestamp(),
        state = CASE WHEN j.failures + 1 >= p_most THEN 'failed' ELSE 'running' END
    WHERE j.id = p_id AND j.state = 'running' RETURNING j.state
$$;

-- Deletes up to p_limit jobs that do not run and have not changed for p_keep_ms.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_jobs(p_keep_ms bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_n bigint;
BEGIN
    DELETE FROM {schema}.strunk_bulk_jobs j WHERE j.id = ANY (ARRAY(
        SELECT o.id FROM {schema}.strunk_bulk_jobs o WHERE o.state <> 'running'
            AND o.changed_at < clock_timestamp() - p_keep_ms * interval '1 millisecond'
        ORDER BY o.id LIMIT p_limit));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;
