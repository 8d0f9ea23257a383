-- Counters and histograms of queues and subscribers. A process counts in memory and adds rows to
-- strunk_counters with its heartbeats; the functions that end tasks without success add theirs in
-- the transaction that ends them. Rows are added and never changed, so that nobody waits for
-- anybody. One process folds them: the rows of a minute into one, and all into strunk_counter_totals,
-- which only ever rise. A total is what is in the totals and what is not folded yet.

-- Adds counters, as a document: an array of objects with the columns' names, and exemplars, an array of objects with
-- the columns of strunk_exemplars. Returns the time of the database's clock.
CREATE OR REPLACE FUNCTION {schema}.strunk_add_counters(p_counters json) RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO {schema}.strunk_counters
        (enqueued, done, failed, retried, waits_us, runs_us, kind, name, entity_type, waits, runs)
    SELECT c.enqueued, c.done, c.failed, c.retried, c.waits_us, c.runs_us, c.kind, c.name, c.entity_type, c.waits,
        c.runs
    FROM json_to_recordset(p_counters) AS c(enqueued bigint, done bigint, failed bigint, retried bigint,
        waits_us bigint, runs_us bigint, kind text, name text, entity_type text, waits bigint[], runs bigint[]);
    -- In the order of the key: two processes wait for each other and never both ways.
    INSERT INTO {schema}.strunk_exemplars (kind, name, entity_type, histogram, bucket, us, trace_id)
    SELECT c.kind, c.name, c.entity_type, e.histogram, e.bucket, e.us, e.trace_id
    FROM json_to_recordset(p_counters) AS c(kind text, name text, entity_type text, exemplars json),
        json_to_recordset(c.exemplars) AS e(histogram text, bucket smallint, us bigint, trace_id text)
    ORDER BY c.kind COLLATE "C", c.name COLLATE "C", c.entity_type COLLATE "C", e.histogram COLLATE "C", e.bucket
    ON CONFLICT (kind, name, entity_type, histogram, bucket) DO UPDATE
    SET us = excluded.us, trace_id = excluded.trace_id, at = excluded.at;
    SELECT clock_timestamp();
$$;

-- The exemplars that are younger than p_age, of all queues and subscribers.
CREATE OR REPLACE FUNCTION {schema}.strunk_recent_exemplars(p_age interval)
RETURNS TABLE (kind text, name text, entity_type text, histogram text, us bigint, trace_id text, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.kind, e.name, e.entity_type, e.histogram, e.us, e.trace_id, e.at
    FROM {schema}.strunk_exemplars e WHERE e.at > now() - p_age
$$;

-- The sums of arrays of one length, element by element.
CREATE OR REPLACE FUNCTION {schema}.strunk_sum_arrays(p_arrays bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(s.n ORDER BY s.place) FROM (
        SELECT sum(x.n)::bigint AS n, (x.o - 1) % array_length(p_arrays, 2) AS place
        FROM unnest(p_arrays) WITH ORDINALITY AS x(n, o) GROUP BY 2) s
$$;

-- Folds up to p_limit rows of minutes that are over: one row for each queue or subscriber and minute,
-- and the totals. Forgets minutes older than p_keep, which are in the totals, and exemplars as old. Two at once
-- share the rows among them (SKIP LOCKED); they lock the totals in one order.
CREATE OR REPLACE FUNCTION {schema}.strunk_fold_counters(p_keep interval, p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    DELETE FROM {schema}.strunk_counters c WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_counters o WHERE o.in_totals AND o.minute < v_now - p_keep
        ORDER BY o.in_totals, o.minute LIMIT p_limit FOR UPDATE SKIP LOCKED));
    DELETE FROM {schema}.strunk_exemplars e WHERE e.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_exemplars o WHERE o.at < v_now - p_keep FOR UPDATE SKIP LOCKED));
    WITH gone AS (
        DELETE FROM {schema}.strunk_counters c WHERE c.ctid = ANY (ARRAY(
            SELECT o.ctid FROM {schema}.strunk_counters o
            WHERE NOT o.in_totals AND o.minute < date_trunc('minute', v_now)
            ORDER BY o.in_totals, o.minute LIMIT p_limit FOR UPDATE SKIP LOCKED))
        RETURNING c.*),
    folded AS (
        INSERT INTO {schema}.strunk_counters AS c (in_totals, minute, kind, name, entity_type, enqueued, done, failed,
            retried, parked, dead, cancelled, discarded, waits_us, runs_us, waits, runs)
        SELECT true, g.minute, g.kind, g.name, g.entity_type, sum(g.enqueued), sum(g.done), sum(g.failed),
            sum(g.retried), sum(g.parked), sum(g.dead), sum(g.cancelled), sum(g.discarded), sum(g.waits_us),
            sum(g.runs_us), {schema}.strunk_sum_arrays(array_agg(g.waits)),
            {schema}.strunk_sum_arrays(array_agg(g.runs))
        FROM gone g GROUP BY g.minute, g.kind, g.name, g.entity_type
        RETURNING c.*)
    INSERT INTO {schema}.strunk_counter_totals AS t (kind, name, entity_type, enqueued, done, failed, retried, parked,
        dead, cancelled, discarded, waits_us, runs_us, waits, runs)
    SELECT f.kind, f.name, f.entity_type, sum(f.enqueued), sum(f.done), sum(f.failed), sum(f.retried), sum(f.parked),
        sum(f.dead), sum(f.cancelled), sum(f.discarded), sum(f.waits_us), sum(f.runs_us),
        {schema}.strunk_sum_arrays(array_agg(f.waits)), {schema}.strunk_sum_arrays(array_agg(f.runs))
    FROM folded f GROUP BY f.kind, f.name, f.entity_type ORDER BY f.kind, f.name, f.entity_type
    ON CONFLICT (kind, name, entity_type) DO UPDATE SET enqueued = t.enqueued + excluded.enqueued,
        done = t.done + excluded.done, failed = t.failed + excluded.failed, retried = t.retried + excluded.retried,
        parked = t.parked + excluded.parked, dead = t.dead + excluded.dead,
        cancelled = t.cancelled + excluded.cancelled, discarded = t.discarded + excluded.discarded,
        waits_us = t.waits_us + excluded.waits_us, runs_us = t.runs_us + excluded.runs_us,
        waits = {schema}.strunk_sum_arrays(ARRAY[t.waits, excluded.waits]),
        runs = {schema}.strunk_sum_arrays(ARRAY[t.runs, excluded.runs]);
END $$;

-- The totals since the tables were made, of all queues (p_kind 'queue') or subscribers that were ever counted.
-- What is folded at the same time is in the totals or among the rows, never in both: one snapshot sees it.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_totals(p_kind text)
RETURNS TABLE (name text, entity_type text, enqueued bigint, done bigint, failed bigint, retried bigint,
    parked bigint, dead bigint, cancelled bigint, discarded bigint, waits_us bigint, runs_us bigint, waits bigint[],
    runs bigint[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT x.name, x.entity_type, sum(x.enqueued)::bigint, sum(x.done)::bigint, sum(x.failed)::bigint,
        sum(x.retried)::bigint, sum(x.parked)::bigint, sum(x.dead)::bigint, sum(x.cancelled)::bigint,
        sum(x.discarded)::bigint, sum(x.waits_us)::bigint, sum(x.runs_us)::bigint,
        {schema}.strunk_sum_arrays(array_agg(x.waits)), {schema}.strunk_sum_arrays(array_agg(x.runs))
    FROM (
        SELECT t.name, t.entity_type, t.enqueued, t.done, t.failed, t.retried, t.parked, t.dead, t.cancelled,
            t.discarded, t.waits_us, t.runs_us, t.waits, t.runs
        FROM {schema}.strunk_counter_totals t WHERE t.kind = p_kind
        UNION ALL
        SELECT c.name, c.entity_type, c.enqueued, c.done, c.failed, c.retried, c.parked, c.dead, c.cancelled,
            c.discarded, c.waits_us, c.runs_us, c.waits, c.runs
        FROM {schema}.strunk_counters c WHERE NOT c.in_totals AND c.kind = p_kind) x
    GROUP BY x.name, x.entity_type ORDER BY x.name, x.entity_type
$$;

-- When the steps of p_step_s seconds begin that cover the last p_window of this transaction.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_from(p_window interval, p_step_s integer) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT to_timestamp(floor(extract(epoch FROM now() - p_window) / p_step_s) * p_step_s)
$$;

-- What was counted in the last p_window of queues (p_kind 'queue') or subscribers: of one (p_name), or of the
-- first p_limit after the name p_after, in steps of p_step_s seconds that begin at began_at. Steps
-- without a count have no row. Most steps of a minute are one row, whose arrays need no sum.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_steps(p_kind text, p_name text, p_after text, p_limit integer,
    p_window interval, p_step_s integer)
RETURNS TABLE (name text, entity_type text, began_at timestamptz, enqueued bigint, done bigint, failed bigint,
    retried bigint, parked bigint, dead bigint, cancelled bigint, discarded bigint, waits_us bigint, runs_us bigint,
    waits bigint[], runs bigint[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH chosen AS MATERIALIZED (
        SELECT DISTINCT c.name FROM {schema}.strunk_counters c
        WHERE c.in_totals IN (true, false) AND c.minute >= {schema}.strunk_count_from(p_window, p_step_s)
            AND c.kind = p_kind AND (p_name IS NULL OR c.name = p_name) AND c.name > p_after
        ORDER BY c.name LIMIT p_limit)
    SELECT x.name, x.entity_type, to_timestamp(x.step * p_step_s), sum(x.enqueued)::bigint, sum(x.done)::bigint,
        sum(x.failed)::bigint, sum(x.retried)::bigint, sum(x.parked)::bigint, sum(x.dead)::bigint,
        sum(x.cancelled)::bigint, sum(x.discarded)::bigint, sum(x.waits_us)::bigint, sum(x.runs_us)::bigint,
        CASE WHEN count(*) = 1 THEN min(x.waits) ELSE {schema}.strunk_sum_arrays(array_agg(x.waits)) END,
        CASE WHEN count(*) = 1 THEN min(x.runs) ELSE {schema}.strunk_sum_arrays(array_agg(x.runs)) END
    FROM (
        SELECT floor(extract(epoch FROM c.minute) / p_step_s) AS step, c.* FROM {schema}.strunk_counters c
        WHERE c.in_totals IN (true, false) AND c.minute >= {schema}.strunk_count_from(p_window, p_step_s)
            AND c.kind = p_kind AND c.name IN (SELECT n.name FROM chosen n)) x
    GROUP BY x.name, x.entity_type, x.step ORDER BY x.name, x.entity_type, x.step
$$;
