-- Rewinding a subscriber.

-- Sets a subscriber's place: the events from p_from on are delivered again; 0 is the earliest kept.
-- It raises the epoch, so that the owner drops what is under way, and drops the deliveries of what
-- comes again. With p_reset it starts over as it was registered: one that began with the snapshots
-- does so again, the others at the earliest kept. outcome is 'ok', 'unknown' or 'range'. Holds the
-- floor FOR SHARE: retention cannot pass the place before it is committed.
CREATE OR REPLACE FUNCTION {schema}.strunk_rewind(p_name text, p_from bigint, p_reset boolean)
RETURNS TABLE (outcome text, earliest bigint, head bigint, cursor bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_floor bigint;
    v_bootstrap boolean;
BEGIN
    SELECT l.floor INTO v_floor FROM {schema}.strunk_feed_floor l FOR SHARE;
    SELECT p_reset AND s.start = 'snapshots' INTO v_bootstrap FROM {schema}.strunk_subscribers s
        WHERE s.name = p_name FOR UPDATE;
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
    cursor := CASE WHEN v_bootstrap THEN head WHEN p_from = 0 THEN v_floor ELSE p_from - 1 END;
    UPDATE {schema}.strunk_subscribers s
    SET cursor = strunk_rewind.cursor, started = strunk_rewind.cursor, epoch = {schema}.strunk_next_epoch(s.epoch),
        needs_restart = false, moved_at = clock_timestamp(),
        bootstrap = CASE WHEN v_bootstrap THEN 'snapshots' ELSE 'done' END, bootstrap_mark = NULL,
            bootstrap_seq = NULL, bootstrap_head = NULL
    WHERE s.name = p_name;
    DELETE FROM {schema}.strunk_bootstrap b WHERE b.subscriber = p_name;
    DELETE FROM {schema}.strunk_retries r WHERE r.subscriber = p_name;
    DELETE FROM {schema}.strunk_outbox_deliveries d WHERE d.subscriber = p_name AND (v_bootstrap OR p_reset
        OR d.position > strunk_rewind.cursor);
    outcome := 'ok';
    RETURN NEXT;
END $$;
