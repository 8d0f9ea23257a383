-- Registration and ownership of subscribers.

-- Whether an owner's epoch still holds. A server that was restarted, or another one that took its
-- place, may have lost what was committed: no epoch of before holds there, and the owner reads its
-- place anew. KEY SHARE on the subscriber's row: until the transaction ends, no other process
-- becomes its owner and nobody rewinds it or releases its deliveries.
CREATE OR REPLACE FUNCTION {schema}.strunk_epoch_holds(p_name text, p_epoch bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_subscribers s
    WHERE s.name = p_name AND s.epoch = p_epoch AND s.server_started = pg_postmaster_start_time() FOR KEY SHARE;
    RETURN FOUND;
END $$;

-- The epoch after this one: higher, and with 20 random bits, so that a database that went back in
-- time gives no epoch twice.
CREATE OR REPLACE FUNCTION {schema}.strunk_next_epoch(p_epoch bigint) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ((p_epoch >> 20) + 1 << 20) + floor(random() * 1048576)::bigint
$$;

-- Where a subscriber stands: no row where there is none. state is 'running', 'paused' or
-- 'needs_restart'. restarted says that the server was restarted, or another one took its place,
-- since the epoch began. last_id and last_published_at are those of the event at position p_last,
-- null where the feed has none there: a reader compares them with the event that it has read.
CREATE OR REPLACE FUNCTION {schema}.strunk_subscriber_place(p_name text, p_types text[], p_last bigint)
RETURNS TABLE (head bigint, floor bigint, cursor bigint, epoch bigint, owner bigint, state text, restarted boolean,
    last_id bigint, last_published_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
    SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT (SELECT f.head FROM {schema}.strunk_feed f ORDER BY f.slot DESC LIMIT 1), (SELECT l.floor
        FROM {schema}.strunk_feed_floor l),
           s.cursor, s.epoch, s.owner, CASE WHEN s.needs_restart THEN 'needs_restart' WHEN s.paused THEN 'paused'
               ELSE 'running' END,
           s.server_started IS DISTINCT FROM pg_postmaster_start_time(), l.id, l.created_at
    FROM {schema}.strunk_subscribers s
    LEFT JOIN LATERAL (SELECT e.id, e.created_at FROM unnest(p_types) AS t(type)
        JOIN {schema}.strunk_outbox_delivered_events e ON e.key = t.type AND e.position = p_last WHERE p_last > 0
            LIMIT 1) l ON true
    WHERE s.name = p_name;
END $$;

-- Registers a subscriber and gives it its place, or leaves the one of that name as it is. Returns
-- its entity type and whether it is new. p_start is 'beginning', 'now' or 'snapshots'. Holds the
-- floor FOR SHARE: retention cannot pass the place before it is committed. One that follows a
-- previous name of p_type (p_previous) follows p_type from now on: see strunk_rename_subscriber.
-- outdated says that p_type is such a previous name itself.
CREATE OR REPLACE FUNCTION {schema}.strunk_register(p_name text, p_type text, p_start text, p_lease_ms integer,
    p_previous text[] DEFAULT '{}')
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
        SELECT CASE WHEN p_start = 'beginning' THEN v_floor ELSE f.head END INTO v_at FROM {schema}.strunk_feed f
            ORDER BY f.slot DESC LIMIT 1;
        INSERT INTO {schema}.strunk_subscribers (cursor, started, lease_ms, bootstrap, name, entity_type, start)
        VALUES (v_at, v_at, p_lease_ms, CASE WHEN p_start = 'snapshots' THEN 'snapshots' ELSE 'done' END, p_name,
            p_type, p_start)
        ON CONFLICT (name) DO NOTHING;
        registered := FOUND;
        SELECT s.entity_type INTO entity_type FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    END IF;
    IF entity_type = ANY (p_previous) THEN
        PERFORM {schema}.strunk_rename_subscriber(p_name, p_type, p_previous);
    END IF;
    SELECT s.entity_type, s.previous_types @> ARRAY[p_type] INTO entity_type, outdated
        FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    RETURN NEXT;
END $$;

-- Has a subscriber of an entity type that was renamed follow the new name. An owner that knows the
-- previous one alone would pass the events under the new one, so it ends here: the epoch is over
-- and the subscriber free; strunk_own gives it to those that know the name. Events under the new
-- name that the cursor has passed so come again, with whatever lies between. Locks as
-- strunk_rewind.
CREATE OR REPLACE FUNCTION {schema}.strunk_rename_subscriber(p_name text, p_type text, p_previous text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
DECLARE
    s       {schema}.strunk_subscribers;
    v_floor bigint;
    v_first bigint;
BEGIN
    SELECT l.floor INTO v_floor FROM {schema}.strunk_feed_floor l FOR SHARE;
    SELECT t.* INTO s FROM {schema}.strunk_subscribers t WHERE t.name = p_name FOR UPDATE;
    IF NOT FOUND OR s.entity_type <> ALL (p_previous) THEN
        RETURN;
    END IF;
    SELECT e.position INTO v_first FROM {schema}.strunk_outbox_delivered_events e WHERE e.key = p_type
        AND e.position > v_floor ORDER BY e.position LIMIT 1;
    -- One that is still given the snapshots begins with them again: those under the new name may be below its mark.
    IF s.bootstrap <> 'snapshots' AND v_first <= s.cursor THEN
        s.cursor := v_first - 1;
    END IF;
    UPDATE {schema}.strunk_subscribers t
    SET entity_type = p_type, previous_types = array_append(array_remove(s.previous_types, p_type), s.entity_type),
        epoch = {schema}.strunk_next_epoch(s.epoch), owner = NULL,
        pid = NULL, host = NULL, cursor = s.cursor, started = s.cursor, bootstrap_mark = NULL
    WHERE t.name = p_name;
    UPDATE {schema}.strunk_outbox_deliveries d SET key = p_type WHERE d.subscriber = p_name AND d.key = s.entity_type;
    UPDATE {schema}.strunk_outbox_dead d SET key = p_type WHERE d.subscriber = p_name AND d.kind = 'delivery'
        AND d.key = s.entity_type;
    PERFORM pg_notify({channel}, 's:' || p_name);
END $$;

-- Makes p_owner the owner of a subscriber that has none, or whose epoch and heartbeat still stand where
-- the caller has watched them for a whole lease, or that it owns already (after a rewind). Returns
-- nothing where it is another's, or does not follow p_type (any more). An owner that was lost may
-- have begun what is up to started: crashed says so. FOR UPDATE waits for what an owner of before
-- still has under way (see strunk_epoch_holds): a delivery that it adds is committed before the new
-- owner reads which there are, or not at all.
CREATE OR REPLACE FUNCTION {schema}.strunk_own(p_name text, p_owner bigint, p_epoch bigint, p_heartbeat bigint,
    p_pid integer, p_host text, p_lease_ms integer, p_type text)
RETURNS TABLE (cursor bigint, started bigint, epoch bigint, crashed boolean, bootstrap text, bootstrap_mark text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
    s       {schema}.strunk_subscribers;
    v_epoch bigint;
BEGIN
    SELECT t.* INTO s FROM {schema}.strunk_subscribers t WHERE t.name = p_name FOR UPDATE;
    IF NOT FOUND OR s.entity_type <> p_type OR NOT (s.owner IS NULL OR s.owner = p_owner OR (s.epoch = p_epoch
        AND s.heartbeat = p_heartbeat)) THEN
        RETURN;
    END IF;
    v_epoch := {schema}.strunk_next_epoch(s.epoch);
    UPDATE {schema}.strunk_subscribers t
    SET owner = p_owner, epoch = v_epoch, server_started = pg_postmaster_start_time(), heartbeat = t.heartbeat + 1,
        heartbeat_at = clock_timestamp(),
        pid = p_pid, host = p_host, lease_ms = p_lease_ms
    WHERE t.name = p_name;
    RETURN QUERY SELECT s.cursor, greatest(s.started, s.cursor), v_epoch, s.owner IS NOT NULL
        AND s.owner <> p_owner, s.bootstrap, s.bootstrap_mark;
END $$;

-- Who owns a subscriber, how far its heartbeat is and what it follows, for one that would like to own it.
CREATE OR REPLACE FUNCTION {schema}.strunk_watch_subscriber(p_name text)
RETURNS TABLE (owner bigint, epoch bigint, heartbeat bigint, lease_ms integer, entity_type text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.owner, s.epoch, s.heartbeat, s.lease_ms, s.entity_type FROM {schema}.strunk_subscribers s
        WHERE s.name = p_name
$$;

-- Renews an owner's lease; returns the epoch, which a rewind has raised, or null where it is the owner no more.
CREATE OR REPLACE FUNCTION {schema}.strunk_heartbeat_subscriber(p_name text, p_owner bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
    UPDATE {schema}.strunk_subscribers s SET heartbeat = s.heartbeat + 1, heartbeat_at = clock_timestamp()
    WHERE s.name = p_name AND s.owner = p_owner RETURNING s.epoch
$$;

-- Gives a subscriber up, cleanly: nothing of it is under way any more.
CREATE OR REPLACE FUNCTION {schema}.strunk_disown(p_name text, p_owner bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET owner = NULL, started = s.cursor, pid = NULL, host = NULL
    WHERE s.name = p_name AND s.owner = p_owner;
    RETURN FOUND;
END $$;

-- Pauses or resumes a subscriber; false where there is none.
CREATE OR REPLACE FUNCTION {schema}.strunk_pause_subscriber(p_name text, p_paused boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    UPDATE {schema}.strunk_subscribers s SET paused = p_paused WHERE s.name = p_name;
    RETURN FOUND;
END $$;

-- Removes a subscriber and its deliveries; its dead letters stay. Its owner, where it has one, notices.
CREATE OR REPLACE FUNCTION {schema}.strunk_unregister(p_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    DELETE FROM {schema}.strunk_subscribers s WHERE s.name = p_name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name;
    DELETE FROM {schema}.strunk_forwarders f WHERE f.name = p_name AND f.kind = 'events';
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name;
    DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name;
    RETURN true;
END $$;
