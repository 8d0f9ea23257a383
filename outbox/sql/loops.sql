-- The record of the maintenance loops.

-- Records that a loop, which comes round at least every p_interval_ms, has succeeded (a null error) or failed. Writes
-- nothing where the last record is younger than five seconds or another process is writing one: SKIP LOCKED.
-- A record of a time to come is from a clock that was ahead.
CREATE OR REPLACE FUNCTION {schema}.strunk_loop_ran(p_loop text, p_interval_ms bigint, p_process text,
    p_error text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM 1 FROM {schema}.strunk_loops l WHERE l.loop = p_loop;
    IF NOT FOUND THEN
        INSERT INTO {schema}.strunk_loops (loop, interval_ms) VALUES (p_loop, p_interval_ms) ON CONFLICT DO NOTHING;
    END IF;
    PERFORM 1 FROM {schema}.strunk_loops l
    WHERE l.loop = p_loop AND coalesce(CASE WHEN p_error IS NULL THEN l.last_ok_at ELSE l.last_error_at END,
        '-infinity') NOT BETWEEN v_now - interval '5 s' AND v_now + interval '5 s'
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    ELSIF p_error IS NULL THEN
        UPDATE {schema}.strunk_loops l SET last_ok_at = v_now, last_process = p_process, interval_ms = p_interval_ms
            WHERE l.loop = p_loop;
    ELSE
        UPDATE {schema}.strunk_loops l SET last_error_at = v_now, last_error = p_error, last_process = p_process
            WHERE l.loop = p_loop;
    END IF;
END $$;

-- Takes a run of a loop that is to come round once in p_every_ms over all processes: true for the
-- one that may run now. One that died in its run is followed by another when the time is over. One
-- that has begun at a time to come began by a clock that was ahead.
CREATE OR REPLACE FUNCTION {schema}.strunk_loop_begin(p_loop text, p_every_ms bigint, p_process text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO {schema}.strunk_loops (loop, interval_ms) VALUES (p_loop, p_every_ms) ON CONFLICT DO NOTHING;
    UPDATE {schema}.strunk_loops l SET begun_at = v_now, last_process = p_process
    WHERE l.loop = p_loop AND coalesce(l.begun_at, '-infinity')
        NOT BETWEEN v_now - p_every_ms * interval '1 millisecond' + interval '1 microsecond' AND v_now + interval '5 s';
    RETURN FOUND;
END $$;
