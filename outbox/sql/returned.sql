-- Tasks that were handed to a broker and came back.

-- Makes a dead letter of a task that a worker at a broker gave up. Returns false while the task
-- itself is still on its way out: a forwarder has sent it and has not completed it yet, or was
-- killed before it could. The caller asks again later. A task that was cancelled meanwhile stays so.
-- The row is the delivered one where it is kept, with its history; otherwise what the broker had.
-- Where a database that was restored has given the id to another task, the dead letter gets a new
-- id, which the error names.
CREATE OR REPLACE FUNCTION {schema}.strunk_returned(
    p_id bigint, p_queue text, p_payload text, p_metadata text, p_created timestamptz, p_due timestamptz,
    p_timeout_ms integer, p_attempts integer, p_max_attempts integer, p_priority integer, p_dedup text,
    p_customer text, p_error text, p_stack text, p_by text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_id     bigint := p_id;
    v_error  text := p_error;
    v_errors jsonb;
    v_taken  timestamptz;
BEGIN
    SELECT t.created_at INTO v_taken FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_id;
    IF v_taken = p_created THEN
        RETURN false;
    END IF;
    IF v_taken IS NULL THEN
        SELECT x.created_at INTO v_taken FROM (
            SELECT d.created_at FROM {schema}.strunk_outbox_dead d WHERE d.id = p_id
            UNION ALL SELECT c.created_at FROM {schema}.strunk_outbox_cancelled c WHERE c.id = p_id) x LIMIT 1;
        IF v_taken = p_created THEN
            RETURN true;
        END IF;
    END IF;
    v_errors := {schema}.strunk_take_delivered(p_id, p_created);
    IF v_taken IS NOT NULL OR EXISTS (SELECT 1 FROM {schema}.strunk_delivered_task(p_id) d) THEN
        v_id := nextval('{schema}.strunk_outbox_id_seq');
        v_error := format('task %s, now %s: %s', p_id, v_id, p_error);
    END IF;
    PERFORM {schema}.strunk_note_failure('task', p_queue, p_error);
    INSERT INTO {schema}.strunk_counters (kind, name, dead) VALUES ('queue', p_queue, 1);
    INSERT INTO {schema}.strunk_outbox_dead
        (id, seq, created_at, due_at, finished_at, timeout_ms, attempts, max_attempts, priority, status, kind, key,
         dedup_key, customer_key, last_error, payload, metadata, errors)
    VALUES (v_id, v_id, p_created, p_due, v_now, nullif(p_timeout_ms, 0), least(p_attempts, 30000),
        p_max_attempts, p_priority, 'dead', 'task', p_queue, nullif(p_dedup, ''), nullif(p_customer, ''), v_error,
        p_payload::json, p_metadata::json,
        {schema}.strunk_add_error(v_errors, p_attempts, v_now, v_error, p_stack, p_by));
    PERFORM {schema}.strunk_publish_outcomes(ARRAY[v_id], ARRAY[p_queue], ARRAY['dead'], ARRAY[p_attempts],
        ARRAY[v_error]);
    RETURN true;
END $$;
