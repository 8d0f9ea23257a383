-- Ended tasks (dead letters, cancelled and discarded ones): retried, purged, set back by a person.

-- Whether a task may take a dedup key now. It waits for a transaction under way that has the key,
-- as an insert does; a look alone would not see what that has not yet committed. It tries a row, and
-- takes it away again: until the caller's transaction ends, nobody else gets the key.
CREATE OR REPLACE FUNCTION {schema}.strunk_take_dedup_key(p_id bigint, p_queue text, p_dedup text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    INSERT INTO {schema}.strunk_outbox_tasks (id, seq, created_at, status, kind, key, dedup_key)
    VALUES (p_id, 0, clock_timestamp(), 'scheduled', 'task', p_queue, p_dedup)
    ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL)
        DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_id;
    RETURN true;
END $$;

-- A dead, cancelled or discarded task that a person sets back to pending or scheduled is made whole
-- again. A cancellation is over, and a dedup key that another task has is given up.
CREATE OR REPLACE FUNCTION {schema}.strunk_revive() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    PERFORM pg_current_xact_id();
    NEW.seq := nextval('{schema}.strunk_outbox_id_seq');
    NEW.admitted := NEW.customer_key IS NULL;
    NEW.slot := NULL;
    NEW.isolated := NULL;
    NEW.begin_before := NULL;
    NEW.worker_id := NULL;
    NEW.claim_no := NULL;
    NEW.claimed_at := NULL;
    NEW.finished_at := NULL;
    IF NEW.status = 'pending' THEN
        NEW.due_at := clock_timestamp();
    ELSIF NEW.due_at IS NULL THEN
        NEW.due_at := clock_timestamp();
    END IF;
    IF NEW.dedup_key IS NOT NULL AND NOT {schema}.strunk_take_dedup_key(NEW.id, NEW.key, NEW.dedup_key) THEN
        NEW.dedup_key := NULL;
    END IF;
    DELETE FROM {schema}.strunk_cancels c WHERE c.queue = NEW.key AND c.task_id = NEW.id;
    PERFORM pg_notify({channel}, 'c:' || NEW.key);
    PERFORM pg_notify({channel}, CASE WHEN NEW.status = 'pending' THEN 'q:' || NEW.key ELSE 'due' END);
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER strunk_revive BEFORE UPDATE ON {schema}.strunk_outbox_dead
    FOR EACH ROW WHEN (OLD.kind = 'task' AND NEW.status IN ('pending', 'scheduled'))
    EXECUTE FUNCTION {schema}.strunk_revive();

CREATE OR REPLACE TRIGGER strunk_revive BEFORE UPDATE ON {schema}.strunk_outbox_cancelled
    FOR EACH ROW WHEN (OLD.kind = 'task' AND NEW.status IN ('pending', 'scheduled'))
    EXECUTE FUNCTION {schema}.strunk_revive();

-- Gives ended tasks (dead, cancelled, discarded) all their attempts again: pending, due now, at the
-- end of the queue. A dedup key that another task holds is given up. Wakes the queues.
CREATE OR REPLACE FUNCTION {schema}.strunk_retry_ended(p_ids bigint[]) RETURNS TABLE (id bigint, queue text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_dead   {schema}.strunk_outbox_dead;
    v_queues text[] := '{}';
BEGIN
    PERFORM pg_current_xact_id();
    -- A cancellation is over, also for workers that have not looked since.
    DELETE FROM {schema}.strunk_cancels c WHERE c.task_id = ANY (p_ids);
    FOR v_dead IN
        WITH d AS (
            DELETE FROM {schema}.strunk_outbox_dead x WHERE x.id = ANY (p_ids) AND x.kind = 'task' RETURNING x.*),
        c AS (
            DELETE FROM {schema}.strunk_outbox_cancelled x WHERE x.id = ANY (p_ids) RETURNING x.*)
        SELECT d.* FROM d UNION ALL SELECT c.* FROM c
    LOOP
        FOR i IN 1 .. 2 LOOP
            INSERT INTO {schema}.strunk_outbox_tasks
                (id, seq, backlog_seq, batch_id, created_at, due_at, timeout_ms, max_attempts, priority, admitted,
                 status, kind, key, dedup_key, customer_key, last_error, payload, metadata, errors)
            VALUES (v_dead.id, nextval('{schema}.strunk_outbox_id_seq'), v_dead.backlog_seq, v_dead.batch_id,
                v_dead.created_at, clock_timestamp(), v_dead.timeout_ms, v_dead.max_attempts, v_dead.priority,
                v_dead.customer_key IS NULL, 'pending', v_dead.kind, v_dead.key, v_dead.dedup_key,
                v_dead.customer_key, v_dead.last_error, v_dead.payload, v_dead.metadata, v_dead.errors)
            ON CONFLICT (key, dedup_key) WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL
                OR worker_id IS NULL) DO NOTHING;
            EXIT WHEN FOUND;
            v_dead.dedup_key := NULL;
        END LOOP;
        IF v_dead.batch_id IS NOT NULL THEN
            INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what) VALUES (v_dead.batch_id, -1, v_dead.status);
        END IF;
        IF NOT v_dead.key = ANY (v_queues) THEN
            v_queues := v_queues || v_dead.key;
        END IF;
        id := v_dead.id; queue := v_dead.key;
        RETURN NEXT;
    END LOOP;
    PERFORM pg_notify({channel}, 'c:' || q), pg_notify({channel}, 'q:' || q) FROM unnest(v_queues) q;
END $$;

-- Deletes ended tasks (dead, cancelled, discarded) for good.
CREATE OR REPLACE FUNCTION {schema}.strunk_purge_ended(p_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_dead      bigint;
    v_cancelled bigint;
BEGIN
    DELETE FROM {schema}.strunk_outbox_dead d WHERE d.id = ANY (p_ids) AND d.kind = 'task';
    GET DIAGNOSTICS v_dead = ROW_COUNT;
    DELETE FROM {schema}.strunk_outbox_cancelled c WHERE c.id = ANY (p_ids);
    GET DIAGNOSTICS v_cancelled = ROW_COUNT;
    RETURN v_dead + v_cancelled;
END $$;
