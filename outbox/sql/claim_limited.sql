-- Claims of a queue with rates, and what they pay.

-- strunk_claim for a queue with rates: one claim at a time, no more than the rate of the queue lets
-- begin now. The tasks that it claims pay for the rates with their claim.
CREATE OR REPLACE FUNCTION {schema}.strunk_claim_rated(
    p_worker bigint, p_claim bigint, p_queue text, p_limit integer, p_high bigint[], p_low bigint[], p_limits bigint,
    p_bytes bigint DEFAULT 4194304)
RETURNS TABLE (id bigint, seq bigint, created_at timestamptz, due_at timestamptz, timeout_ms integer, attempts smallint,
    max_attempts smallint, priority smallint, dedup_key text, payload json, metadata json, at tid, customer_key text,
    possibly_started boolean, begin_in_ms bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_limits {schema}.strunk_limits;
    v_tokens bigint;
BEGIN
    PERFORM {schema}.strunk_lock_admission(p_queue);
    SELECT l.* INTO v_limits FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF v_limits.rate IS NOT NULL THEN
        PERFORM {schema}.strunk_mend_rates(v_limits, p_queue, ARRAY['']);
    END IF;
    v_tokens := {schema}.strunk_tokens(v_limits, p_queue);
    IF v_tokens IS NULL OR v_tokens > 0 THEN
        RETURN QUERY SELECT c.* FROM {schema}.strunk_claim(p_worker, p_claim, p_queue, least(p_limit,
            v_tokens)::integer, p_high, p_low, p_limits, p_bytes) c;
        PERFORM {schema}.strunk_pay(v_limits, p_queue, p_worker, p_claim);
    END IF;
END $$;

-- How many tasks the rate of a queue lets begin now; null for any number.
CREATE OR REPLACE FUNCTION {schema}.strunk_tokens(p_limits {schema}.strunk_limits, p_queue text) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    SELECT CASE WHEN p_limits.rate IS NOT NULL THEN greatest(0, (now.us + p_limits.rate_burst * rate.step - coalesce((
        SELECT r.until_us FROM {schema}.strunk_rates r WHERE r.queue = p_queue AND r.customer_key = ''
            AND r.until_us > now.us
        ORDER BY r.until_us DESC LIMIT 1), now.us)) / rate.step) END
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) now,
        (SELECT {schema}.strunk_rate_step(p_limits.rate_us, p_limits.rate) AS step) rate
$$;

-- How many microseconds it takes until the rate of a queue lets a task begin; 0 where it does now.
-- At most those of one task: what has been used up beyond a burst is cut by the next claim.
CREATE OR REPLACE FUNCTION {schema}.strunk_rate_wait_us(p_queue text) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    SELECT coalesce((
        SELECT greatest(0, least({schema}.strunk_rate_step(l.rate_us, l.rate),
            max(r.until_us) + (1 - l.rate_burst) * {schema}.strunk_rate_step(l.rate_us, l.rate)
            - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
        FROM {schema}.strunk_limits l JOIN {schema}.strunk_rates r ON r.queue = l.queue AND r.customer_key = ''
        WHERE l.queue = p_queue AND l.rate IS NOT NULL GROUP BY l.rate_burst, l.rate_us, l.rate), 0)
$$;

-- Pays for the tasks of a claim. It reads the time after they were claimed, so that no two come
-- closer than their rate lets them.
CREATE OR REPLACE FUNCTION {schema}.strunk_pay(p_limits {schema}.strunk_limits, p_queue text, p_worker bigint,
    p_claim bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    WITH now AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us),
    begun AS MATERIALIZED (
        SELECT t.customer_key AS key FROM {schema}.strunk_outbox_tasks t
        WHERE t.status = 'claimed' AND t.worker_id = p_worker AND t.claim_no = p_claim),
    costs AS (
        SELECT '' AS key, count(*) * {schema}.strunk_rate_step(p_limits.rate_us, p_limits.rate) AS us FROM begun
        UNION ALL
        SELECT b.key, b.n * rate.step_us
        FROM (SELECT begun.key, count(*) AS n FROM begun WHERE begun.key IS NOT NULL GROUP BY begun.key) b
        CROSS JOIN LATERAL {schema}.strunk_key_rate(p_limits, p_queue, b.key) rate)
    INSERT INTO {schema}.strunk_rates (queue, customer_key, until_us)
    SELECT p_queue, c.key, c.us + coalesce((
        SELECT r.until_us FROM {schema}.strunk_rates r WHERE r.queue = p_queue AND r.customer_key = c.key
            AND r.until_us > now.us
        ORDER BY r.until_us DESC LIMIT 1), now.us)
    FROM costs c, now WHERE c.us > 0
    ON CONFLICT DO NOTHING
$$;
