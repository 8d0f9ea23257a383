-- State events: snapshots, the leaf where events wait for the relay, the feed, and the subscribers with their copies.

ALTER TABLE {schema}.strunk_outbox ADD COLUMN diff json;

-- A sequence of the events alone, so that a number missing from it can only be an event's. CACHE 1: within an entity it
-- must rise with the order of the commits.
CREATE SEQUENCE {schema}.strunk_events_seq AS bigint CACHE 1;

-- Events that wait for the relay. One index: the relay's.
CREATE TABLE {schema}.strunk_outbox_events
    PARTITION OF {schema}.strunk_outbox_active FOR VALUES IN ('event')
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
          autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.2,
          autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX strunk_outbox_events_seq ON {schema}.strunk_outbox_events (seq);

-- Copies of events for one subscriber: failing ones between attempts, parked ones, and those held behind them. Not unique
-- by version: a dead copy may be revived twice.
CREATE TABLE {schema}.strunk_outbox_deliveries
    PARTITION OF {schema}.strunk_outbox_active FOR VALUES IN ('delivery')
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX strunk_outbox_deliveries_id ON {schema}.strunk_outbox_deliveries (id);
CREATE INDEX strunk_outbox_deliveries_order ON {schema}.strunk_outbox_deliveries (subscriber, key, entity_id, version, id);

CREATE INDEX strunk_outbox_dead_subscriber ON {schema}.strunk_outbox_dead (subscriber, id) WHERE subscriber IS NOT NULL;

-- The feed: append-only, in leaves by position.
CREATE TABLE {schema}.strunk_outbox_delivered_events
    PARTITION OF {schema}.strunk_outbox_delivered (position NOT NULL) FOR VALUES IN ('event')
    PARTITION BY RANGE (position);

-- The leaves of the feed: positions from first to before past.
CREATE TABLE {schema}.strunk_feed_parts (
    first   bigint      PRIMARY KEY,
    past    bigint      NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    name    text        NOT NULL
);

-- What the relay has done, one row for each second in which it moved something: the newest holds. A single row updated
-- for ever would drag all its versions along under an open snapshot. Older rows tell which position belonged to which time.
-- high is the highest seq that was seen, missing the exact set of those below it that were not, fence and fence_high say
-- which of them are safe to forget: see strunk_relay.
CREATE TABLE {schema}.strunk_feed (
    slot       bigint      PRIMARY KEY,
    head       bigint      NOT NULL,
    high       bigint      NOT NULL,
    fence_high bigint,
    fence      xid8,
    moved_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    missing    int8multirange NOT NULL DEFAULT '{}'
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

INSERT INTO {schema}.strunk_feed (slot, head, high) VALUES (0, 0, 0);

-- Positions up to floor are no longer kept. Retention locks the row FOR UPDATE before it raises the floor; whoever chooses
-- a place in the feed holds it FOR SHARE until the choice is committed.
CREATE TABLE {schema}.strunk_feed_floor (
    floor bigint  NOT NULL,
    one   boolean PRIMARY KEY DEFAULT true CHECK (one)
);

INSERT INTO {schema}.strunk_feed_floor (floor) VALUES (0);

-- The current state of each entity. A deleted one keeps a stub, so that versions never start again. No other index: an
-- update of a state stays HOT.
CREATE TABLE {schema}.strunk_snapshots (
    version        bigint      NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleted        boolean     NOT NULL,
    entity_type    text COLLATE "C" NOT NULL,
    entity_id      text COLLATE "C" NOT NULL,
    schema_version text,
    state          json,
    PRIMARY KEY (entity_type, entity_id)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);

-- Subscribers: everything up to cursor is handled; what is beyond started has not been begun. epoch rises with every new
-- owner and every rewind, and fences all that an owner writes. boot is 0 (follows the feed), 1 (delivers the snapshots) or
-- 2 (follows the feed without the versions that the snapshots had). No clock is compared: beat is watched as that of
-- strunk_workers is. former are entity types that were renamed to entity_type: a process that still follows one must not own it.
CREATE TABLE {schema}.strunk_subscribers (
    cursor        bigint      NOT NULL,
    started       bigint      NOT NULL,
    epoch         bigint      NOT NULL DEFAULT 1,
    beat          bigint      NOT NULL DEFAULT 0,
    owner         bigint,
    boot_seq      bigint,
    boot_head     bigint,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    moved_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_ms      integer     NOT NULL,
    pid           integer,
    boot          smallint    NOT NULL DEFAULT 0,
    paused        boolean     NOT NULL DEFAULT false,
    needs_restart boolean     NOT NULL DEFAULT false,
    name          text COLLATE "C" PRIMARY KEY,
    entity_type   text COLLATE "C" NOT NULL,
    start         text COLLATE "C" NOT NULL,
    host          text,
    boot_mark     text COLLATE "C",
    former        text[]      NOT NULL DEFAULT '{}'
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- The versions that a subscriber had from the snapshots, until the feed is past them.
CREATE TABLE {schema}.strunk_bootstrap (
    version    bigint NOT NULL,
    subscriber text COLLATE "C" NOT NULL,
    entity_id  text COLLATE "C" NOT NULL,
    PRIMARY KEY (subscriber, entity_id)
);

-- The attempts of events that block their subscriber, or that were under way when an owner was lost. entity_id is empty
-- but for snapshots, whose position is 0.
CREATE TABLE {schema}.strunk_retries (
    position   bigint      NOT NULL,
    attempts   integer     NOT NULL,
    skip       boolean     NOT NULL DEFAULT false,
    tried_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    subscriber text COLLATE "C" NOT NULL,
    entity_id  text COLLATE "C" NOT NULL,
    last_error text,
    errors     jsonb,
    PRIMARY KEY (subscriber, position, entity_id)
) WITH (fillfactor = 50);

-- Publishes states in one statement. Arrays of length one give the value for all; a null state is a tombstone. The list is
-- in item order, and within an entity so are the versions.
-- Locks: the snapshot rows, in "C" order of (type, id), until the end of the caller's transaction: seq is drawn under that
-- lock, so that within an entity seq and version follow the order of the commits. An entity that is there n times is locked
-- once and its version raised by n. pg_current_xact_id() first: whoever draws a seq has an id already, which is what makes
-- the relay's fence safe.
CREATE FUNCTION {schema}.strunk_publish_many(
    p_types text[], p_ids text[], p_states text[], p_schema_versions text[], p_metadata text[], p_diffs text[], p_notify boolean)
RETURNS TABLE (ord integer, id bigint, version bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_version bigint;
BEGIN
    PERFORM pg_current_xact_id();
    IF cardinality(p_ids) = 1 THEN
        INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id, schema_version, state)
        VALUES (1, clock_timestamp(), p_states[1] IS NULL, p_types[1], p_ids[1], p_schema_versions[1], p_states[1]::json)
        ON CONFLICT (entity_type, entity_id) DO UPDATE
        SET version = s.version + 1, updated_at = clock_timestamp(), deleted = excluded.deleted,
            schema_version = excluded.schema_version, state = excluded.state
        RETURNING s.version INTO v_version;
        RETURN QUERY
        INSERT INTO {schema}.strunk_outbox_events AS e
            (id, seq, version, created_at, status, kind, key, entity_id, schema_version, payload, metadata, diff)
        VALUES (nextval('{schema}.strunk_outbox_id_seq'), nextval('{schema}.strunk_events_seq'), v_version, clock_timestamp(), 'pending',
            'event', p_types[1], p_ids[1], p_schema_versions[1], p_states[1]::json, p_metadata[1]::json, p_diffs[1]::json)
        RETURNING 1, e.id, e.version;
    ELSE
        RETURN QUERY
        WITH items AS MATERIALIZED (
            SELECT i.*, row_number() OVER (PARTITION BY i.type, i.entity ORDER BY i.o) AS nth,
                   count(*) OVER (PARTITION BY i.type, i.entity) AS times
            FROM (SELECT u.o, coalesce(u.type, p_types[1]) COLLATE "C" AS type, u.entity COLLATE "C" AS entity, u.state::json AS state,
                         coalesce(u.schema_version, p_schema_versions[1]) AS schema_version,
                         coalesce(u.metadata, p_metadata[1])::json AS metadata, u.diff::json AS diff
                  FROM unnest(p_ids, p_types, p_states, p_schema_versions, p_metadata, p_diffs)
                       WITH ORDINALITY AS u(entity, type, state, schema_version, metadata, diff, o)) i),
        up AS (
            INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id, schema_version, state)
            SELECT i.times, clock_timestamp(), i.state IS NULL, i.type, i.entity, i.schema_version, i.state
            FROM items i WHERE i.nth = i.times ORDER BY i.type, i.entity
            ON CONFLICT (entity_type, entity_id) DO UPDATE
            SET version = s.version + excluded.version, updated_at = clock_timestamp(), deleted = excluded.deleted,
                schema_version = excluded.schema_version, state = excluded.state
            RETURNING s.entity_type, s.entity_id, s.version),
        rows AS MATERIALIZED (
            SELECT o.*, nextval('{schema}.strunk_outbox_id_seq') AS n, nextval('{schema}.strunk_events_seq') AS seq
            FROM (SELECT i.*, up.version - i.times + i.nth AS version
                  FROM items i JOIN up ON up.entity_type = i.type AND up.entity_id = i.entity ORDER BY i.o OFFSET 0) o),
        ins AS (
            INSERT INTO {schema}.strunk_outbox_events
                (id, seq, version, created_at, status, kind, key, entity_id, schema_version, payload, metadata, diff)
            SELECT r.n, r.seq, r.version, clock_timestamp(), 'pending', 'event', r.type, r.entity, r.schema_version, r.state, r.metadata, r.diff
            FROM rows r)
        SELECT r.o::integer, r.n, r.version FROM rows r;
    END IF;
    IF p_notify THEN
        PERFORM pg_notify({channel}, 'relay');
    END IF;
END $$;

-- Publishes states of renamed entity types: p_formers[n] is a former name of type p_names[n], under which processes may still
-- publish. An entity has one line of versions under all its names, counted in the rows of both: the row under each former
-- name is made where it is missing, locked first, and left as a stub with the new version. So whoever publishes next, under
-- either name, goes on from there, and seq follows the order of the commits.
-- Locks: the rows under former names, in the order of p_formers, oldest first, and in "C" order of the ids, then as
-- strunk_publish_many.
CREATE FUNCTION {schema}.strunk_publish_renamed(
    p_formers text[], p_names text[],
    p_types text[], p_ids text[], p_states text[], p_schema_versions text[], p_metadata text[], p_diffs text[], p_notify boolean)
RETURNS TABLE (ord integer, id bigint, version bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_types    text[];
    v_entities text[];
    v_formers  text[];
BEGIN
    PERFORM pg_current_xact_id();
    SELECT array_agg(t.type), array_agg(t.entity), array_agg(t.former) INTO v_types, v_entities, v_formers FROM (
        SELECT DISTINCT f.o, u.entity COLLATE "C" AS entity, f.former, f.name AS type
        FROM unnest(p_ids, p_types) AS u(entity, type)
        JOIN unnest(p_formers, p_names) WITH ORDINALITY AS f(former, name, o) ON f.name = coalesce(u.type, p_types[1])
        ORDER BY 1, 2) t;
    INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id)
    SELECT 0, clock_timestamp(), true, t.former, t.entity FROM unnest(v_formers, v_entities) WITH ORDINALITY AS t(former, entity, o) ORDER BY t.o
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET version = s.version;
    INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id)
    SELECT max(o.version), clock_timestamp(), true, t.type, t.entity
    FROM unnest(v_formers, v_types, v_entities) AS t(former, type, entity)
    JOIN {schema}.strunk_snapshots o ON o.entity_type = t.former COLLATE "C" AND o.entity_id = t.entity COLLATE "C"
    GROUP BY t.type, t.entity ORDER BY t.type COLLATE "C", t.entity COLLATE "C"
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET version = greatest(s.version, excluded.version);
    RETURN QUERY SELECT * FROM {schema}.strunk_publish_many(p_types, p_ids, p_states, p_schema_versions, p_metadata, p_diffs, p_notify);
    UPDATE {schema}.strunk_snapshots o
    SET version = n.version, updated_at = n.updated_at, deleted = true, schema_version = NULL, state = NULL
    FROM unnest(v_formers, v_types, v_entities) AS t(former, type, entity)
    JOIN {schema}.strunk_snapshots n ON n.entity_type = t.type COLLATE "C" AND n.entity_id = t.entity COLLATE "C"
    WHERE o.entity_type = t.former COLLATE "C" AND o.entity_id = t.entity COLLATE "C";
END $$;

-- Moves up to p_limit snapshots from a former name of an entity type to its name, where theirs are the newer version, and
-- removes them. Returns how many it removed; 0 is the end. For when nobody publishes under the former name any more. Locks
-- in the order of strunk_publish_renamed.
CREATE FUNCTION {schema}.strunk_adopt_snapshots(p_former text, p_type text, p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_entities text[];
    v_n        integer;
BEGIN
    SELECT array_agg(l.entity_id) INTO v_entities FROM (
        SELECT s.entity_id FROM {schema}.strunk_snapshots s WHERE s.entity_type = p_former COLLATE "C" ORDER BY s.entity_id LIMIT p_limit FOR UPDATE) l;
    INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id, schema_version, state)
    SELECT o.version, o.updated_at, o.deleted, p_type, o.entity_id, o.schema_version, o.state FROM {schema}.strunk_snapshots o
    WHERE o.entity_type = p_former COLLATE "C" AND o.entity_id = ANY (v_entities) ORDER BY o.entity_id
    ON CONFLICT (entity_type, entity_id) DO UPDATE
    SET version = excluded.version, updated_at = excluded.updated_at, deleted = excluded.deleted, schema_version = excluded.schema_version, state = excluded.state
    WHERE excluded.version > s.version;
    DELETE FROM {schema}.strunk_snapshots o WHERE o.entity_type = p_former COLLATE "C" AND o.entity_id = ANY (v_entities);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Publishes one state, for SQL, triggers and other languages; returns its version. With deleted it publishes a tombstone,
-- and state must be null. Sends the wake-up with the caller's commit.
CREATE FUNCTION {schema}.strunk_publish(
    entity_type text, entity_id text, state json DEFAULT NULL, schema_version text DEFAULT NULL, metadata json DEFAULT NULL,
    diff json DEFAULT NULL, deleted boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_version bigint;
BEGIN
    IF coalesce(octet_length(entity_type), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'strunk_publish: entity_type: the name must have 1 to 200 bytes' USING ERRCODE = '22023';
    ELSIF coalesce(octet_length(entity_id), 0) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'strunk_publish: entity_id: must have 1 to 500 bytes' USING ERRCODE = '22023';
    ELSIF (state IS NULL) <> coalesce(deleted, false) THEN
        RAISE EXCEPTION 'strunk_publish: state: must be given, or deleted be true (give ''null''::json for a JSON null)' USING ERRCODE = '22023';
    ELSIF octet_length(state::text) > 1048576 OR octet_length(diff::text) > 1048576 OR octet_length(metadata::text) > 1048576 THEN
        RAISE EXCEPTION 'strunk_publish: state: more than 1 MiB; keep large data in a table of its own and publish its key' USING ERRCODE = '22023';
    END IF;
    SELECT p.version INTO v_version FROM {schema}.strunk_publish_many(ARRAY[entity_type], ARRAY[entity_id], ARRAY[state::text],
        ARRAY[schema_version], ARRAY[metadata::text], ARRAY[diff::text], true) p;
    RETURN v_version;
END $$;

-- Makes leaves of the feed until one that nothing has reached is ahead, and room for 10,000 events; returns how many. A leaf
-- is four times as large as the one before when that was made within the hour, and a quarter when it lasted two days. Safe
-- beside itself: an advisory lock. CREATE and ATTACH rather than PARTITION OF: ATTACH blocks no insert.
CREATE FUNCTION {schema}.strunk_ensure_feed_partitions() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_head  bigint;
    v_first bigint;
    v_size  bigint := 100000;
    v_made  integer := 0;
    v_last  {schema}.strunk_feed_parts;
    v_name  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('strunk_partitions:{schema}', 0));
    SELECT f.head INTO v_head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    SELECT p.* INTO v_last FROM {schema}.strunk_feed_parts p ORDER BY p.first DESC LIMIT 1;
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
        EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.strunk_outbox_delivered_events INCLUDING DEFAULTS)', v_name);
        -- The reader's index. Nothing else needs a position: ids are found by their block ranges, which rise with it.
        EXECUTE format('CREATE UNIQUE INDEX %I ON {schema}.%I (key, position)', v_name || '_read', v_name);
        EXECUTE format('CREATE INDEX %I ON {schema}.%I USING brin (id, position) WITH (pages_per_range = 32, autosummarize = on)', v_name || '_id', v_name);
        EXECUTE format('ALTER TABLE {schema}.strunk_outbox_delivered_events ATTACH PARTITION {schema}.%I FOR VALUES FROM (%s) TO (%s)',
            v_name, v_first, v_first + v_size);
        INSERT INTO {schema}.strunk_feed_parts (first, past, name) VALUES (v_first, v_first + v_size, v_name) RETURNING * INTO v_last;
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;

-- Moves up to p_limit waiting events into the feed, in seq order, and gives them their positions. The transaction must have
-- set strunk.relay to the result of the try for the relay's lock in an *earlier* statement: what this one sees then
-- includes all that earlier holders have done, and positions follow on theirs.
-- Looks at seqs above the highest seen and at the exact set of those missing below, nowhere else: the index entries of what
-- has been moved, which an open snapshot keeps alive, are never walked. p_sweep looks at all of them.
-- A missing seq is forgotten when no transaction is left that could still commit it: its publisher had an id before it drew
-- the seq, so before the one above was drawn, which this relay saw committed; fence is an id that a relay was given after
-- that, and so above the publisher's. Once pg_snapshot_xmin has passed it, the publisher has ended, and what it committed
-- is seen by the move that follows here.
-- Neither locks nor writes anything when nothing waits.
CREATE FUNCTION {schema}.strunk_relay(p_limit integer, p_sweep boolean)
RETURNS TABLE (locked boolean, moved integer, swept integer, head bigint, missing bigint, low boolean, types text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    f      {schema}.strunk_feed;
    v_was  {schema}.strunk_feed;
    v_look int8multirange;
    v_seen int8multirange;
    v_xmin xid8;
    v_now  timestamptz := clock_timestamp();
    v_seqs bigint[];
    v_last bigint;
    v_safe bigint;
BEGIN
    moved := 0;
    swept := 0;
    locked := coalesce(current_setting('strunk.relay', true), '') = 'true';
    IF NOT locked THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT s.* INTO f FROM {schema}.strunk_feed s ORDER BY s.slot DESC LIMIT 1;
    -- Before the move: whoever has ended by now is seen by it.
    SELECT pg_snapshot_xmin(pg_current_snapshot()) INTO v_xmin;
    v_was := f;
    v_look := CASE WHEN p_sweep THEN int8multirange(int8range(NULL, f.high + 1)) ELSE f.missing END;
    WITH c AS MATERIALIZED (
        SELECT x.seq, x.tid FROM (
            SELECT y.seq, y.tid FROM unnest(v_look) AS r(r) CROSS JOIN LATERAL (
                SELECT e.seq, e.ctid AS tid FROM {schema}.strunk_outbox_events e
                WHERE e.seq >= coalesce(lower(r.r), 0) AND e.seq < upper(r.r) ORDER BY e.seq LIMIT p_limit) y
            UNION ALL
            SELECT z.seq, z.tid FROM (
                SELECT e.seq, e.ctid AS tid FROM {schema}.strunk_outbox_events e
                WHERE e.seq > f.high ORDER BY e.seq LIMIT p_limit) z) x
        ORDER BY x.seq LIMIT p_limit),
    d AS (
        DELETE FROM {schema}.strunk_outbox_events e USING c WHERE e.ctid = c.tid RETURNING e.*),
    ins AS (
        INSERT INTO {schema}.strunk_outbox_delivered_events AS r
            (id, seq, position, version, created_at, finished_at, status, kind, key, entity_id, schema_version, payload, metadata, diff)
        SELECT d.id, d.seq, f.head + row_number() OVER (ORDER BY d.seq), d.version, d.created_at, v_now, 'delivered', 'event', d.key,
               d.entity_id, d.schema_version, d.payload, d.metadata, d.diff
        FROM d
        RETURNING r.seq, r.key)
    SELECT count(*), array_agg(ins.seq), max(ins.seq), array_agg(DISTINCT ins.key) INTO moved, v_seqs, v_last, types FROM ins;

    f.head := f.head + moved;
    v_last := coalesce(v_last, 0);
    IF p_sweep OR NOT isempty(f.missing) OR moved <> greatest(v_last - f.high, 0) THEN
        SELECT coalesce(range_agg(int8range(s, s, '[]')), '{}') INTO v_seen FROM unnest(v_seqs) s;
        IF p_sweep THEN
            SELECT count(*) INTO swept FROM unnest(v_seqs) s WHERE s <= f.high AND NOT f.missing @> s;
        END IF;
        f.missing := f.missing + int8multirange(int8range(f.high, greatest(v_last, f.high), '(]')) - v_seen;
    END IF;
    f.high := greatest(f.high, v_last);
    IF NOT isempty(f.missing) AND v_xmin > f.fence THEN
        -- A move that was cut off by its limit has looked no further than its last seq.
        v_safe := CASE WHEN moved >= p_limit THEN least(f.fence_high, v_last) ELSE f.fence_high END;
        f.missing := f.missing - int8multirange(int8range(NULL, v_safe, '[]'));
        f.fence := NULL;
    END IF;
    IF isempty(f.missing) THEN
        f.fence := NULL;
    ELSIF f.fence IS NULL THEN
        f.fence := pg_current_xact_id();
        f.fence_high := f.high;
    END IF;
    IF moved > 0 OR f.missing <> v_was.missing OR f.fence IS DISTINCT FROM v_was.fence THEN
        INSERT INTO {schema}.strunk_feed AS t (slot, head, high, fence_high, fence, moved_at, missing)
        VALUES (greatest(f.slot, extract(epoch FROM v_now)::bigint), f.head, f.high, f.fence_high, f.fence, v_now, f.missing)
        ON CONFLICT (slot) DO UPDATE
        SET head = excluded.head, high = excluded.high, fence_high = excluded.fence_high, fence = excluded.fence,
            moved_at = excluded.moved_at, missing = excluded.missing;
    END IF;
    head := f.head;
    SELECT coalesce(sum(upper(m) - lower(m)), 0) INTO missing FROM unnest(f.missing) m;
    SELECT coalesce(max(p.first), 0) <= f.head INTO low FROM {schema}.strunk_feed_parts p;
    RETURN NEXT;
END $$;

-- Up to p_limit events of a type behind p_after, in order. The first row is none of them: its position is the head of the
-- feed, its version the subscriber's epoch, its id the floor, its entity_id the owner, its schema_version 'paused', 'restart'
-- or ''; it is missing where there is no such subscriber. STABLE, so all of it is of one snapshot: no event at or before the head is missing.
-- p_former are former names of the type, whose events come in between.
CREATE FUNCTION {schema}.strunk_read_feed(p_name text, p_type text, p_after bigint, p_limit integer, p_former text[] DEFAULT '{}')
RETURNS TABLE (pos bigint, version bigint, id bigint, published_at timestamptz, entity_id text, schema_version text,
    payload json, metadata json, diff json)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT (SELECT f.head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1), s.epoch,
           (SELECT l.floor FROM {schema}.strunk_feed_floor l), NULL::timestamptz, s.owner::text,
           CASE WHEN s.needs_restart THEN 'restart' WHEN s.paused THEN 'paused' ELSE '' END, NULL::json, NULL::json, NULL::json
    FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    IF p_limit > 0 AND p_former = '{}' THEN
        RETURN QUERY
        SELECT e.position, e.version, e.id, e.created_at, e.entity_id, e.schema_version, e.payload, e.metadata, e.diff
        FROM {schema}.strunk_outbox_delivered_events e
        WHERE e.key = p_type AND e.position > p_after ORDER BY e.position LIMIT p_limit;
    ELSIF p_limit > 0 THEN
        RETURN QUERY
        SELECT e.* FROM unnest(p_type || p_former) AS t(type) CROSS JOIN LATERAL (
            SELECT e.position, e.version, e.id, e.created_at, e.entity_id, e.schema_version, e.payload, e.metadata, e.diff
            FROM {schema}.strunk_outbox_delivered_events e
            WHERE e.key = t.type AND e.position > p_after ORDER BY e.position LIMIT p_limit) e
        ORDER BY e.position LIMIT p_limit;
    END IF;
END $$;

-- Registers a subscriber and gives it its place, or leaves the one of that name as it is. Returns its entity type and
-- whether it is new. p_start is 'beginning', 'now' or 'snapshots'. Holds the floor FOR SHARE: retention cannot pass the
-- place before it is committed.
-- One that follows a former name of p_type (p_former) follows p_type from now on: see strunk_rename_subscriber. outdated says
-- that p_type is such a former name itself.
CREATE FUNCTION {schema}.strunk_register(p_name text, p_type text, p_start text, p_lease_ms integer, p_former text[] DEFAULT '{}')
RETURNS TABLE (entity_type text, registered boolean, outdated boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_floor bigint;
    v_at    bigint;
BEGIN
    SELECT s.entity_type INTO entity_type FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    registered := NOT FOUND;
    IF registered THEN
        SELECT l.floor INTO v_floor FROM {schema}.strunk_feed_floor l FOR SHARE;
        SELECT CASE WHEN p_start = 'beginning' THEN v_floor ELSE f.head END INTO v_at FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
        INSERT INTO {schema}.strunk_subscribers (cursor, started, lease_ms, boot, name, entity_type, start)
        VALUES (v_at, v_at, p_lease_ms, CASE WHEN p_start = 'snapshots' THEN 1 ELSE 0 END, p_name, p_type, p_start)
        ON CONFLICT (name) DO NOTHING;
        registered := FOUND;
        SELECT s.entity_type INTO entity_type FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    END IF;
    IF entity_type = ANY (p_former) THEN
        PERFORM {schema}.strunk_rename_subscriber(p_name, p_type, p_former);
    END IF;
    SELECT s.entity_type, s.former @> ARRAY[p_type] INTO entity_type, outdated FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    RETURN NEXT;
END $$;

-- Has a subscriber of an entity type that was renamed follow the new name. An owner that knows the former one alone would
-- pass the events under the new one, so it ends here: the epoch is over and the subscriber free; strunk_own gives it to those
-- that know the name. Events under the new name that the cursor has passed so come again, with whatever lies between.
-- Locks as strunk_rewind.
CREATE FUNCTION {schema}.strunk_rename_subscriber(p_name text, p_type text, p_former text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
DECLARE
    s       {schema}.strunk_subscribers;
    v_floor bigint;
    v_first bigint;
BEGIN
    SELECT l.floor INTO v_floor FROM {schema}.strunk_feed_floor l FOR SHARE;
    SELECT t.* INTO s FROM {schema}.strunk_subscribers t WHERE t.name = p_name FOR UPDATE;
    IF NOT FOUND OR s.entity_type <> ALL (p_former) THEN
        RETURN;
    END IF;
    SELECT e.position INTO v_first FROM {schema}.strunk_outbox_delivered_events e WHERE e.key = p_type AND e.position > v_floor ORDER BY e.position LIMIT 1;
    -- One that is still given the snapshots begins with them again: those under the new name may lie behind its mark.
    IF s.boot <> 1 AND v_first <= s.cursor THEN
        s.cursor := v_first - 1;
    END IF;
    UPDATE {schema}.strunk_subscribers t
    SET entity_type = p_type, former = array_append(array_remove(s.former, p_type), s.entity_type), epoch = s.epoch + 1, owner = NULL, pid = NULL,
        host = NULL, cursor = s.cursor, started = s.cursor, boot_mark = NULL
    WHERE t.name = p_name;
    UPDATE {schema}.strunk_outbox_deliveries d SET key = p_type WHERE d.subscriber = p_name AND d.key = s.entity_type;
    UPDATE {schema}.strunk_outbox_dead d SET key = p_type WHERE d.subscriber = p_name AND d.kind = 'delivery' AND d.key = s.entity_type;
    PERFORM pg_notify({channel}, 's:' || p_name);
END $$;

-- Makes p_owner the owner of a subscriber that has none, or whose epoch and beat still stand where the caller has watched
-- them for a whole lease, or that it owns already (after a rewind). Returns nothing where it is another's, or does not follow
-- p_type (any more). An owner that was lost may have begun what is up to started: crashed says so.
CREATE FUNCTION {schema}.strunk_own(p_name text, p_owner bigint, p_epoch bigint, p_beat bigint, p_pid integer, p_host text, p_lease_ms integer, p_type text)
RETURNS TABLE (cursor bigint, started bigint, epoch bigint, crashed boolean, boot smallint, boot_mark text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    s {schema}.strunk_subscribers;
BEGIN
    SELECT t.* INTO s FROM {schema}.strunk_subscribers t WHERE t.name = p_name FOR NO KEY UPDATE;
    IF NOT FOUND OR s.entity_type <> p_type OR NOT (s.owner IS NULL OR s.owner = p_owner OR (s.epoch = p_epoch AND s.beat = p_beat)) THEN
        RETURN;
    END IF;
    UPDATE {schema}.strunk_subscribers t
    SET owner = p_owner, epoch = t.epoch + 1, beat = t.beat + 1, beat_at = clock_timestamp(), pid = p_pid, host = p_host, lease_ms = p_lease_ms
    WHERE t.name = p_name;
    RETURN QUERY SELECT s.cursor, greatest(s.started, s.cursor), s.epoch + 1, s.owner IS NOT NULL AND s.owner <> p_owner, s.boot, s.boot_mark;
END $$;

-- Who owns a subscriber, how far its heartbeat is and what it follows, for one that would like to own it.
CREATE FUNCTION {schema}.strunk_watch_subscriber(p_name text)
RETURNS TABLE (owner bigint, epoch bigint, beat bigint, lease_ms integer, entity_type text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.owner, s.epoch, s.beat, s.lease_ms, s.entity_type FROM {schema}.strunk_subscribers s WHERE s.name = p_name
$$;

-- Renews an owner's lease; returns the epoch, which a rewind has raised, or null where it is the owner no more.
CREATE FUNCTION {schema}.strunk_beat_subscriber(p_name text, p_owner bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
    UPDATE {schema}.strunk_subscribers s SET beat = s.beat + 1, beat_at = clock_timestamp()
    WHERE s.name = p_name AND s.owner = p_owner RETURNING s.epoch
$$;

-- Gives a subscriber up, cleanly: nothing of it is under way any more.
CREATE FUNCTION {schema}.strunk_disown(p_name text, p_owner bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET owner = NULL, started = s.cursor, pid = NULL, host = NULL
    WHERE s.name = p_name AND s.owner = p_owner;
    RETURN FOUND;
END $$;

-- Moves a cursor forward and, with p_tidy, drops the attempts behind it. Fenced; false where the epoch is another. Locks
-- the subscriber's row.
CREATE FUNCTION {schema}.strunk_move_cursor(p_name text, p_epoch bigint, p_cursor bigint, p_tidy boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET cursor = p_cursor, started = greatest(s.started, p_cursor), moved_at = clock_timestamp()
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.cursor < p_cursor;
    IF NOT FOUND THEN
        RETURN EXISTS (SELECT 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch);
    END IF;
    IF p_tidy THEN
        DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name AND r.position BETWEEN 1 AND p_cursor;
    END IF;
    RETURN true;
END $$;

-- Says that events up to p_started may be begun. Fenced; false where the epoch is another.
CREATE FUNCTION {schema}.strunk_start_events(p_name text, p_epoch bigint, p_started bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET started = greatest(s.started, p_started) WHERE s.name = p_name AND s.epoch = p_epoch;
    RETURN FOUND;
END $$;

-- The next p_limit entities of a type behind id p_after that are not deleted, in order of the ids, under any of the type's names: the
-- newest version counts. A name's rows are read in the order of the primary key, at most p_limit of them and the stubs between.
CREATE FUNCTION {schema}.strunk_live_snapshots(p_types text[], p_after text, p_limit integer)
RETURNS TABLE (version bigint, updated_at timestamptz, entity_id text, schema_version text, state json)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT l.* FROM unnest(p_types) AS t(type) CROSS JOIN LATERAL (
        SELECT s.version, s.updated_at, s.entity_id, s.schema_version, s.state FROM {schema}.strunk_snapshots s
        WHERE s.entity_type = t.type COLLATE "C" AND s.entity_id > p_after COLLATE "C" AND NOT s.deleted
          AND NOT EXISTS (SELECT 1 FROM unnest(p_types) AS r(type) JOIN {schema}.strunk_snapshots o ON o.entity_type = r.type COLLATE "C"
                          WHERE r.type <> t.type AND o.entity_id = s.entity_id AND o.version > s.version)
        ORDER BY s.entity_id LIMIT p_limit) l
    ORDER BY l.entity_id LIMIT p_limit;
END $$;

-- The next entities of a type behind boot_mark p_after, as they are now, without deleted ones; their versions are kept, so
-- that the feed can be followed without what the subscriber has had. Fenced: nothing where the epoch is another. p_former are
-- former names of the type: of an entity that is there under several names, the newest version counts.
CREATE FUNCTION {schema}.strunk_scan_snapshots(p_name text, p_epoch bigint, p_type text, p_after text, p_limit integer, p_former text[] DEFAULT '{}')
RETURNS TABLE (version bigint, updated_at timestamptz, entity_id text, schema_version text, state json)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'strunk_scan_snapshots: epoch % of subscriber % is over', p_epoch, p_name USING ERRCODE = 'STR01';
    END IF;
    RETURN QUERY
    WITH c AS MATERIALIZED (
        SELECT s.version, s.updated_at, s.entity_id, s.schema_version, s.state FROM {schema}.strunk_live_snapshots(p_type || p_former, p_after, p_limit) s),
    kept AS (
        INSERT INTO {schema}.strunk_bootstrap AS b (version, subscriber, entity_id) SELECT c.version, p_name, c.entity_id FROM c
        ON CONFLICT (subscriber, entity_id) DO UPDATE SET version = excluded.version)
    SELECT c.* FROM c ORDER BY c.entity_id;
END $$;

-- Keeps how far a subscriber is in the snapshots; an earlier mark changes nothing. Fenced; false where the epoch is another.
CREATE FUNCTION {schema}.strunk_move_scan(p_name text, p_epoch bigint, p_mark text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET boot_mark = p_mark, moved_at = clock_timestamp()
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.boot = 1 AND (s.boot_mark IS NULL OR s.boot_mark < p_mark COLLATE "C");
    IF NOT FOUND THEN
        RETURN EXISTS (SELECT 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch AND s.boot = 1);
    END IF;
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name AND r.position = 0 AND r.entity_id <= p_mark COLLATE "C";
    RETURN true;
END $$;

-- Ends the delivery of the snapshots, in two calls or more: the first goes over to the feed and remembers the highest seq
-- that waits for the relay (whatever a snapshot that was read could contain is at or below it, or in the feed already).
-- When none at or below it waits any more, the head of that moment is where the kept versions end; when the cursor is
-- there, they are dropped. Returns the state.
CREATE FUNCTION {schema}.strunk_end_scan(p_name text, p_epoch bigint) RETURNS smallint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
DECLARE
    s {schema}.strunk_subscribers;
BEGIN
    SELECT t.* INTO s FROM {schema}.strunk_subscribers t WHERE t.name = p_name AND t.epoch = p_epoch FOR NO KEY UPDATE;
    IF NOT FOUND OR s.boot = 0 THEN
        RETURN 0;
    END IF;
    IF s.boot = 1 THEN
        SELECT max(e.seq) INTO s.boot_seq FROM {schema}.strunk_outbox_events e;
        UPDATE {schema}.strunk_subscribers t SET boot = 2, boot_mark = NULL, boot_seq = coalesce(s.boot_seq, 0), boot_head = NULL WHERE t.name = p_name;
        RETURN 2;
    END IF;
    IF s.boot_head IS NULL THEN
        PERFORM 1 FROM {schema}.strunk_outbox_events e WHERE e.seq <= s.boot_seq LIMIT 1;
        IF FOUND THEN
            RETURN 2;
        END IF;
        SELECT f.head INTO s.boot_head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
        UPDATE {schema}.strunk_subscribers t SET boot_head = s.boot_head WHERE t.name = p_name;
    END IF;
    IF s.cursor < s.boot_head THEN
        RETURN 2;
    END IF;
    DELETE FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name;
    UPDATE {schema}.strunk_subscribers t SET boot = 0, boot_seq = NULL, boot_head = NULL WHERE t.name = p_name;
    RETURN 0;
END $$;

-- Which of these entities had which version from the snapshots.
CREATE FUNCTION {schema}.strunk_had(p_name text, p_ids text[]) RETURNS TABLE (entity_id text, version bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT b.entity_id, b.version FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name AND b.entity_id = ANY (p_ids)
$$;

-- Counts an attempt before it is made, and returns the attempts with it and whether a person has asked to skip the event.
-- Fenced: nothing where the epoch is another. Only events that have failed, or were under way when an owner was lost, come
-- here; p_least is what they have had at least.
CREATE FUNCTION {schema}.strunk_try_event(p_name text, p_epoch bigint, p_position bigint, p_entity text, p_least integer)
RETURNS TABLE (attempts integer, skip boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    INSERT INTO {schema}.strunk_retries AS r (position, attempts, subscriber, entity_id) VALUES (p_position, p_least + 1, p_name, p_entity)
    ON CONFLICT (subscriber, position, entity_id) DO UPDATE
    SET attempts = greatest(r.attempts, p_least) + CASE WHEN r.skip THEN 0 ELSE 1 END, tried_at = clock_timestamp()
    RETURNING r.attempts, r.skip;
END $$;

-- Drops the attempts of an event that was handled while the cursor cannot pass it yet: the next crash is not its fault.
-- Fenced; false where the epoch is another.
CREATE FUNCTION {schema}.strunk_event_handled(p_name text, p_epoch bigint, p_position bigint, p_entity text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name AND r.position = p_position AND r.entity_id = p_entity;
    RETURN true;
END $$;

-- Keeps why an attempt failed. Returns whether a person has asked to skip the event; null where the epoch is another.
CREATE FUNCTION {schema}.strunk_event_failed(p_name text, p_epoch bigint, p_position bigint, p_entity text, p_attempts integer, p_error text, p_stack text, p_by text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_skip boolean;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO {schema}.strunk_retries AS r (position, attempts, subscriber, entity_id, last_error, errors)
    VALUES (p_position, p_attempts, p_name, p_entity, p_error, {schema}.strunk_add_error(NULL, p_attempts, clock_timestamp(), p_error, p_stack, p_by))
    ON CONFLICT (subscriber, position, entity_id) DO UPDATE
    SET attempts = greatest(r.attempts, excluded.attempts), last_error = excluded.last_error,
        errors = {schema}.strunk_add_error(r.errors, p_attempts, clock_timestamp(), p_error, p_stack, p_by)
    RETURNING r.skip INTO v_skip;
    RETURN v_skip;
END $$;

-- Copies an event for one subscriber: scheduled (p_delay_ms; null is parked, until a person acts) or dead. With p_behind it
-- is copied only where older copies of the entity wait, and 'free' says that there are none. 'gone' says that the epoch is
-- another. A copy that is there already, from before a crash, is left. KEY SHARE on the subscriber's row: whoever releases
-- copies holds it FOR UPDATE.
CREATE FUNCTION {schema}.strunk_copy_event(
    p_name text, p_epoch bigint, p_type text, p_entity text, p_id bigint, p_position bigint, p_version bigint, p_published timestamptz,
    p_schema_version text, p_payload text, p_metadata text, p_diff text, p_attempts integer, p_max_attempts integer,
    p_error text, p_stack text, p_by text, p_delay_ms bigint, p_dead boolean, p_behind boolean)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_errors jsonb;
    v_id     bigint;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    IF p_behind THEN
        PERFORM 1 FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name AND d.key = p_type AND d.entity_id = p_entity LIMIT 1;
        IF NOT FOUND THEN
            RETURN 'free';
        END IF;
    END IF;
    SELECT r.errors INTO v_errors FROM {schema}.strunk_retries r
    WHERE r.subscriber = p_name AND r.position = p_position AND r.entity_id = CASE WHEN p_position = 0 THEN p_entity ELSE '' END;
    v_errors := {schema}.strunk_add_error(v_errors, p_attempts, v_now, p_error, p_stack, p_by);
    PERFORM pg_current_xact_id();
    v_id := nextval('{schema}.strunk_outbox_id_seq');
    IF p_dead THEN
        INSERT INTO {schema}.strunk_outbox_dead
            (id, seq, position, version, created_at, finished_at, attempts, max_attempts, status, kind, key, entity_id,
             subscriber, schema_version, last_error, payload, metadata, diff, errors)
        VALUES (v_id, v_id, p_position, p_version, p_published, v_now, least(p_attempts, 32767), p_max_attempts, 'dead', 'delivery', p_type, p_entity,
             p_name, p_schema_version, p_error, p_payload::json, p_metadata::json, p_diff::json, v_errors);
        RETURN 'dead';
    END IF;
    PERFORM 1 FROM {schema}.strunk_outbox_deliveries d
    WHERE d.subscriber = p_name AND d.key = p_type AND d.entity_id = p_entity AND d.version = p_version AND d.position = p_position;
    IF NOT FOUND THEN
        INSERT INTO {schema}.strunk_outbox_deliveries
            (id, seq, position, version, created_at, due_at, attempts, max_attempts, status, kind, key, entity_id,
             subscriber, schema_version, last_error, payload, metadata, diff, errors)
        VALUES (v_id, v_id, p_position, p_version, p_published, v_now + p_delay_ms * interval '1 millisecond', least(p_attempts, 32767),
             p_max_attempts, 'scheduled', 'delivery', p_type, p_entity, p_name, p_schema_version, p_error, p_payload::json,
             p_metadata::json, p_diff::json, v_errors);
    END IF;
    RETURN 'held';
END $$;

-- The entities of a type that have copies waiting for a subscriber.
CREATE FUNCTION {schema}.strunk_held(p_name text, p_type text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT d.entity_id FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name AND d.key = p_type
$$;

-- The oldest copy of each entity, where it is to be redelivered now; wait_ms is null there, and otherwise says how long
-- until it is. Copies that nobody has asked for are left out. A claim of an epoch that is over counts for nothing.
CREATE FUNCTION {schema}.strunk_redeliveries(p_name text, p_epoch bigint, p_type text, p_limit integer)
RETURNS TABLE (entity_id text, wait_ms bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT d.entity_id, CASE WHEN d.status = 'scheduled' AND d.due_at > v_now THEN ceil(extract(epoch FROM d.due_at - v_now) * 1000)::bigint END
    FROM (
        SELECT DISTINCT ON (t.entity_id) t.entity_id, t.status, t.due_at, t.claim_no FROM {schema}.strunk_outbox_deliveries t
        WHERE t.subscriber = p_name AND t.key = p_type ORDER BY t.entity_id, t.version, t.id) d
    WHERE d.status = 'pending' OR (d.status = 'scheduled' AND d.due_at IS NOT NULL) OR (d.status = 'claimed' AND d.claim_no <> p_epoch)
    ORDER BY 2 NULLS FIRST LIMIT p_limit;
END $$;

-- Takes the oldest copy of an entity where it is to be redelivered now, and counts the attempt. left says how many copies
-- the entity has; no row: nothing to be done now. Fenced.
CREATE FUNCTION {schema}.strunk_redeliver(p_name text, p_epoch bigint, p_type text, p_entity text)
RETURNS TABLE (id bigint, pos bigint, version bigint, published_at timestamptz, schema_version text, payload json, metadata json, diff json,
    attempts smallint, max_attempts smallint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_id  bigint;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT d.id INTO v_id FROM {schema}.strunk_outbox_deliveries d
    WHERE d.subscriber = p_name AND d.key = p_type AND d.entity_id = p_entity ORDER BY d.version, d.id LIMIT 1;
    RETURN QUERY
    UPDATE {schema}.strunk_outbox_deliveries d
    SET status = 'claimed', claim_no = p_epoch, claimed_at = v_now, attempts = least(d.attempts + 1, 32767), due_at = NULL
    WHERE d.id = v_id AND (d.status = 'pending' OR (d.status = 'scheduled' AND d.due_at <= v_now) OR (d.status = 'claimed' AND d.claim_no <> p_epoch))
    RETURNING d.id, d.position, d.version, d.created_at, d.schema_version, d.payload, d.metadata, d.diff, d.attempts, d.max_attempts;
END $$;

-- Makes the oldest copy of an entity pending where it only waits behind one that has gone; returns whether any is left.
CREATE FUNCTION {schema}.strunk_next_copy(p_name text, p_type text, p_entity text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT d.id INTO v_id FROM {schema}.strunk_outbox_deliveries d
    WHERE d.subscriber = p_name AND d.key = p_type AND d.entity_id = p_entity ORDER BY d.version, d.id LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE {schema}.strunk_outbox_deliveries d SET status = 'pending' WHERE d.id = v_id AND d.status = 'scheduled' AND d.due_at IS NULL;
    RETURN true;
END $$;

-- Removes a copy that was handled and lets the next of its entity follow. Returns whether one is left; null where the
-- epoch is another.
CREATE FUNCTION {schema}.strunk_redelivered(p_name text, p_epoch bigint, p_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_type   text;
    v_entity text;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.id = p_id AND d.status = 'claimed' AND d.claim_no = p_epoch RETURNING d.key, d.entity_id INTO v_type, v_entity;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN {schema}.strunk_next_copy(p_name, v_type, v_entity);
END $$;

-- Keeps why the redelivery of a copy failed: it is due again after p_delay_ms, parked (null), or with p_bury it becomes a
-- dead letter and the next of its entity follows. Returns as strunk_redelivered does.
CREATE FUNCTION {schema}.strunk_redelivery_failed(
    p_name text, p_epoch bigint, p_id bigint, p_error text, p_stack text, p_by text, p_delay_ms bigint, p_bury boolean)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_type   text;
    v_entity text;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name AND s.epoch = p_epoch FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE {schema}.strunk_outbox_deliveries d
    SET status = 'scheduled', due_at = v_now + p_delay_ms * interval '1 millisecond', last_error = p_error,
        errors = {schema}.strunk_add_error(d.errors, d.attempts, v_now, p_error, p_stack, p_by)
    WHERE d.id = p_id AND d.status = 'claimed' AND d.claim_no = p_epoch RETURNING d.key, d.entity_id INTO v_type, v_entity;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF p_bury THEN
        PERFORM {schema}.strunk_bury_copy(p_id);
        RETURN {schema}.strunk_next_copy(p_name, v_type, v_entity);
    END IF;
    RETURN true;
END $$;

-- Moves a copy to the dead letters.
CREATE FUNCTION {schema}.strunk_bury_copy(p_id bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH d AS (DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.id = p_id RETURNING d.*)
    INSERT INTO {schema}.strunk_outbox_dead
        (id, seq, position, version, claim_no, created_at, claimed_at, finished_at, attempts, max_attempts, priority, status, kind, key,
         entity_id, subscriber, schema_version, last_error, payload, metadata, diff, errors)
    SELECT d.id, d.seq, d.position, d.version, d.claim_no, d.created_at, d.claimed_at, clock_timestamp(), d.attempts, d.max_attempts,
           d.priority, 'dead', d.kind, d.key, d.entity_id, d.subscriber, d.schema_version, d.last_error, d.payload, d.metadata, d.diff, d.errors
    FROM d
$$;

-- Has the parked copies of a subscriber tried again, of one entity or (null) of all: their attempts begin anew. Returns how
-- many. FOR UPDATE on the subscriber's row: no copy is added meanwhile.
CREATE FUNCTION {schema}.strunk_retry_parked(p_name text, p_entity text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
DECLARE
    v_n bigint;
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s WHERE s.name = p_name FOR UPDATE;
    WITH h AS (
        SELECT DISTINCT ON (t.key, t.entity_id) t.id, t.status FROM {schema}.strunk_outbox_deliveries t
        WHERE t.subscriber = p_name AND (p_entity IS NULL OR t.entity_id = p_entity) ORDER BY t.key, t.entity_id, t.version, t.id)
    UPDATE {schema}.strunk_outbox_deliveries d SET status = 'pending', attempts = 0, due_at = NULL
    FROM h WHERE d.id = h.id AND d.status = 'scheduled';
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Gives up on an entity's oldest copy: it becomes a dead letter, and what is held behind it is delivered. Returns whether
-- there was one.
CREATE FUNCTION {schema}.strunk_release_parked(p_name text, p_entity text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
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
    PERFORM {schema}.strunk_bury_copy(v_id);
    PERFORM {schema}.strunk_next_copy(p_name, v_type, p_entity);
    RETURN true;
END $$;

-- Has a subscriber's dead letters redelivered to it alone, by id or (null) all of them; returns how many. Their attempts
-- begin anew. In id order.
CREATE FUNCTION {schema}.strunk_retry_dead_deliveries(p_name text, p_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_n bigint;
BEGIN
    WITH d AS (
        DELETE FROM {schema}.strunk_outbox_dead d
        WHERE d.subscriber = p_name AND d.kind = 'delivery' AND (p_ids IS NULL OR d.id = ANY (p_ids)) RETURNING d.*)
    INSERT INTO {schema}.strunk_outbox_deliveries
        (id, seq, position, version, created_at, attempts, max_attempts, priority, status, kind, key, entity_id, subscriber,
         schema_version, last_error, payload, metadata, diff, errors)
    SELECT d.id, nextval('{schema}.strunk_outbox_id_seq'), d.position, d.version, d.created_at, 0, d.max_attempts, d.priority, 'pending',
           d.kind, d.key, d.entity_id, d.subscriber, d.schema_version, d.last_error, d.payload, d.metadata, d.diff, d.errors
    FROM d;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- On the dead leaf alone: a dead delivery that a person sets back to pending is redelivered to its subscriber.
CREATE FUNCTION {schema}.strunk_revive_delivery() RETURNS trigger
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

CREATE TRIGGER strunk_revive_delivery BEFORE UPDATE ON {schema}.strunk_outbox_dead
    FOR EACH ROW WHEN (OLD.kind = 'delivery' AND NEW.status IN ('pending', 'scheduled'))
    EXECUTE FUNCTION {schema}.strunk_revive_delivery();

-- Sets a subscriber's place: the events from p_from on are delivered again; 0 is the earliest kept. It raises the epoch, so
-- that the owner drops what is under way, and drops the copies of what comes again. With p_reset it starts over as it was
-- registered: one that began with the snapshots does so again, the others at the earliest kept. outcome is 'ok', 'unknown'
-- or 'range'. Holds the floor FOR SHARE: retention cannot pass the place before it is committed.
CREATE FUNCTION {schema}.strunk_rewind(p_name text, p_from bigint, p_reset boolean)
RETURNS TABLE (outcome text, earliest bigint, head bigint, cursor bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_floor bigint;
    v_scan  boolean;
BEGIN
    SELECT l.floor INTO v_floor FROM {schema}.strunk_feed_floor l FOR SHARE;
    SELECT p_reset AND s.start = 'snapshots' INTO v_scan FROM {schema}.strunk_subscribers s WHERE s.name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'unknown';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT f.head INTO head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1;
    earliest := v_floor + 1;
    IF p_from <> 0 AND (p_from < earliest OR p_from > head) THEN
        outcome := 'range';
        RETURN NEXT;
        RETURN;
    END IF;
    cursor := CASE WHEN v_scan THEN head WHEN p_from = 0 THEN v_floor ELSE p_from - 1 END;
    UPDATE {schema}.strunk_subscribers s
    SET cursor = strunk_rewind.cursor, started = strunk_rewind.cursor, epoch = s.epoch + 1, needs_restart = false, moved_at = clock_timestamp(),
        boot = CASE WHEN v_scan THEN 1 ELSE 0 END, boot_mark = NULL, boot_seq = NULL, boot_head = NULL
    WHERE s.name = p_name;
    DELETE FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name;
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name;
    DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name AND (v_scan OR p_reset OR d.position > strunk_rewind.cursor);
    outcome := 'ok';
    RETURN NEXT;
END $$;

-- Pauses or resumes a subscriber; false where there is none.
CREATE FUNCTION {schema}.strunk_pause_subscriber(p_name text, p_paused boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET paused = p_paused WHERE s.name = p_name;
    RETURN FOUND;
END $$;

-- Has a subscriber skip the event that blocks it: a copy goes to the dead letters. False where nothing blocks it.
CREATE FUNCTION {schema}.strunk_skip_event(p_name text, p_position bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_retries r SET skip = true WHERE r.subscriber = p_name AND r.position = p_position AND r.last_error IS NOT NULL;
    RETURN FOUND;
END $$;

-- Removes a subscriber and its waiting copies; its dead letters stay. Its owner, where it has one, notices.
CREATE FUNCTION {schema}.strunk_unregister(p_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    DELETE FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name;
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name;
    DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name;
    RETURN true;
END $$;

-- Raises the floor of the feed: whole leaves whose last event was relayed longer than p_retention_ms ago, and that every
-- registered subscriber has passed. p_cap_ms (null: none) drops what is older than that whoever has not passed it, and marks
-- those subscribers. Returns the leaves behind the floor, which may then be detached and dropped, and the subscribers
-- marked. Locks the floor: a subscriber that chooses its place comes before or after, never in between.
CREATE FUNCTION {schema}.strunk_raise_floor(p_retention_ms bigint, p_cap_ms bigint)
RETURNS TABLE (leaf text, marked text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_floor  bigint;
    v_old    bigint;
    v_capped bigint;
    v_passed bigint;
    v_new    bigint;
BEGIN
    SELECT l.floor INTO v_floor FROM {schema}.strunk_feed_floor l FOR UPDATE;
    SELECT f.head INTO v_old FROM {schema}.strunk_feed f WHERE f.moved_at <= v_now - p_retention_ms * interval '1 millisecond' ORDER BY f.slot DESC LIMIT 1;
    SELECT f.head INTO v_capped FROM {schema}.strunk_feed f WHERE f.moved_at <= v_now - greatest(p_cap_ms, p_retention_ms) * interval '1 millisecond'
    AND p_cap_ms IS NOT NULL ORDER BY f.slot DESC LIMIT 1;
    SELECT min(s.cursor) INTO v_passed FROM {schema}.strunk_subscribers s WHERE NOT s.needs_restart;
    SELECT max(p.past) - 1 INTO v_new FROM {schema}.strunk_feed_parts p
    -- least() leaves out nulls: without this an installation younger than the retention would drop whatever all have passed.
    WHERE p.past - 1 <= greatest(CASE WHEN v_old IS NOT NULL THEN least(v_old, v_passed) END, v_capped);
    IF v_new > v_floor THEN
        UPDATE {schema}.strunk_feed_floor l SET floor = v_new;
        RETURN QUERY UPDATE {schema}.strunk_subscribers s SET needs_restart = true WHERE s.cursor < v_new AND NOT s.needs_restart RETURNING NULL::text, s.name;
        v_floor := v_new;
    END IF;
    RETURN QUERY SELECT p.name, NULL::text FROM {schema}.strunk_feed_parts p WHERE p.past - 1 <= v_floor ORDER BY p.first;
    -- Of the record of positions and times, the newest of each minute is kept, and nothing that is older than all leaves.
    DELETE FROM {schema}.strunk_feed f WHERE f.slot < (SELECT max(g.slot) FROM {schema}.strunk_feed g) - 3600 AND (f.head < v_floor OR EXISTS (
        SELECT 1 FROM {schema}.strunk_feed g WHERE g.slot > f.slot AND g.slot < (f.slot / 60 + 1) * 60));
END $$;

-- Forgets a leaf of the feed that has been dropped, with its table where that is detached.
CREATE FUNCTION {schema}.strunk_forget_feed_part(p_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
    IF p_name !~ '^strunk_outbox_delivered_events_[0-9]+$' THEN
        RAISE EXCEPTION 'strunk_forget_feed_part: % is no leaf of the feed', p_name USING ERRCODE = '22023';
    END IF;
    IF EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = to_regclass('{schema}.' || quote_ident(p_name))) THEN
        RAISE EXCEPTION 'strunk_forget_feed_part: % is still attached', p_name USING ERRCODE = '55006';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS {schema}.%I', p_name);
    DELETE FROM {schema}.strunk_feed_parts p WHERE p.name = p_name;
END $$;

SELECT {schema}.strunk_ensure_feed_partitions();
