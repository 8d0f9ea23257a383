-- Edits by a person at psql. The library itself never updates strunk_outbox, only its partitions:
-- what is here costs it nothing.

-- Makes tasks whole again that an UPDATE of strunk_outbox has made pending or scheduled, has ended,
-- or has given to another queue, priority or customer key. They draw a new number, as every task
-- that becomes pending does, so that they lie beyond all watermarks, and are admitted anew. Whoever
-- may wait for them is woken. A task that a worker has claimed is left alone: its handler may run.
-- One that a person takes from its worker draws a new number, so that its claims can be told apart.
-- Only a worker can claim a task. Tasks that were dead, cancelled or discarded are strunk_revive's.
-- The transaction has an id already when a seq is drawn: that of the edit.
CREATE OR REPLACE FUNCTION {schema}.strunk_mend_edits() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_edited bigint[];
BEGIN
    IF EXISTS (SELECT 1 FROM edited n WHERE n.kind = 'task' AND n.status = 'claimed' AND NOT EXISTS (
        SELECT 1 FROM original o WHERE o.id = n.id AND o.kind = 'task' AND o.status = 'claimed')) THEN
        RAISE EXCEPTION 'strunk_outbox: a task is claimed by a worker alone; nothing was changed' USING
            ERRCODE = '22023', HINT = 'set status to pending, scheduled or dead';
    END IF;
    v_edited := ARRAY(SELECT n.id FROM edited n JOIN original o ON o.id = n.id AND o.kind = 'task'
        WHERE n.kind = 'task' AND n.status IN ('pending', 'scheduled')
            AND o.status IN ('pending', 'scheduled', 'delivered')
            AND (n.status, n.key, n.priority, n.customer_key, n.due_at)
                IS DISTINCT FROM (o.status, o.key, o.priority, o.customer_key, o.due_at)
        ORDER BY n.seq);
    UPDATE {schema}.strunk_outbox_tasks t
    SET seq = e.seq, admitted = t.customer_key IS NULL, slot = NULL, claimed_at = NULL, finished_at = NULL,
        due_at = CASE WHEN t.status = 'scheduled' THEN coalesce(t.due_at, v_now) ELSE t.due_at END
    FROM (SELECT u.id, nextval('{schema}.strunk_outbox_id_seq') AS seq FROM unnest(v_edited) AS u(id)) e
    WHERE t.id = e.id;
    UPDATE {schema}.strunk_outbox_tasks t SET seq = nextval('{schema}.strunk_outbox_id_seq')
    FROM edited n JOIN original o ON o.id = n.id AND o.kind = 'task' AND o.status = 'claimed'
    WHERE n.kind = 'task' AND n.status IN ('pending', 'scheduled') AND t.id = n.id;
    UPDATE {schema}.strunk_outbox_dead d SET finished_at = v_now
    FROM edited n WHERE n.kind = 'task' AND n.status = 'dead' AND d.id = n.id AND d.finished_at IS NULL;
    UPDATE {schema}.strunk_outbox_cancelled d SET finished_at = v_now
    FROM edited n WHERE n.kind = 'task' AND n.status IN ('cancelled', 'discarded') AND d.id = n.id
        AND d.finished_at IS NULL;
    INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what)
    SELECT x.batch_id, sum(x.n), CASE x.status WHEN 'delivered' THEN 'done' ELSE x.status END FROM (
        SELECT o.batch_id, -1 AS n, o.status FROM original o JOIN edited e ON e.id = o.id AND e.kind = 'task'
        WHERE o.kind = 'task' AND o.batch_id = e.batch_id AND o.status <> e.status
        UNION ALL
        SELECT e.batch_id, 1, e.status FROM edited e JOIN original o ON o.id = e.id AND o.kind = 'task'
        WHERE e.kind = 'task' AND o.batch_id = e.batch_id AND o.status <> e.status) x
    WHERE x.status NOT IN ('scheduled', 'pending', 'claimed') GROUP BY x.batch_id, x.status;
    PERFORM {schema}.strunk_publish_outcomes(array_agg(e.id), array_agg(e.key), array_agg(e.status),
        array_agg(e.attempts::integer), array_agg(e.last_error))
    FROM edited e JOIN original o ON o.id = e.id AND o.kind = 'task'
    WHERE e.kind = 'task' AND o.status <> e.status AND e.status NOT IN ('scheduled', 'pending', 'claimed');
    PERFORM pg_notify({channel}, w.topic) FROM (
        SELECT DISTINCT CASE WHEN t.status = 'pending' THEN 'q:' || t.key ELSE 'due' END AS topic
        FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (v_edited)) w;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER strunk_mend_edits AFTER UPDATE ON {schema}.strunk_outbox
    REFERENCING OLD TABLE AS original NEW TABLE AS edited
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.strunk_mend_edits();

-- Counts members of batches that a DELETE of strunk_outbox has taken away before they had ended.
CREATE OR REPLACE FUNCTION {schema}.strunk_note_deleted() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.strunk_batch_changes (batch_id, n, what)
    SELECT o.batch_id, count(*), 'deleted' FROM original o
    WHERE o.batch_id IS NOT NULL AND o.status IN ('scheduled', 'pending', 'claimed') GROUP BY o.batch_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER strunk_note_deleted AFTER DELETE ON {schema}.strunk_outbox
    REFERENCING OLD TABLE AS original FOR EACH STATEMENT EXECUTE FUNCTION {schema}.strunk_note_deleted();
