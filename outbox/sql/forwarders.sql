-- What forwarders say of themselves.

-- Adds to what is known of a forwarder: p_sent messages have arrived since the last note; p_error is
-- why the destination takes nothing now, null where it does; p_waiting (null: unknown) messages wait
-- there, the first for p_waiting_ms.
CREATE OR REPLACE FUNCTION {schema}.strunk_note_forwarder(p_kind text, p_name text, p_destination text,
    p_sent bigint, p_error text, p_waiting bigint, p_waiting_ms bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO {schema}.strunk_forwarders AS f (sent, waiting, waiting_since, sent_at, failing_since, noted_at, kind,
        name, destination, last_error)
    VALUES (p_sent, p_waiting, v_now - p_waiting_ms * interval '1 millisecond', CASE WHEN p_sent > 0 THEN v_now END,
        CASE WHEN p_error IS NOT NULL THEN v_now END, v_now, p_kind, p_name, p_destination, p_error)
    ON CONFLICT (name, kind) DO UPDATE SET sent = f.sent + excluded.sent, waiting = excluded.waiting,
        waiting_since = excluded.waiting_since, sent_at = coalesce(excluded.sent_at, f.sent_at),
        failing_since = CASE WHEN p_error IS NOT NULL THEN coalesce(f.failing_since, v_now) END, noted_at = v_now,
        destination = excluded.destination, last_error = coalesce(p_error, f.last_error);
END $$;
