-- What people have changed.

-- Notes that p_actor begins a change, for p_reason, or (called again with the same id, by the same role) how it has
-- ended: how many rows were changed, and what went wrong. Deletes what is older than 90 days, a thousand at a
-- time. That is no argument: whoever may note a change must not be able to delete those of others.
CREATE OR REPLACE FUNCTION {schema}.strunk_note_change(p_id uuid, p_actor text, p_action text, p_target text,
    p_reason text DEFAULT '', p_changed bigint DEFAULT NULL, p_error text DEFAULT '') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    INSERT INTO {schema}.strunk_audit AS a (id, role, actor, action, target, reason, changed, error, ended_at)
    VALUES (p_id, session_user, left(p_actor, 200), left(p_action, 200), left(p_target, 1000),
        left(p_reason, 1000), p_changed, left(p_error, 1000),
        CASE WHEN p_changed IS NOT NULL THEN clock_timestamp() END)
    ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, error = excluded.error, ended_at = excluded.ended_at
        WHERE a.ended_at IS NULL AND a.role = session_user;
    DELETE FROM {schema}.strunk_audit a WHERE a.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_audit o WHERE o.at < clock_timestamp() - interval '90 days'
            ORDER BY o.at LIMIT 1000 FOR UPDATE SKIP LOCKED));
END $$;
