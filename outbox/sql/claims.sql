-- Claims whose answer was lost, and manual claims.

-- The claims of which the table holds tasks as claimed: of each of these workers those above its number in p_low.
CREATE OR REPLACE FUNCTION {schema}.strunk_open_claims(p_workers bigint[], p_low bigint[])
RETURNS TABLE (worker_id bigint, claim_no bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT w.id, c.claim_no FROM unnest(p_workers, p_low) AS w(id, low) CROSS JOIN LATERAL (
        SELECT DISTINCT t.claim_no FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'claimed' AND t.worker_id = w.id AND t.claim_no > w.low) c
$$;

-- Voids claim numbers up to p_floor that are still to come. FOR UPDATE waits for a claim that is being committed; one
-- that arrives later finds the floor and does nothing. Commit it before strunk_return_claims is called.
CREATE OR REPLACE FUNCTION {schema}.strunk_void_claims(p_worker bigint, p_floor bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM 1 FROM {schema}.strunk_workers w WHERE w.id = p_worker FOR UPDATE;
    UPDATE {schema}.strunk_workers w SET claim_floor = greatest(w.claim_floor, p_floor) WHERE w.id = p_worker;
END $$;

-- Gives back, unspent, the tasks of claims whose answer was lost. Locks in id order.
CREATE OR REPLACE FUNCTION {schema}.strunk_return_claims(p_worker bigint, p_claims bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
    SET enable_seqscan = off SET jit = off AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN QUERY
    WITH l AS MATERIALIZED (
        SELECT t.ctid AS tid FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'claimed' AND t.worker_id = p_worker AND t.claim_no = ANY (p_claims) ORDER BY t.id FOR UPDATE)
    UPDATE {schema}.strunk_outbox_tasks t
    SET status = 'pending', seq = nextval('{schema}.strunk_outbox_id_seq'), attempts = greatest(0, t.attempts - 1),
        admitted = t.customer_key IS NULL, slot = NULL
    FROM l WHERE t.ctid = l.tid
    RETURNING t.id;
END $$;

-- Gives up a manual claim: all that is left goes back unspent, and its lease row is removed.
-- Returns how many went back.
CREATE OR REPLACE FUNCTION {schema}.strunk_release_claim(p_worker bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_n bigint;
BEGIN
    IF NOT {schema}.strunk_expire_lease(p_worker, NULL) THEN
        RETURN 0;
    END IF;
    SELECT count(*) INTO v_n FROM {schema}.strunk_return_claims(p_worker, ARRAY[1]::bigint[]);
    DELETE FROM {schema}.strunk_workers w WHERE w.id = p_worker;
    RETURN v_n;
END $$;
