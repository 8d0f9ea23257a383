-- Publishing state events.

-- Publishes states in one statement. Arrays of length one give the value for all; a null state is a
-- tombstone. The list is in item order, and within an entity so are the versions. Locks: the
-- snapshot rows, in "C" order of (type, id), until the end of the caller's transaction: seq is
-- drawn under that lock, so that within an entity seq and version follow the order of the commits.
-- An entity that is there n times is locked once and its version raised by n. pg_current_xact_id()
-- first: whoever draws a seq has an id already, which is what makes the relay's fence safe.
CREATE OR REPLACE FUNCTION {schema}.strunk_publish_many(
    p_types text[], p_ids text[], p_states text[], p_schema_versions text[], p_metadata text[], p_diffs text[],
        p_notify boolean)
RETURNS TABLE (ord integer, id bigint, version bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_version bigint;
BEGIN
    PERFORM pg_current_xact_id();
    IF cardinality(p_ids) = 1 THEN
        INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id,
            schema_version, state)
        VALUES (1, clock_timestamp(), p_states[1] IS NULL, p_types[1], p_ids[1], p_schema_versions[1],
            p_states[1]::json)
        ON CONFLICT (entity_type, entity_id) DO UPDATE
        SET version = s.version + 1, updated_at = clock_timestamp(), deleted = excluded.deleted,
            schema_version = excluded.schema_version, state = excluded.state
        RETURNING s.version INTO v_version;
        RETURN QUERY
        INSERT INTO {schema}.strunk_outbox_events AS e
            (id, seq, version, created_at, status, kind, key, entity_id, schema_version, payload, metadata, diff)
        VALUES (nextval('{schema}.strunk_outbox_id_seq'), nextval('{schema}.strunk_events_seq'), v_version,
            clock_timestamp(), 'pending',
            'event', p_types[1], p_ids[1], p_schema_versions[1], p_states[1]::json, p_metadata[1]::json,
                p_diffs[1]::json)
        RETURNING 1, e.id, e.version;
    ELSE
        RETURN QUERY
        WITH items AS MATERIALIZED (
            SELECT i.*, row_number() OVER (PARTITION BY i.entity, i.type ORDER BY i.o) AS nth,
                   count(*) OVER (PARTITION BY i.entity, i.type) AS times
            FROM (SELECT u.o, coalesce(u.type, p_types[1]) COLLATE "C" AS type, u.entity COLLATE "C" AS entity,
                u.state::json AS state,
                         coalesce(u.schema_version, p_schema_versions[1]) AS schema_version,
                         coalesce(u.metadata, p_metadata[1])::json AS metadata, u.diff::json AS diff
                  FROM unnest(p_ids, p_types, p_states, p_schema_versions, p_metadata, p_diffs)
                       WITH ORDINALITY AS u(entity, type, state, schema_version, metadata, diff, o)) i),
        up AS (
            INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id,
                schema_version, state)
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
            SELECT r.n, r.seq, r.version, clock_timestamp(), 'pending', 'event', r.type, r.entity,
                r.schema_version, r.state, r.metadata, r.diff
            FROM rows r)
        SELECT r.o::integer, r.n, r.version FROM rows r;
    END IF;
    IF p_notify AND {schema}.strunk_relay_may_sleep() THEN
        PERFORM {schema}.strunk_announce('relay');
    END IF;
END $$;

-- Publishes states of renamed entity types: p_previous_names[n] is a previous name of type
-- p_names[n], under which processes may still publish. An entity has one line of versions under all
-- its names, counted in the rows of both: the row under each previous name is made where it is
-- missing, locked first, and left as a stub with the new version. So whoever publishes next, under
-- either name, goes on from there, and seq follows the order of the commits. Locks: the rows under
-- previous names, in the order of p_previous_names, oldest first, and in "C" order of the ids, then
-- as strunk_publish_many.
CREATE OR REPLACE FUNCTION {schema}.strunk_publish_renamed(
    p_previous_names text[], p_names text[],
    p_types text[], p_ids text[], p_states text[], p_schema_versions text[], p_metadata text[], p_diffs text[],
        p_notify boolean)
RETURNS TABLE (ord integer, id bigint, version bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_types    text[];
    v_entities text[];
    v_previous  text[];
BEGIN
    PERFORM pg_current_xact_id();
    SELECT array_agg(t.type), array_agg(t.entity), array_agg(t.previous) INTO v_types, v_entities, v_previous FROM (
        SELECT DISTINCT f.o, u.entity COLLATE "C" AS entity, f.previous, f.name AS type
        FROM unnest(p_ids, p_types) AS u(entity, type)
        JOIN unnest(p_previous_names, p_names) WITH ORDINALITY AS f(previous, name, o) ON f.name = coalesce(u.type,
            p_types[1])
        ORDER BY 1, 2) t;
    INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id)
    SELECT 0, clock_timestamp(), true, t.previous, t.entity FROM unnest(v_previous,
        v_entities) WITH ORDINALITY AS t(previous, entity, o) ORDER BY t.o
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET version = s.version;
    INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id)
    SELECT max(o.version), clock_timestamp(), true, t.type, t.entity
    FROM unnest(v_previous, v_types, v_entities) AS t(previous, type, entity)
    JOIN {schema}.strunk_snapshots o ON o.entity_type = t.previous COLLATE "C" AND o.entity_id = t.entity COLLATE "C"
    GROUP BY t.type, t.entity ORDER BY t.type COLLATE "C", t.entity COLLATE "C"
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET version = greatest(s.version, excluded.version);
    RETURN QUERY SELECT * FROM {schema}.strunk_publish_many(p_types, p_ids, p_states, p_schema_versions,
        p_metadata, p_diffs, p_notify);
    UPDATE {schema}.strunk_snapshots o
    SET version = n.version, updated_at = n.updated_at, deleted = true, schema_version = NULL, state = NULL
    FROM unnest(v_previous, v_types, v_entities) AS t(previous, type, entity)
    JOIN {schema}.strunk_snapshots n ON n.entity_type = t.type COLLATE "C" AND n.entity_id = t.entity COLLATE "C"
    WHERE o.entity_type = t.previous COLLATE "C" AND o.entity_id = t.entity COLLATE "C";
END $$;

-- Moves up to p_limit snapshots from a previous name of an entity type to its name, where theirs
-- are the newer version, and removes them. Returns how many it removed; 0 is the end. For when
-- nobody publishes under the previous name any more. Locks in the order of strunk_publish_renamed.
CREATE OR REPLACE FUNCTION {schema}.strunk_adopt_snapshots(p_previous text, p_type text,
    p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_entities text[];
    v_n        integer;
BEGIN
    SELECT array_agg(l.entity_id) INTO v_entities FROM (
        SELECT s.entity_id FROM {schema}.strunk_snapshots s WHERE s.entity_type = p_previous COLLATE "C"
            ORDER BY s.entity_id LIMIT p_limit FOR UPDATE) l;
    INSERT INTO {schema}.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id,
        schema_version, state)
    SELECT o.version, o.updated_at, o.deleted, p_type, o.entity_id, o.schema_version, o.state
        FROM {schema}.strunk_snapshots o
    WHERE o.entity_type = p_previous COLLATE "C" AND o.entity_id = ANY (v_entities) ORDER BY o.entity_id
    ON CONFLICT (entity_type, entity_id) DO UPDATE
    SET version = excluded.version, updated_at = excluded.updated_at, deleted = excluded.deleted,
        schema_version = excluded.schema_version, state = excluded.state
    WHERE excluded.version > s.version;
    DELETE FROM {schema}.strunk_snapshots o WHERE o.entity_type = p_previous COLLATE "C"
        AND o.entity_id = ANY (v_entities);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- Publishes one state, for SQL, triggers and other languages; returns its version. With deleted it
-- publishes a tombstone, and state must be null. Sends the wake-up with the caller's commit. The
-- state is JSON: a literal, or a value of type text, json or jsonb; see strunk_enqueue.
CREATE OR REPLACE FUNCTION {schema}.strunk_publish(
    entity_type text, entity_id text, state text DEFAULT NULL, schema_version text DEFAULT NULL,
    metadata text DEFAULT NULL, diff text DEFAULT NULL, deleted boolean DEFAULT false)
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
        RAISE EXCEPTION 'strunk_publish: state: must be given, or deleted be true (give ''null'' for a JSON null)'
            USING ERRCODE = '22023';
    ELSIF octet_length(state) > 1048576 OR octet_length(diff) > 1048576
        OR octet_length(metadata) > 1048576 THEN
        RAISE EXCEPTION 'strunk_publish: state: more than 1 MiB; keep large data in a table of its own, %',
            'and publish its key' USING ERRCODE = '22023';
    END IF;
    SELECT p.version INTO v_version FROM {schema}.strunk_publish_many(ARRAY[entity_type], ARRAY[entity_id],
        ARRAY[state],
        ARRAY[schema_version], ARRAY[metadata], ARRAY[diff], true) p;
    RETURN v_version;
END $$;

-- strunk_publish for a state of type json.
CREATE OR REPLACE FUNCTION {schema}.strunk_publish(
    entity_type text, entity_id text, state json, schema_version text DEFAULT NULL,
    metadata json DEFAULT NULL, diff json DEFAULT NULL, deleted boolean DEFAULT false)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {schema}.strunk_publish(entity_type, entity_id, state::text, schema_version, metadata::text, diff::text,
        deleted)
$$;

-- strunk_publish for a state of type jsonb.
CREATE OR REPLACE FUNCTION {schema}.strunk_publish(
    entity_type text, entity_id text, state jsonb, schema_version text DEFAULT NULL,
    metadata jsonb DEFAULT NULL, diff jsonb DEFAULT NULL, deleted boolean DEFAULT false)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT {schema}.strunk_publish(entity_type, entity_id, state::text, schema_version, metadata::text, diff::text,
        deleted)
$$;
