-- Making partitions ahead of need.

-- Makes the delivered tasks' partitions from today to p_ahead days on. Safe beside itself: an advisory lock.
-- CREATE and ATTACH rather than PARTITION OF: ATTACH blocks no insert.
CREATE OR REPLACE FUNCTION {schema}.strunk_ensure_task_partitions(p_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    v_made  integer := 0;
    v_name  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('strunk_partitions:{schema}', 0));
    FOR i IN 0 .. p_ahead LOOP
        v_name := 'strunk_outbox_delivered_tasks_' || to_char(v_today + i, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('{schema}.' || quote_ident(v_name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.strunk_outbox_delivered_tasks INCLUDING DEFAULTS)',
            v_name);
        EXECUTE format('CREATE UNIQUE INDEX %I ON {schema}.%I (id)', v_name || '_id', v_name);
        EXECUTE format('ALTER TABLE {schema}.%I REPLICA IDENTITY USING INDEX %I', v_name, v_name || '_id');
        EXECUTE format('ALTER TABLE {schema}.strunk_outbox_delivered_tasks ATTACH PARTITION {schema}.%I '
            'FOR VALUES FROM (%L) TO (%L)',
            v_name, to_char(v_today + i, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(v_today + i + 1,
                'YYYY-MM-DD') || ' 00:00:00+00');
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;

-- Makes partitions of the feed until one that nothing has reached is ahead, and room for 10,000
-- events; returns how many. A partition is four times as large as the one before when that was made
-- within the hour, and a quarter when it lasted two days. Safe beside itself: an advisory lock.
-- CREATE and ATTACH rather than PARTITION OF: ATTACH blocks no insert.
CREATE OR REPLACE FUNCTION {schema}.strunk_ensure_feed_partitions() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_head  bigint;
    v_first bigint;
    v_size  bigint := 100000;
    v_made  integer := 0;
    v_last  {schema}.strunk_feed_partitions;
    v_name  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('strunk_partitions:{schema}', 0));
    PERFORM {schema}.strunk_mend_feed();
    SELECT f.head INTO v_head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    SELECT p.* INTO v_last FROM {schema}.strunk_feed_partitions p ORDER BY p.first DESC LIMIT 1;
    IF FOUND THEN
        v_size := v_last.past - v_last.first;
        IF v_last.made_at > clock_timestamp() - interval '1 hour' THEN
            v_size := least(v_size * 4, 50000000);
        ELSIF v_last.made_at < clock_timestamp() - interval '2 days' THEN
            v_size := v_size / 4;
        END IF;
    END IF;
    v_size := greatest(v_size, 10000);
    LOOP
        EXIT WHEN v_last.first > v_head AND v_last.past > v_head + 10000;
        v_first := greatest(v_last.past, v_head + 1);
        v_name := 'strunk_outbox_delivered_events_' || v_first;
        EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.strunk_outbox_delivered_events INCLUDING DEFAULTS)',
            v_name);
        -- The reader's index. Nothing else needs a position: ids are found by their block ranges, which rise with it.
        EXECUTE format('CREATE UNIQUE INDEX %I ON {schema}.%I (key, position)', v_name || '_read', v_name);
        EXECUTE format('ALTER TABLE {schema}.%I REPLICA IDENTITY USING INDEX %I', v_name, v_name || '_read');
        EXECUTE format('CREATE INDEX %I ON {schema}.%I USING brin (id, position) '
            'WITH (pages_per_range = 32, autosummarize = on)', v_name || '_id', v_name);
        EXECUTE format('ALTER TABLE {schema}.strunk_outbox_delivered_events ATTACH PARTITION {schema}.%I '
            'FOR VALUES FROM (%s) TO (%s)',
            v_name, v_first, v_first + v_size);
        INSERT INTO {schema}.strunk_feed_partitions (first, past, name) VALUES (v_first, v_first + v_size, v_name)
            RETURNING * INTO v_last;
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;

-- Makes again what the feed cannot do without and somebody has deleted: the records of its
-- partitions, the row of the relay and that of the floor. The head is the last position that is
-- stored or that a subscriber has reached: no position is given twice. high starts at 0, so that
-- the relay looks at all events that wait. The caller holds the lock of the partitions.
CREATE OR REPLACE FUNCTION {schema}.strunk_mend_feed() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_head bigint;
BEGIN
    INSERT INTO {schema}.strunk_feed_partitions (first, past, name)
    SELECT b.bounds[1]::bigint, b.bounds[2]::bigint, b.name
    FROM (SELECT c.relname::text AS name, regexp_match(pg_get_expr(c.relpartbound, c.oid),
        'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)') AS bounds
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = '{schema}.strunk_outbox_delivered_events'::regclass AND NOT i.inhdetachpending) b
    WHERE NOT EXISTS (SELECT 1 FROM {schema}.strunk_feed_partitions p WHERE p.name = b.name)
    ON CONFLICT DO NOTHING;
    IF NOT EXISTS (SELECT 1 FROM {schema}.strunk_feed) THEN
        SELECT greatest(max(e.position), (SELECT max(s.cursor) FROM {schema}.strunk_subscribers s), 0) INTO v_head
        FROM {schema}.strunk_outbox_delivered_events e;
        INSERT INTO {schema}.strunk_feed (slot, head, high) VALUES (0, v_head, 0) ON CONFLICT DO NOTHING;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM {schema}.strunk_feed_floor) THEN
        INSERT INTO {schema}.strunk_feed_floor (floor)
        SELECT coalesce(min(p.first) - 1, 0) FROM {schema}.strunk_feed_partitions p ON CONFLICT DO NOTHING;
    END IF;
END $$;

SELECT {schema}.strunk_ensure_task_partitions();
SELECT {schema}.strunk_ensure_feed_partitions();
