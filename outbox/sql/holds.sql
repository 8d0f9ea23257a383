-- Holds: until a time of the database's clock, a queue, or one customer key of it, begins no task.
-- Workers hear of the hold of a queue as of a pause, and of its end (strunk_control). The hold of a
-- key keeps its tasks from being admitted (strunk_admit_keys).

-- Puts a queue on hold until p_until; with p_customer_key (not empty) that key of it alone. What is
-- claimed and not begun is given back; running handlers go on. A hold lasts at least a second, and at
-- most 366 days. One that is there already ends at the later time. Returns when the hold ends.
-- p_held_by says whose it is; null: the role. Locks, for a key: the admission lock of the queue, for which
-- it waits 5 s.
CREATE OR REPLACE FUNCTION {schema}.strunk_hold(p_queue text, p_until timestamptz, p_customer_key text DEFAULT '',
    p_reason text DEFAULT '', p_held_by text DEFAULT NULL) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_key  constant text := coalesce(p_customer_key, '');
    v_now  timestamptz;
    v_what text := CASE
        WHEN coalesce(octet_length(p_queue), 0) NOT BETWEEN 1 AND 200 THEN 'the queue''s name must have 1 to 200 bytes'
        WHEN octet_length(v_key) > 500 THEN 'the customer key must have at most 500 bytes'
        WHEN p_until IS NULL OR p_until > clock_timestamp() + interval '366 days'
            THEN 'the hold must end within 366 days' END;
BEGIN
    IF v_what IS NOT NULL THEN
        RAISE EXCEPTION 'strunk_hold: %', v_what USING ERRCODE = '22023';
    END IF;
    IF v_key <> '' THEN
        PERFORM {schema}.strunk_lock_admission(p_queue);
    END IF;
    v_now := clock_timestamp();
    INSERT INTO {schema}.strunk_holds AS h (until, since, queue, customer_key, held_by, reason)
    VALUES (greatest(p_until, v_now + interval '1 second'), v_now, p_queue, v_key,
        left(coalesce(p_held_by, {schema}.strunk_whoami()), 300),
        left(coalesce(p_reason, ''), 1000))
    ON CONFLICT (queue, customer_key) DO UPDATE SET until = excluded.until, held_by = excluded.held_by,
        since = CASE WHEN h.until > v_now THEN h.since ELSE excluded.since END, reason = excluded.reason
        WHERE h.until < excluded.until;
    IF v_key <> '' THEN -- what was admitted and not claimed waits again, and returns in its order
        UPDATE {schema}.strunk_outbox_tasks t SET admitted = false, slot = NULL
        WHERE t.key = p_queue AND t.customer_key = v_key AND t.slot IS NOT NULL AND t.status = 'pending';
    END IF;
    PERFORM pg_notify({channel}, 'c:' || p_queue);
    RETURN (SELECT h.until FROM {schema}.strunk_holds h WHERE h.queue = p_queue AND h.customer_key = v_key);
END $$;

-- Ends a hold before its time; returns whether there was one. The tasks of a key are admitted at once.
-- Locks, for a key: the admission lock of the queue.
CREATE OR REPLACE FUNCTION {schema}.strunk_lift_hold(p_queue text, p_customer_key text DEFAULT '') RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_key  constant text := coalesce(p_customer_key, '');
    v_held boolean;
BEGIN
    IF v_key <> '' THEN
        PERFORM {schema}.strunk_lock_admission(p_queue);
    END IF;
    DELETE FROM {schema}.strunk_holds h WHERE h.queue = p_queue AND h.customer_key = v_key
    RETURNING h.until > clock_timestamp() INTO v_held;
    IF v_held IS NULL THEN
        RETURN false;
    END IF;
    IF v_key <> '' THEN
        PERFORM {schema}.strunk_admit_released(p_queue, ARRAY[v_key]);
    END IF;
    PERFORM pg_notify({channel}, 'c:' || p_queue), pg_notify({channel}, 'q:' || p_queue);
    RETURN v_held;
END $$;
