-- Finding one task. A search of the whole table by id would lock every partition and its index, and
-- a year of days fills the server's lock table. So the small partitions come first, then the days
-- that can hold the id, one by one.

-- The days of the delivered tasks that can hold an id from p_low to p_high, the newest first: those
-- that are open, and of the closed ones those whose ids reach into that range.
CREATE OR REPLACE FUNCTION {schema}.strunk_days_of_ids(p_low bigint, p_high bigint) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    LEFT JOIN {schema}.strunk_closed_days d ON d.partition_name = c.relname::text
    WHERE i.inhparent = '{schema}.strunk_outbox_delivered_tasks'::regclass AND NOT i.inhdetachpending
        AND (d.partition_name IS NULL OR (d.lowest_id <= p_high AND d.highest_id >= p_low))
    ORDER BY c.relname DESC
$$;

-- The delivered task of an id. A day that retention drops meanwhile holds it no more.
CREATE OR REPLACE FUNCTION {schema}.strunk_delivered_task(p_id bigint) RETURNS SETOF {schema}.strunk_outbox
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_day text;
BEGIN
    FOR v_day IN SELECT {schema}.strunk_days_of_ids(p_id, p_id) LOOP
        BEGIN
            RETURN QUERY EXECUTE format('SELECT t.* FROM {schema}.%I t WHERE t.id = $1', v_day) USING p_id;
        EXCEPTION WHEN undefined_table THEN
            CONTINUE;
        END;
        EXIT WHEN FOUND;
    END LOOP;
END $$;

-- Deletes the delivered task of an id that was enqueued at p_created, and returns its history.
CREATE OR REPLACE FUNCTION {schema}.strunk_take_delivered(p_id bigint, p_created timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_day    text;
    v_errors jsonb;
    v_n      bigint;
BEGIN
    FOR v_day IN SELECT {schema}.strunk_days_of_ids(p_id, p_id) LOOP
        BEGIN
            EXECUTE format('DELETE FROM {schema}.%I d WHERE d.id = $1 AND d.created_at = $2 RETURNING d.errors',
                v_day) INTO v_errors USING p_id, p_created;
            GET DIAGNOSTICS v_n = ROW_COUNT;
        EXCEPTION WHEN undefined_table THEN
            CONTINUE;
        END;
        EXIT WHEN v_n > 0;
    END LOOP;
    RETURN v_errors;
END $$;

-- The task of an id, wherever it is. All looks see the table at one moment: it cannot move between them.
CREATE OR REPLACE FUNCTION {schema}.strunk_task(p_id bigint) RETURNS SETOF {schema}.strunk_outbox
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT t.* FROM {schema}.strunk_outbox_tasks t WHERE t.id = p_id;
    IF NOT FOUND THEN
        RETURN QUERY SELECT t.* FROM {schema}.strunk_outbox_dead t WHERE t.id = p_id AND t.kind = 'task';
    END IF;
    IF NOT FOUND THEN
        RETURN QUERY SELECT t.* FROM {schema}.strunk_outbox_cancelled t WHERE t.id = p_id AND t.kind = 'task';
    END IF;
    IF NOT FOUND THEN
        RETURN QUERY SELECT t.* FROM {schema}.strunk_delivered_task(p_id) t;
    END IF;
END $$;

-- Closes one day of the delivered tasks: notes its lowest and highest id, so that nobody looks there
-- for another. Returns its name; null where none is to be closed. A day may be closed an hour after
-- it is over. SHARE waits for nobody: a day that an open transaction has written to stays open.
CREATE OR REPLACE FUNCTION {schema}.strunk_close_day() RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_open constant text := 'strunk_outbox_delivered_tasks_'
        || to_char((clock_timestamp() - interval '1 hour') AT TIME ZONE 'UTC', 'YYYYMMDD');
    v_day  text;
BEGIN
    FOR v_day IN SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = '{schema}.strunk_outbox_delivered_tasks'::regclass AND NOT i.inhdetachpending
            AND c.relname::text COLLATE "C" < v_open
            AND NOT EXISTS (SELECT 1 FROM {schema}.strunk_closed_days d WHERE d.partition_name = c.relname::text)
        ORDER BY c.relname
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE {schema}.%I IN SHARE MODE NOWAIT', v_day);
            EXECUTE format('INSERT INTO {schema}.strunk_closed_days (partition_name, lowest_id, highest_id)
                SELECT %L, coalesce(min(t.id), 1), coalesce(max(t.id), 0) FROM {schema}.%I t
                ON CONFLICT DO NOTHING', v_day, v_day);
            RETURN v_day;
        EXCEPTION WHEN lock_not_available OR undefined_table THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN NULL;
END $$;
