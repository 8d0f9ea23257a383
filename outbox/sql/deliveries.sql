-- Deliveries to one subscriber. Those of an entity follow one another, by version. What a row is:
--   retrying  scheduled, with due_at: the next attempt comes then
--   parked    scheduled, without due_at, the first of its entity: it failed, a person has to act
--   waiting   scheduled, without due_at, not the first: it waits for those before it
--   due       pending
--   running   claimed; claim_no is the epoch of the owner that runs it
--   dead      in strunk_outbox_dead

-- Adds a delivery, a copy of an event for one subscriber alone. p_state is 'retrying' (due after
-- p_delay_ms), 'parked' (until a person acts), 'dead', or 'waiting': behind the deliveries that the
-- entity has. Returns 'added', also where it is there already, from before a crash; 'free' where a
-- waiting one has none to wait for, and is not added; 'epoch_over' where the epoch is another.
CREATE OR REPLACE FUNCTION {schema}.strunk_add_delivery(
    p_name text, p_epoch bigint, p_type text, p_entity text, p_id bigint, p_position bigint, p_version bigint,
        p_published timestamptz,
    p_schema_version text, p_payload text, p_metadata text, p_diff text, p_attempts integer, p_max_attempts integer,
    p_error text, p_stack text, p_worker_name text, p_state text, p_delay_ms bigint)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_now      timestamptz := clock_timestamp();
    v_errors   jsonb;
    v_id       bigint;
    v_attempts integer := least(p_attempts, 32767);
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RETURN 'epoch_over';
    END IF;
    IF p_state = 'waiting' THEN
        PERFORM 1 FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name AND d.key = p_type
            AND d.entity_id = p_entity LIMIT 1;
        IF NOT FOUND THEN
            RETURN 'free';
        END IF;
    END IF;
    IF p_state <> 'dead' THEN
        PERFORM 1 FROM {schema}.strunk_outbox_deliveries d
        WHERE d.subscriber = p_name AND d.key = p_type AND d.entity_id = p_entity AND d.version = p_version
            AND d.position = p_position;
        IF FOUND THEN
            RETURN 'added';
        END IF;
    END IF;
    SELECT r.errors INTO v_errors FROM {schema}.strunk_retries r
    WHERE r.subscriber = p_name AND r.position = p_position AND r.entity_id = CASE WHEN p_position = 0
        THEN p_entity ELSE '' END;
    v_errors := {schema}.strunk_add_error(v_errors, p_attempts, v_now, p_error, p_stack, p_worker_name);
    PERFORM {schema}.strunk_note_failure('event', p_name, p_error);
    INSERT INTO {schema}.strunk_counters (kind, name, entity_type, dead, parked)
    SELECT 'subscriber', p_name, p_type, (p_state = 'dead')::integer, (p_state = 'parked')::integer
    WHERE p_state IN ('dead', 'parked');
    PERFORM pg_current_xact_id();
    v_id := nextval('{schema}.strunk_outbox_id_seq');
    IF p_state = 'dead' THEN
        INSERT INTO {schema}.strunk_outbox_dead
            (id, seq, position, version, created_at, finished_at, attempts, max_attempts, status, kind, key, entity_id,
             subscriber, schema_version, last_error, payload, metadata, diff, errors)
        VALUES (v_id, v_id, p_position, p_version, p_published, v_now, v_attempts, p_max_attempts, 'dead',
            'delivery', p_type, p_entity,
             p_name, p_schema_version, p_error, p_payload::json, p_metadata::json, p_diff::json, v_errors);
    ELSE
        INSERT INTO {schema}.strunk_outbox_deliveries
            (id, seq, position, version, created_at, due_at, attempts, max_attempts, status, kind, key, entity_id,
             subscriber, schema_version, last_error, payload, metadata, diff, errors)
        VALUES (v_id, v_id, p_position, p_version, p_published, v_now + p_delay_ms * interval '1 millisecond',
            v_attempts,
             p_max_attempts, 'scheduled', 'delivery', p_type, p_entity, p_name, p_schema_version, p_error,
                 p_payload::json,
             p_metadata::json, p_diff::json, v_errors);
    END IF;
    RETURN 'added';
END $$;

-- The entities of a type that have deliveries for a subscriber.
CREATE OR REPLACE FUNCTION {schema}.strunk_delivery_entities(p_name text, p_type text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT d.entity_id FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name AND d.key = p_type
$$;

-- The oldest delivery of each entity that is to be handled now (wait_ms is null) or in wait_ms.
-- Parked ones are left out. A claim of an epoch that is over counts for nothing.
CREATE OR REPLACE FUNCTION {schema}.strunk_due_deliveries(p_name text, p_epoch bigint, p_type text, p_limit integer)
RETURNS TABLE (entity_id text, wait_ms bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
    SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT d.entity_id, CASE WHEN d.status = 'scheduled' AND d.due_at > v_now THEN ceil(extract(epoch
        FROM d.due_at - v_now) * 1000)::bigint END
    FROM (
        SELECT DISTINCT ON (t.entity_id) t.entity_id, t.status, t.due_at, t.claim_no
            FROM {schema}.strunk_outbox_deliveries t
        WHERE t.subscriber = p_name AND t.key = p_type ORDER BY t.entity_id, t.version, t.id) d
    WHERE d.status = 'pending' OR (d.status = 'scheduled' AND d.due_at IS NOT NULL) OR (d.status = 'claimed'
        AND d.claim_no <> p_epoch)
    ORDER BY 2 NULLS FIRST LIMIT p_limit;
END $$;

-- Claims the oldest delivery of an entity where it is to be handled now, and counts the attempt. No
-- row: nothing is to be done now. Fenced.
CREATE OR REPLACE FUNCTION {schema}.strunk_take_delivery(p_name text, p_epoch bigint, p_type text, p_entity text)
RETURNS TABLE (id bigint, pos bigint, version bigint, published_at timestamptz, schema_version text, payload json,
    metadata json, diff json,
    attempts smallint, max_attempts smallint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_id  bigint;
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RETURN;
    END IF;
    SELECT d.id INTO v_id FROM {schema}.strunk_outbox_deliveries d
    WHERE d.subscriber = p_name AND d.key = p_type AND d.entity_id = p_entity ORDER BY d.version, d.id LIMIT 1;
    RETURN QUERY
    UPDATE {schema}.strunk_outbox_deliveries d
    SET status = 'claimed', claim_no = p_epoch, claimed_at = v_now, attempts = least(d.attempts + 1, 32767),
        due_at = NULL
    WHERE d.id = v_id AND (d.status = 'pending' OR (d.status = 'scheduled' AND d.due_at <= v_now)
        OR (d.status = 'claimed' AND d.claim_no <> p_epoch))
    RETURNING d.id, d.position, d.version, d.created_at, d.schema_version, d.payload, d.metadata, d.diff,
        d.attempts, d.max_attempts;
END $$;

-- Makes the oldest delivery of an entity pending where it waited behind one that has gone; returns whether any is left.
CREATE OR REPLACE FUNCTION {schema}.strunk_next_delivery(p_name text, p_type text, p_entity text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT d.id INTO v_id FROM {schema}.strunk_outbox_deliveries d
    WHERE d.subscriber = p_name AND d.key = p_type AND d.entity_id = p_entity ORDER BY d.version, d.id LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE {schema}.strunk_outbox_deliveries d SET status = 'pending' WHERE d.id = v_id AND d.status = 'scheduled'
        AND d.due_at IS NULL;
    RETURN true;
END $$;

-- Removes a delivery that was handled and lets the next of its entity follow. Returns whether one
-- is left; null where the epoch is another, or the claim is no longer this epoch's.
CREATE OR REPLACE FUNCTION {schema}.strunk_delivery_handled(p_name text, p_epoch bigint, p_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_type   text;
    v_entity text;
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RETURN NULL;
    END IF;
    DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.id = p_id AND d.status = 'claimed'
        AND d.claim_no = p_epoch RETURNING d.key, d.entity_id INTO v_type, v_entity;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN {schema}.strunk_next_delivery(p_name, v_type, v_entity);
END $$;

-- Keeps why a delivery failed: it is retried after p_delay_ms, parked (null), or with p_dead it
-- becomes a dead letter and the next of its entity follows. Returns as strunk_delivery_handled
-- does.
CREATE OR REPLACE FUNCTION {schema}.strunk_delivery_failed(
    p_name text, p_epoch bigint, p_id bigint, p_error text, p_stack text, p_worker_name text, p_delay_ms bigint,
        p_dead boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_type   text;
    v_entity text;
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RETURN NULL;
    END IF;
    UPDATE {schema}.strunk_outbox_deliveries d
    SET status = 'scheduled', due_at = v_now + p_delay_ms * interval '1 millisecond', last_error = p_error,
        errors = {schema}.strunk_add_error(d.errors, d.attempts, v_now, p_error, p_stack, p_worker_name)
    WHERE d.id = p_id AND d.status = 'claimed' AND d.claim_no = p_epoch RETURNING d.key, d.entity_id INTO v_type,
        v_entity;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM {schema}.strunk_note_failure('event', p_name, p_error);
    IF p_dead THEN
        PERFORM {schema}.strunk_dead_letter_delivery(p_id);
        RETURN {schema}.strunk_next_delivery(p_name, v_type, v_entity);
    ELSIF p_delay_ms IS NULL THEN
        INSERT INTO {schema}.strunk_counters (kind, name, entity_type, parked) VALUES ('subscriber', p_name, v_type, 1);
    END IF;
    RETURN true;
END $$;

-- Moves a delivery to the dead letters, and counts it.
CREATE OR REPLACE FUNCTION {schema}.strunk_dead_letter_delivery(p_id bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH d AS (DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.id = p_id RETURNING d.*),
    counted AS (
        INSERT INTO {schema}.strunk_counters (kind, name, entity_type, dead)
        SELECT 'subscriber', d.subscriber, d.key, 1 FROM d)
    INSERT INTO {schema}.strunk_outbox_dead
        (id, seq, position, version, claim_no, created_at, claimed_at, finished_at, attempts, max_attempts,
            priority, status, kind, key,
         entity_id, subscriber, schema_version, last_error, payload, metadata, diff, errors)
    SELECT d.id, d.seq, d.position, d.version, d.claim_no, d.created_at, d.claimed_at, clock_timestamp(),
        d.attempts, d.max_attempts,
           d.priority, 'dead', d.kind, d.key, d.entity_id, d.subscriber, d.schema_version, d.last_error, d.payload,
               d.metadata, d.diff, d.errors
    FROM d
$$;

-- Has the parked and retrying deliveries of a subscriber tried again, of one entity or (null) of
-- all: their attempts begin anew. Returns how many. FOR UPDATE on the subscriber's row: none is
-- added meanwhile.
CREATE OR REPLACE FUNCTION {schema}.strunk_retry_parked(p_name text, p_entity text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_n bigint;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name FOR UPDATE;
    WITH h AS (
        SELECT DISTINCT ON (t.key, t.entity_id) t.id, t.status FROM {schema}.strunk_outbox_deliveries t
        WHERE t.subscriber = p_name AND (p_entity IS NULL OR t.entity_id = p_entity) ORDER BY t.key, t.entity_id,
            t.version, t.id)
    UPDATE {schema}.strunk_outbox_deliveries d SET status = 'pending', attempts = 0, due_at = NULL
    FROM h WHERE d.id = h.id AND d.status = 'scheduled';
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Gives up on an entity's oldest delivery: it becomes a dead letter, and what waits behind it is
-- delivered. Returns whether there was one that is not being handled.
CREATE OR REPLACE FUNCTION {schema}.strunk_release_parked(p_name text, p_entity text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_id   bigint;
    v_type text;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name FOR UPDATE;
    SELECT d.id, d.key INTO v_id, v_type FROM {schema}.strunk_outbox_deliveries d
    WHERE d.subscriber = p_name AND d.entity_id = p_entity ORDER BY d.version, d.id LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM {schema}.strunk_outbox_deliveries d WHERE d.id = v_id AND d.status = 'claimed';
    IF FOUND THEN
        RETURN false;
    END IF;
    PERFORM {schema}.strunk_dead_letter_delivery(v_id);
    PERFORM {schema}.strunk_next_delivery(p_name, v_type, p_entity);
    RETURN true;
END $$;

-- Has a subscriber's dead letters after id p_after redelivered to it alone, by id or (null) all of
-- them: up to p_limit, of p_bytes and one more. Returns how many, and the last id; null where none
-- is left. Their attempts begin anew. In id order.
CREATE OR REPLACE FUNCTION {schema}.strunk_retry_dead_deliveries(p_name text, p_ids bigint[], p_after bigint,
    p_limit integer, p_bytes bigint) RETURNS TABLE (retried bigint, last_id bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_ids bigint[];
BEGIN
    v_ids := ARRAY(SELECT y.id FROM (
        SELECT x.id, sum(x.bytes) OVER (ORDER BY x.id ROWS UNBOUNDED PRECEDING) - x.bytes AS before FROM (
            SELECT d.id, coalesce(pg_column_size(d.payload), 0) + coalesce(pg_column_size(d.diff), 0) AS bytes
            FROM {schema}.strunk_outbox_dead d
            WHERE d.subscriber = p_name AND d.kind = 'delivery' AND d.id > p_after
                AND (p_ids IS NULL OR d.id = ANY (p_ids))
            ORDER BY d.id LIMIT p_limit) x) y
        WHERE y.before < p_bytes ORDER BY y.id);
    last_id := v_ids[cardinality(v_ids)];
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_dead d
        WHERE d.id = ANY (v_ids) AND d.subscriber = p_name AND d.kind = 'delivery' RETURNING d.*)
    INSERT INTO {schema}.strunk_outbox_deliveries
        (id, seq, position, version, created_at, attempts, max_attempts, priority, status, kind, key, entity_id,
            subscriber,
         schema_version, last_error, payload, metadata, diff, errors)
    SELECT d.id, nextval('{schema}.strunk_outbox_id_seq'), d.position, d.version, d.created_at, 0, d.max_attempts,
        d.priority, 'pending',
           d.kind, d.key, d.entity_id, d.subscriber, d.schema_version, d.last_error, d.payload, d.metadata, d.diff,
               d.errors
    FROM d ORDER BY d.id;
    GET DIAGNOSTICS retried = ROW_COUNT;
    RETURN NEXT;
END $$;

-- On the dead partition alone: a dead delivery that a person sets back to pending is redelivered to its subscriber.
CREATE OR REPLACE FUNCTION {schema}.strunk_revive_delivery() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.seq := nextval('{schema}.strunk_outbox_id_seq');
    NEW.status := 'pending';
    NEW.worker_id := NULL;
    NEW.claim_no := NULL;
    NEW.claimed_at := NULL;
    NEW.finished_at := NULL;
    NEW.due_at := NULL;
    PERFORM pg_notify({channel}, 's:' || NEW.subscriber);
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER strunk_revive_delivery BEFORE UPDATE ON {schema}.strunk_outbox_dead
    FOR EACH ROW WHEN (OLD.kind = 'delivery' AND NEW.status IN ('pending', 'scheduled'))
    EXECUTE FUNCTION {schema}.strunk_revive_delivery();
