-- The attempts of events that fail.

-- Counts an attempt before it is made, and returns the attempts with it and whether a person has
-- asked to skip the event. Fenced: nothing where the epoch is another. Only events that have
-- failed, or were under way when an owner was lost, come here; p_least is what they have had at
-- least.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_attempt(p_name text, p_epoch bigint, p_position bigint,
    p_entity text, p_least integer)
RETURNS TABLE (attempts integer, skip boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RETURN;
    END IF;
    RETURN QUERY
    INSERT INTO {schema}.strunk_retries AS r (position, attempts, subscriber, entity_id) VALUES (p_position,
        p_least + 1, p_name, p_entity)
    ON CONFLICT (subscriber, position, entity_id) DO UPDATE
    SET attempts = greatest(r.attempts, p_least) + CASE WHEN r.skip THEN 0 ELSE 1 END, tried_at = clock_timestamp()
    RETURNING r.attempts, r.skip;
END $$;

-- Drops the attempts of an event that was handled while the cursor cannot pass it yet: the next crash is not its fault.
-- Fenced; false where the epoch is another.
CREATE OR REPLACE FUNCTION {schema}.strunk_clear_attempts(p_name text, p_epoch bigint, p_position bigint,
    p_entity text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name AND r.position = p_position
        AND r.entity_id = p_entity;
    RETURN true;
END $$;

-- Keeps why an attempt failed. Returns whether a person has asked to skip the event; null where the epoch is another.
CREATE OR REPLACE FUNCTION {schema}.strunk_attempt_failed(p_name text, p_epoch bigint, p_position bigint,
    p_entity text, p_attempts integer, p_error text, p_stack text, p_worker_name text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_skip boolean;
BEGIN
    IF NOT {schema}.strunk_epoch_holds(p_name, p_epoch) THEN
        RETURN NULL;
    END IF;
    INSERT INTO {schema}.strunk_retries AS r (position, attempts, subscriber, entity_id, last_error, errors)
    VALUES (p_position, p_attempts, p_name, p_entity, p_error, {schema}.strunk_add_error(NULL, p_attempts,
        clock_timestamp(), p_error, p_stack, p_worker_name))
    ON CONFLICT (subscriber, position, entity_id) DO UPDATE
    SET attempts = greatest(r.attempts, excluded.attempts), last_error = excluded.last_error,
        errors = {schema}.strunk_add_error(r.errors, p_attempts, clock_timestamp(), p_error, p_stack, p_worker_name)
    RETURNING r.skip INTO v_skip;
    PERFORM {schema}.strunk_note_failure('event', p_name, p_error);
    RETURN v_skip;
END $$;

-- Has a subscriber skip the event that blocks it: a copy of it becomes a dead letter. False where nothing blocks it.
CREATE OR REPLACE FUNCTION {schema}.strunk_skip_event(p_name text, p_position bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_retries r SET skip = true WHERE r.subscriber = p_name AND r.position = p_position
        AND r.last_error IS NOT NULL;
    RETURN FOUND;
END $$;
