-- Outcomes as events: of the queues that ask for it, how a task ends is a state event, whose entity is the task.
--
-- It is published in the transaction that ends the task, under the lock of the task's snapshot: so the outcomes of one
-- task have versions in the order of the commits. A queue that does not ask for it pays one look at strunk_queues for a
-- dead, cancelled or discarded task, and nothing for one that is done.

-- Says as which entity type the outcomes of a queue are published; null: not at all. Returns whether that is new.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_outcomes(p_queue text, p_type text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    IF coalesce(octet_length(p_queue), 0) NOT BETWEEN 1 AND 200 OR octet_length(p_type) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'strunk_set_outcomes: the names must have 1 to 200 bytes' USING ERRCODE = '22023';
    END IF;
    PERFORM 1 FROM {schema}.strunk_queues q WHERE q.queue = p_queue AND q.outcome_type IS NOT DISTINCT FROM p_type;
    IF FOUND OR (p_type IS NULL AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_queues q WHERE q.queue = p_queue)) THEN
        RETURN false;
    END IF;
    INSERT INTO {schema}.strunk_queues AS q (queue, outcome_type) VALUES (p_queue, p_type)
    ON CONFLICT (queue) DO UPDATE SET outcome_type = excluded.outcome_type;
    RETURN true;
END $$;

-- Publishes that these tasks have ended, those whose queues ask for it. Arrays are of full length.
CREATE OR REPLACE FUNCTION {schema}.strunk_publish_outcomes(p_ids bigint[], p_queues text[], p_statuses text[],
    p_attempts integer[], p_errors text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_types  text[];
    v_ids    text[];
    v_states text[];
BEGIN
    SELECT array_agg(q.outcome_type ORDER BY u.id), array_agg(u.id::text ORDER BY u.id), array_agg(json_build_object(
        'id', u.id, 'queue', u.queue, 'status', CASE u.status WHEN 'delivered' THEN 'done' ELSE u.status END,
        'attempts', u.attempts, 'error', coalesce(u.error, ''), 'ended_at', clock_timestamp())::text ORDER BY u.id)
    INTO v_types, v_ids, v_states
    FROM unnest(p_ids, p_queues, p_statuses, p_attempts, p_errors) AS u(id, queue, status, attempts, error)
    JOIN {schema}.strunk_queues q ON q.queue = u.queue WHERE q.outcome_type IS NOT NULL;
    IF v_ids IS NOT NULL THEN
        PERFORM 1 FROM {schema}.strunk_publish_many(v_types, v_ids, v_states, ARRAY[NULL], ARRAY[NULL],
            CASE WHEN cardinality(v_ids) = 1 THEN ARRAY[NULL] ELSE array_fill(NULL::text, ARRAY[cardinality(v_ids)])
            END, true);
    END IF;
END $$;

-- strunk_complete, or with results (not null) strunk_complete_results, and publishes which tasks are done.
CREATE OR REPLACE FUNCTION {schema}.strunk_complete_publishing(p_queue text, p_worker bigint, p_ids bigint[],
    p_claims bigint[], p_results text[], p_keep boolean) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_ids      bigint[];
    v_queues   text[];
    v_attempts integer[];
    v_done     bigint[];
BEGIN
    -- Neither changes while the task is claimed under its token.
    SELECT array_agg(t.id), array_agg(t.key), array_agg(t.attempts::integer) INTO v_ids, v_queues, v_attempts
    FROM {schema}.strunk_outbox_tasks t WHERE t.id = ANY (p_ids);
    IF p_results IS NULL THEN
        v_done := ARRAY(SELECT c.id FROM {schema}.strunk_complete(p_worker, p_ids, p_claims, p_keep) AS c(id));
    ELSE
        v_done := ARRAY(SELECT c.id FROM {schema}.strunk_complete_results(p_queue, p_worker, p_ids, p_claims, p_results,
            p_keep) AS c(id));
    END IF;
    PERFORM {schema}.strunk_publish_outcomes(array_agg(u.id), array_agg(u.queue), array_agg('delivered'::text),
        array_agg(u.attempts), array_agg(NULL::text))
    FROM unnest(v_ids, v_queues, v_attempts) AS u(id, queue, attempts) WHERE u.id = ANY (v_done);
    RETURN QUERY SELECT unnest(v_done);
END $$;

-- strunk_complete_or_fail that publishes that the task is done.
CREATE OR REPLACE FUNCTION {schema}.strunk_complete_publishing_or_fail(p_worker bigint, p_id bigint, p_claim bigint,
    p_keep boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_complete_publishing(NULL, p_worker, ARRAY[p_id], ARRAY[p_claim], NULL, p_keep);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_complete_publishing_or_fail: task % is no longer claimed by worker %', p_id,
            p_worker USING ERRCODE = 'STR01';
    END IF;
END $$;

-- Deletes up to p_limit snapshots of outcomes older than p_keep_ms, of tasks that cannot end again; returns how many.
CREATE OR REPLACE FUNCTION {schema}.strunk_reap_outcomes(p_keep_ms bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_keep_ms * interval '1 millisecond';
    v_n      bigint;
BEGIN
    DELETE FROM {schema}.strunk_snapshots s WHERE s.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_snapshots o
        WHERE o.entity_type = ANY (ARRAY(SELECT DISTINCT q.outcome_type FROM {schema}.strunk_queues q
                WHERE q.outcome_type IS NOT NULL))
            AND o.updated_at < v_before AND o.state ->> 'id' = o.entity_id AND o.state ->> 'ended_at' IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_tasks t WHERE t.id = (o.state ->> 'id')::bigint)
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_dead d WHERE d.id = (o.state ->> 'id')::bigint)
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_outbox_cancelled c WHERE c.id = (o.state ->> 'id')::bigint)
        LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;
