-- Registration and ownership of subscribers.

-- Registers a subscriber and gives it its place, or leaves the one of that name as it is. Returns its entity type and
-- whether it is new. p_start is 'beginning', 'now' or 'snapshots'. Holds the floor FOR SHARE: retention cannot pass the
-- place before it is committed.
-- One that follows a former name of p_type (p_former) follows p_type from now on: see strunk_rename_subscriber. outdated says
-- that p_type is such a former name itself.
CREATE OR REPLACE FUNCTION {schema}.strunk_register(p_name text, p_type text, p_start text, p_lease_ms integer, p_former text[] DEFAULT '{}')
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
CREATE OR REPLACE FUNCTION {schema}.strunk_rename_subscriber(p_name text, p_type text, p_former text[]) RETURNS void
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
CREATE OR REPLACE FUNCTION {schema}.strunk_own(p_name text, p_owner bigint, p_epoch bigint, p_beat bigint, p_pid integer, p_host text, p_lease_ms integer, p_type text)
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
CREATE OR REPLACE FUNCTION {schema}.strunk_watch_subscriber(p_name text)
RETURNS TABLE (owner bigint, epoch bigint, beat bigint, lease_ms integer, entity_type text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.owner, s.epoch, s.beat, s.lease_ms, s.entity_type FROM {schema}.strunk_subscribers s WHERE s.name = p_name
$$;

-- Renews an owner's lease; returns the epoch, which a rewind has raised, or null where it is the owner no more.
CREATE OR REPLACE FUNCTION {schema}.strunk_beat_subscriber(p_name text, p_owner bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
    UPDATE {schema}.strunk_subscribers s SET beat = s.beat + 1, beat_at = clock_timestamp()
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

-- Removes a subscriber and its waiting copies; its dead letters stay. Its owner, where it has one, notices.
CREATE OR REPLACE FUNCTION {schema}.strunk_unregister(p_name text) RETURNS boolean
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
