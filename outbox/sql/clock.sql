-- The schema's clock, and what one that was ahead, and was set right, has left behind: times that the rules allow only
-- later. All of them are times of the database's clock.

-- The time by which strunk's functions decide, for statements that are none. outboxtest.Advance turns it in a test's
-- database.
CREATE OR REPLACE FUNCTION {schema}.strunk_now() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT clock_timestamp()
$$;

-- Whether a loop's record is of a time that has not come yet: the clock was set back since. The
-- record of the loop's next round ends it.
CREATE OR REPLACE FUNCTION {schema}.strunk_clock_set_back(p_loop text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM {schema}.strunk_loops l
        WHERE l.loop = p_loop AND l.last_ok_at > clock_timestamp() + interval '5 s');
END $$;

-- Brings forward what waits for longer than its rule says: tasks and deliveries that back off, dedup
-- keys that are held for a period, and holds. An attempt, or an enqueue, that has not happened yet by the
-- clock counts as one of now. What is due at a time that somebody chose stays. At most p_limit of
-- each; returns how many: 0 is the end. Locks: the rows, in the order in which it finds them, SKIP LOCKED.
CREATE OR REPLACE FUNCTION {schema}.strunk_bring_forward(p_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_n   bigint;
    v_all bigint := 0;
BEGIN
    UPDATE {schema}.strunk_outbox_tasks t SET due_at = v_now + (t.due_at - t.claimed_at), claimed_at = v_now
    WHERE t.id = ANY (ARRAY(SELECT w.id FROM {schema}.strunk_outbox_tasks w
        WHERE w.status = 'scheduled' AND w.due_at > v_now AND w.due_at < 'infinity'
            AND w.claimed_at > v_now AND w.claimed_at < w.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    UPDATE {schema}.strunk_outbox_deliveries d SET due_at = v_now + (d.due_at - d.claimed_at), claimed_at = v_now
    WHERE d.id = ANY (ARRAY(SELECT w.id FROM {schema}.strunk_outbox_deliveries w
        WHERE w.status = 'scheduled' AND w.due_at > v_now AND w.due_at < 'infinity'
            AND w.claimed_at > v_now AND w.claimed_at < w.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    UPDATE {schema}.strunk_dedups d SET expires_at = v_now + (d.expires_at - d.held_at), held_at = v_now
    WHERE (d.queue, d.dedup_key) IN (SELECT w.queue, w.dedup_key FROM {schema}.strunk_dedups w
        WHERE w.expires_at > v_now AND w.held_at > v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    v_all := v_all + v_n;
    UPDATE {schema}.strunk_holds h SET until = v_now + (h.until - h.since), since = v_now
    WHERE (h.queue, h.customer_key) IN (SELECT w.queue, w.customer_key FROM {schema}.strunk_holds w
        WHERE w.since > v_now LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_all + v_n;
END $$;
