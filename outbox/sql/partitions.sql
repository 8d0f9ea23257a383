-- Making partitions ahead of need.

-- Makes a table part of a partitioned one, from p_from to before p_to: one that somebody has
-- detached is attached again, with what it holds. A detaching that was begun and cut off is ended
-- first. Without what a concurrent detaching adds: a constraint in place of the bounds. CREATE and
-- ATTACH rather than PARTITION OF: ATTACH blocks no insert. A table that cannot be attached is
-- named with what to do.
CREATE OR REPLACE FUNCTION {schema}.strunk_attach_partition(p_parent text, p_name text, p_from text, p_to text)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_constraint name;
BEGIN
    PERFORM 1 FROM pg_inherits i WHERE i.inhrelid = to_regclass('{schema}.' || quote_ident(p_name))
        AND i.inhdetachpending;
    IF FOUND THEN
        EXECUTE format('ALTER TABLE {schema}.%I DETACH PARTITION {schema}.%I FINALIZE', p_parent, p_name);
    END IF;
    EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)',
        p_parent, p_name, p_from, p_to);
    FOR v_constraint IN SELECT c.conname FROM pg_constraint c
        WHERE c.conrelid = to_regclass('{schema}.' || quote_ident(p_name)) AND c.contype = 'c' LOOP
        EXECUTE format('ALTER TABLE {schema}.%I DROP CONSTRAINT %I', p_name, v_constraint);
    END LOOP;
EXCEPTION WHEN lock_not_available THEN
    RAISE;
WHEN others THEN
    RAISE EXCEPTION '% cannot be made a partition of % again: %', p_name, p_parent, SQLERRM
        USING ERRCODE = SQLSTATE,
            HINT = format('Give it another name: ALTER TABLE {schema}.%I RENAME TO ...; an empty one is made then.',
                p_name);
END $$;

-- Whether a table is a partition, and nobody has begun to detach it.
CREATE OR REPLACE FUNCTION {schema}.strunk_is_partition(p_name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = to_regclass('{schema}.' || quote_ident(p_name))
        AND NOT i.inhdetachpending)
$$;

-- Makes the delivered tasks' partition of a day (UTC), or attaches it again; returns whether it was
-- missing. Safe beside itself: an advisory lock.
CREATE OR REPLACE FUNCTION {schema}.strunk_ensure_task_partition(p_day date) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_name constant text := 'strunk_outbox_delivered_tasks_' || to_char(p_day, 'YYYYMMDD');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('strunk_partitions:{schema}', 0));
    IF {schema}.strunk_is_partition(v_name) THEN
        RETURN false;
    END IF;
    IF to_regclass('{schema}.' || quote_ident(v_name)) IS NULL THEN
        EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.strunk_outbox_delivered_tasks INCLUDING DEFAULTS)',
            v_name);
        EXECUTE format('CREATE UNIQUE INDEX %I ON {schema}.%I (id)', v_name || '_id', v_name);
        EXECUTE format('ALTER TABLE {schema}.%I REPLICA IDENTITY USING INDEX %I', v_name, v_name || '_id');
    END IF;
    PERFORM {schema}.strunk_attach_partition('strunk_outbox_delivered_tasks', v_name,
        to_char(p_day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(p_day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
    DELETE FROM {schema}.strunk_closed_days d WHERE d.partition_name = v_name; -- it may hold other ids now
    RETURN true;
END $$;

-- Makes the delivered tasks' partitions from today to p_ahead days on; returns how many were missing.
CREATE OR REPLACE FUNCTION {schema}.strunk_ensure_task_partitions(p_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    v_made  integer := 0;
BEGIN
    FOR i IN 0 .. p_ahead LOOP
        v_made := v_made + {schema}.strunk_ensure_task_partition(v_today + i)::integer;
    END LOOP;
    RETURN v_made;
END $$;

-- Makes the feed's partition from p_first to before p_past, or attaches it again, and records it
-- under its name.
CREATE OR REPLACE FUNCTION {schema}.strunk_make_feed_partition(p_name text, p_first bigint, p_past bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_regclass('{schema}.' || quote_ident(p_name)) IS NULL THEN
        EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.strunk_outbox_delivered_events INCLUDING DEFAULTS)',
            p_name);
        -- The reader's index. Nothing else needs a position: ids are found by their block ranges, which rise with it.
        EXECUTE format('CREATE UNIQUE INDEX %I ON {schema}.%I (key, position)', p_name || '_read', p_name);
        EXECUTE format('ALTER TABLE {schema}.%I REPLICA IDENTITY USING INDEX %I', p_name, p_name || '_read');
        EXECUTE format('CREATE INDEX %I ON {schema}.%I USING brin (id, position)
            WITH (pages_per_range = 32, autosummarize = on)', p_name || '_id', p_name);
    END IF;
    PERFORM {schema}.strunk_attach_partition('strunk_outbox_delivered_events', p_name, p_first::text, p_past::text);
    INSERT INTO {schema}.strunk_feed_partitions (first, past, name) VALUES (p_first, p_past, p_name)
        ON CONFLICT DO NOTHING;
END $$;

-- Makes partitions of the feed until one that nothing has reached is ahead, and room for 10,000
-- events; returns how many. A partition is four times as large as the one before when that was made
-- within the hour, and a quarter when it lasted two days. Safe beside itself: an advisory lock.
CREATE OR REPLACE FUNCTION {schema}.strunk_ensure_feed_partitions() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_head  bigint;
    v_first bigint;
    v_size  bigint := 100000;
    v_made  integer := 0;
    v_last  {schema}.strunk_feed_partitions;
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
        PERFORM {schema}.strunk_make_feed_partition('strunk_outbox_delivered_events_' || v_first, v_first,
            v_first + v_size);
        SELECT p.* INTO v_last FROM {schema}.strunk_feed_partitions p WHERE p.first = v_first;
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;

-- Makes again what the feed cannot do without and somebody has deleted: the records of its
-- partitions, the row of the relay, that of the floor, and the partitions. The head is the last
-- position that is stored or that a subscriber has reached: no position is given twice. A head that
-- is too low, after a restore, is raised. high starts at 0, so that the relay looks at all events
-- that wait. The caller holds the lock of the partitions.
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
    ELSIF EXISTS (SELECT 1 FROM {schema}.strunk_feed_ahead()) THEN
        PERFORM {schema}.strunk_raise_head();
    END IF;
    IF NOT EXISTS (SELECT 1 FROM {schema}.strunk_feed_floor) THEN
        INSERT INTO {schema}.strunk_feed_floor (floor)
        SELECT coalesce(min(p.first) - 1, 0) FROM {schema}.strunk_feed_partitions p ON CONFLICT DO NOTHING;
    END IF;
    PERFORM {schema}.strunk_mend_feed_partitions();
END $$;

-- Raises the head of the feed to what lies beyond it. Waits for a relay that is under way.
CREATE OR REPLACE FUNCTION {schema}.strunk_raise_head() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_feed {schema}.strunk_feed;
    v_head bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('strunk_relay:{schema}', 0));
    SELECT f.* INTO v_feed FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    SELECT max(a.reached) INTO v_head FROM {schema}.strunk_feed_ahead() a;
    IF v_head > v_feed.head THEN
        RAISE WARNING 'strunk: the head of the feed was %, below what has position %: it is raised',
            v_feed.head, v_head;
        UPDATE {schema}.strunk_feed f SET head = v_head WHERE f.slot = v_feed.slot;
    END IF;
END $$;

-- Attaches partitions of the feed that somebody has detached, and makes those anew that were
-- dropped: all above the floor, and one for the next position where no record has it. The events of
-- one that was dropped are lost, and the server's log says which.
CREATE OR REPLACE FUNCTION {schema}.strunk_mend_feed_partitions() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_part {schema}.strunk_feed_partitions;
    v_head bigint;
    v_past bigint;
BEGIN
    SELECT f.head INTO v_head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    FOR v_part IN SELECT p.* FROM {schema}.strunk_feed_partitions p, {schema}.strunk_feed_floor l
        WHERE p.past - 1 > l.floor AND NOT {schema}.strunk_is_partition(p.name) ORDER BY p.first
    LOOP
        IF to_regclass('{schema}.' || quote_ident(v_part.name)) IS NULL AND v_part.first <= v_head THEN
            RAISE WARNING 'strunk: partition % of the feed was dropped: its events, of positions % to %, are lost',
                v_part.name, v_part.first, least(v_part.past - 1, v_head);
        END IF;
        PERFORM {schema}.strunk_make_feed_partition(v_part.name, v_part.first, v_part.past);
    END LOOP;
    SELECT min(p.first) INTO v_past FROM {schema}.strunk_feed_partitions p WHERE p.first > v_head + 1;
    IF v_past IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM {schema}.strunk_feed_partitions p WHERE v_head + 1 >= p.first AND v_head + 1 < p.past) THEN
        PERFORM {schema}.strunk_make_feed_partition('strunk_outbox_delivered_events_' || v_head + 1, v_head + 1,
            v_past);
    END IF;
END $$;

SELECT {schema}.strunk_ensure_task_partitions();
SELECT {schema}.strunk_ensure_feed_partitions();
