-- What a person does to tasks: run now, reschedule, another priority, discard, delete; by functions for
-- many ids, and by the view strunk_tasks.

-- A stored document as jsonb. One that jsonb cannot hold (an escaped NUL, a character that the database's
-- encoding lacks) is shown as a text: it must not keep the other rows from being read.
CREATE OR REPLACE FUNCTION {schema}.strunk_as_jsonb(p_doc json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN p_doc::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(p_doc::text);
END $$;

-- Gives waiting tasks (scheduled, pending) another due time, another priority, or both; null leaves it as it
-- is. Those due by then are pending, at the end of their queue and priority; a failed attempt stays spent.
-- Returns those that it changed. Locks in the order of ids; a task that a claim has taken meanwhile is
-- left alone. The UPDATE of the parent has the trigger strunk_mend_edits do the rest, and wake whoever waits.
CREATE OR REPLACE FUNCTION {schema}.strunk_reschedule(p_ids bigint[], p_due_at timestamptz,
    p_priority integer DEFAULT NULL) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    IF p_priority NOT BETWEEN 0 AND 9 THEN
        RAISE EXCEPTION 'strunk_reschedule: a priority is from 0 to 9, not %', p_priority USING ERRCODE = '22023';
    END IF;
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.id = ANY (p_ids) AND t.status IN ('scheduled', 'pending') ORDER BY t.id FOR UPDATE;
    RETURN QUERY UPDATE {schema}.strunk_outbox t
    SET due_at = coalesce(p_due_at, t.due_at), priority = coalesce(p_priority, t.priority),
        status = CASE WHEN p_due_at > clock_timestamp() THEN 'scheduled' WHEN p_due_at IS NOT NULL THEN 'pending'
            ELSE t.status END
    WHERE t.id = ANY (p_ids) AND t.kind = 'task' AND t.status IN ('scheduled', 'pending') RETURNING t.id;
END $$;

-- Gives waiting tasks up: they end as discarded. Returns those that it changed. Locks as strunk_reschedule.
CREATE OR REPLACE FUNCTION {schema}.strunk_discard(p_ids bigint[], p_reason text DEFAULT '') RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_ids bigint[];
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.id = ANY (p_ids) AND t.status IN ('scheduled', 'pending') ORDER BY t.id FOR UPDATE;
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = ANY (p_ids) AND t.status IN ('scheduled', 'pending') RETURNING t AS task),
    counted AS (
        INSERT INTO {schema}.strunk_counters (kind, name, discarded)
        SELECT 'queue', (d.task).key, count(*) FROM d GROUP BY 2)
    SELECT array_agg({schema}.strunk_store_ended(d.task, NULL, 'discarded',
        'discarded' || coalesce(': ' || nullif(p_reason, ''), ''), NULL, NULL)) INTO v_ids FROM d;
    PERFORM pg_notify({channel}, 'r:' || q.key)
    FROM (SELECT DISTINCT c.key FROM {schema}.strunk_outbox_cancelled c WHERE c.id = ANY (v_ids)) q;
    RETURN QUERY SELECT unnest(v_ids);
END $$;

-- Deletes tasks for good: those that wait, dead letters, cancelled and discarded ones. Returns those that it
-- deleted: none that a worker has, and none that is delivered. Locks as strunk_reschedule.
CREATE OR REPLACE FUNCTION {schema}.strunk_delete_tasks(p_ids bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_outbox_tasks t
    WHERE t.id = ANY (p_ids) AND t.status IN ('scheduled', 'pending') ORDER BY t.id FOR UPDATE;
    RETURN QUERY
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_tasks t
        WHERE t.id = ANY (p_ids) AND t.status IN ('scheduled', 'pending') RETURNING t.id, t.batch_id),
    batches AS (
        INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what)
        SELECT d.batch_id, count(*), 'deleted' FROM d WHERE d.batch_id IS NOT NULL GROUP BY d.batch_id)
    SELECT d.id FROM d;
    RETURN QUERY DELETE FROM {schema}.strunk_outbox_dead d WHERE d.id = ANY (p_ids) AND d.kind = 'task' RETURNING d.id;
    RETURN QUERY DELETE FROM {schema}.strunk_outbox_cancelled c WHERE c.id = ANY (p_ids) RETURNING c.id;
END $$;

-- Tasks of every status, for a person at psql. UPDATE of due_at, priority and payload of a task that waits,
-- and DELETE of one that waits or has ended without success, do what the functions above do. Anything else
-- is refused, with a reason.
CREATE OR REPLACE VIEW {schema}.strunk_tasks AS
    SELECT o.id, o.status, o.key AS queue, o.priority, o.attempts, o.max_attempts, o.created_at, o.due_at,
        o.claimed_at, o.finished_at, o.customer_key, o.dedup_key, o.worker_id, o.last_error,
        {schema}.strunk_as_jsonb(o.payload) AS payload, {schema}.strunk_as_jsonb(o.metadata) AS metadata, o.errors
    FROM {schema}.strunk_outbox o WHERE o.kind = 'task';

-- What a person writes to strunk_tasks. A task that a claim has taken since it was read is left alone, and
-- not counted.
CREATE OR REPLACE FUNCTION {schema}.strunk_write_task() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_hint constant text := CASE
        WHEN TG_OP = 'INSERT' THEN 'enqueue by strunk_enqueue(queue, payload)'
        WHEN OLD.status = 'claimed' THEN format('a worker has it: SELECT strunk_cancel(%s) asks it to stop', OLD.id)
        WHEN OLD.status = 'delivered' THEN 'it is done: enqueue another one'
        ELSE format('SELECT * FROM strunk_retry_ended(ARRAY[%s]) makes it pending', OLD.id) END;
    v_other text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'strunk_tasks: nothing is inserted here' USING ERRCODE = '22023', HINT = v_hint;
    ELSIF TG_OP = 'DELETE' AND OLD.status IN ('claimed', 'delivered') THEN
        RAISE EXCEPTION 'strunk_tasks: task % is %: it cannot be deleted', OLD.id, OLD.status
            USING ERRCODE = '22023', HINT = v_hint;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM {schema}.strunk_delete_tasks(ARRAY[OLD.id]);
        RETURN CASE WHEN FOUND THEN OLD END;
    ELSIF OLD.status NOT IN ('scheduled', 'pending') THEN
        RAISE EXCEPTION 'strunk_tasks: task % is %: only a task that waits can be changed', OLD.id, OLD.status
            USING ERRCODE = '22023', HINT = v_hint;
    END IF;
    SELECT string_agg(n.key, ', ' ORDER BY n.key) INTO v_other FROM jsonb_each(to_jsonb(NEW)) n
    WHERE n.key NOT IN ('due_at', 'priority', 'payload') AND n.value IS DISTINCT FROM to_jsonb(OLD) -> n.key;
    IF v_other IS NOT NULL THEN
        RAISE EXCEPTION 'strunk_tasks: % cannot be changed, only due_at, priority and payload', v_other
            USING ERRCODE = '22023', HINT = 'see strunk_cancel, strunk_discard and strunk_retry_ended';
    ELSIF NEW.due_at IS NULL OR NEW.priority IS NULL THEN
        RAISE EXCEPTION 'strunk_tasks: due_at and priority cannot be null' USING ERRCODE = '22023';
    END IF;
    PERFORM {schema}.strunk_reschedule(ARRAY[OLD.id], CASE WHEN NEW.due_at IS DISTINCT FROM OLD.due_at
        THEN NEW.due_at END, CASE WHEN NEW.priority <> OLD.priority THEN NEW.priority::integer END);
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF NEW.payload IS DISTINCT FROM OLD.payload THEN
        UPDATE {schema}.strunk_outbox_tasks t SET payload = NEW.payload::text::json
        WHERE t.id = OLD.id AND t.status IN ('scheduled', 'pending');
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER strunk_write_task INSTEAD OF INSERT OR UPDATE OR DELETE ON {schema}.strunk_tasks
    FOR EACH ROW EXECUTE FUNCTION {schema}.strunk_write_task();
