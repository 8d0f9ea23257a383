-- Counters and histograms of queues and subscribers. A process counts in memory and adds rows to
-- strunk_counters with its heartbeats; the functions that end tasks without success add theirs in
-- the transaction that ends them. Rows are added and never changed, so that nobody waits for
-- anybody. One process folds them: the rows of a minute into one, and all into strunk_counter_totals,
-- which only ever rise, and into strunk_counter_sums. A total is what is in the totals and what is not folded yet.

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
-- the totals, and the sums by which long windows are read. Forgets what is older than p_keep. Two at once
-- share the rows among them (SKIP LOCKED); they lock totals and sums in one order.
CREATE OR REPLACE FUNCTION {schema}.strunk_fold_counters(p_keep interval, p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_rows {schema}.strunk_counters[];
BEGIN
    PERFORM {schema}.strunk_forget_counters(v_now - p_keep, p_limit);
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
        RETURNING c)
    SELECT array_agg(f.c) INTO v_rows FROM folded f;
    PERFORM {schema}.strunk_add_to_totals(v_rows);
    PERFORM {schema}.strunk_add_to_sums(v_rows);
END $$;

-- Deletes minutes and exemplars that are older than p_before, up to p_limit minutes, and sums that ended an hour
-- before it, so that a window which begins with a whole hour has all of it.
CREATE OR REPLACE FUNCTION {schema}.strunk_forget_counters(p_before timestamptz, p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    DELETE FROM {schema}.strunk_counters c WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_counters o WHERE o.in_totals AND o.minute < p_before
        ORDER BY o.in_totals, o.minute LIMIT p_limit FOR UPDATE SKIP LOCKED));
    DELETE FROM {schema}.strunk_counter_sums c WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_counter_sums o WHERE o.began_at < p_before - interval '2 hours'
        ORDER BY o.began_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    DELETE FROM {schema}.strunk_exemplars e WHERE e.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_exemplars o WHERE o.at < p_before FOR UPDATE SKIP LOCKED));
END $$;

-- Adds folded rows to the totals.
CREATE OR REPLACE FUNCTION {schema}.strunk_add_to_totals(p_rows {schema}.strunk_counters[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    INSERT INTO {schema}.strunk_counter_totals AS t (kind, name, entity_type, enqueued, done, failed, retried, parked,
        dead, cancelled, discarded, waits_us, runs_us, waits, runs)
    SELECT f.kind, f.name, f.entity_type, sum(f.enqueued), sum(f.done), sum(f.failed), sum(f.retried), sum(f.parked),
        sum(f.dead), sum(f.cancelled), sum(f.discarded), sum(f.waits_us), sum(f.runs_us),
        {schema}.strunk_sum_arrays(array_agg(f.waits)), {schema}.strunk_sum_arrays(array_agg(f.runs))
    FROM unnest(p_rows) f GROUP BY f.kind, f.name, f.entity_type ORDER BY f.kind, f.name, f.entity_type
    ON CONFLICT (kind, name, entity_type) DO UPDATE SET enqueued = t.enqueued + excluded.enqueued,
        done = t.done + excluded.done, failed = t.failed + excluded.failed, retried = t.retried + excluded.retried,
        parked = t.parked + excluded.parked, dead = t.dead + excluded.dead,
        cancelled = t.cancelled + excluded.cancelled, discarded = t.discarded + excluded.discarded,
        waits_us = t.waits_us + excluded.waits_us, runs_us = t.runs_us + excluded.runs_us,
        waits = {schema}.strunk_sum_arrays(ARRAY[t.waits, excluded.waits]),
        runs = {schema}.strunk_sum_arrays(ARRAY[t.runs, excluded.runs])
$$;

-- Adds folded rows to the sums: of each name by the hour, of all of a kind by the minute and by the hour.
CREATE OR REPLACE FUNCTION {schema}.strunk_add_to_sums(p_rows {schema}.strunk_counters[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    INSERT INTO {schema}.strunk_counter_sums AS o (kind, span_s, name, entity_type, began_at, enqueued, done, failed,
        retried, parked, dead, cancelled, discarded, waits_us, runs_us, waits, runs)
    SELECT x.kind, x.span_s, x.name, x.entity_type, x.began_at, sum(x.enqueued), sum(x.done), sum(x.failed),
        sum(x.retried), sum(x.parked), sum(x.dead), sum(x.cancelled), sum(x.discarded), sum(x.waits_us),
        sum(x.runs_us), {schema}.strunk_sum_arrays(array_agg(x.waits)), {schema}.strunk_sum_arrays(array_agg(x.runs))
    FROM (
        SELECT f.kind, s.span_s, CASE WHEN s.of_all THEN '' ELSE f.name END AS name,
            CASE WHEN s.of_all THEN '' ELSE f.entity_type END AS entity_type,
            date_bin(s.span_s * interval '1 second', f.minute, to_timestamp(0)) AS began_at, f.enqueued, f.done,
            f.failed, f.retried, f.parked, f.dead, f.cancelled, f.discarded, f.waits_us, f.runs_us, f.waits, f.runs
        FROM unnest(p_rows) f CROSS JOIN (VALUES (3600, false), (60, true), (3600, true)) s (span_s, of_all)) x
    GROUP BY x.kind, x.span_s, x.name, x.entity_type, x.began_at
    ORDER BY x.kind, x.span_s, x.name, x.entity_type, x.began_at
    ON CONFLICT (kind, span_s, name, entity_type, began_at) DO UPDATE SET enqueued = o.enqueued + excluded.enqueued,
        done = o.done + excluded.done, failed = o.failed + excluded.failed, retried = o.retried + excluded.retried,
        parked = o.parked + excluded.parked, dead = o.dead + excluded.dead,
        cancelled = o.cancelled + excluded.cancelled, discarded = o.discarded + excluded.discarded,
        waits_us = o.waits_us + excluded.waits_us, runs_us = o.runs_us + excluded.runs_us,
        waits = {schema}.strunk_sum_arrays(ARRAY[o.waits, excluded.waits]),
        runs = {schema}.strunk_sum_arrays(ARRAY[o.runs, excluded.runs])
$$;

-- What was counted of each queue, and of each subscriber and entity type, by the minute (span_s 60) and by the hour
-- (3600). Several rows may be of one span: what is not folded yet has rows of its own, whose began_at is its minute.
CREATE OR REPLACE VIEW {schema}.strunk_counter_spans AS
    SELECT 60 AS span_s, c.minute AS began_at, c.kind, c.name, c.entity_type, c.enqueued, c.done, c.failed, c.retried,
        c.parked, c.dead, c.cancelled, c.discarded, c.waits_us, c.runs_us, c.waits, c.runs
    FROM {schema}.strunk_counters c WHERE c.in_totals IN (true, false)
    UNION ALL
    SELECT 3600, s.began_at, s.kind, s.name, s.entity_type, s.enqueued, s.done, s.failed, s.retried, s.parked, s.dead,
        s.cancelled, s.discarded, s.waits_us, s.runs_us, s.waits, s.runs
    FROM {schema}.strunk_counter_sums s WHERE s.span_s = 3600 AND s.name > ''
    UNION ALL
    SELECT 3600, c.minute, c.kind, c.name, c.entity_type, c.enqueued, c.done, c.failed, c.retried, c.parked, c.dead,
        c.cancelled, c.discarded, c.waits_us, c.runs_us, c.waits, c.runs
    FROM {schema}.strunk_counters c WHERE NOT c.in_totals;

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

-- By which span strunk_counter_spans is read for steps of p_step_s seconds.
CREATE OR REPLACE FUNCTION {schema}.strunk_count_span(p_step_s integer) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_step_s % 3600 = 0 THEN 3600 ELSE 60 END
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
        SELECT p_name AS name WHERE p_name IS NOT NULL
        UNION ALL
        (SELECT DISTINCT c.name FROM {schema}.strunk_counter_spans c
        WHERE p_name IS NULL AND c.span_s = {schema}.strunk_count_span(p_step_s) AND c.kind = p_kind
            AND c.began_at >= {schema}.strunk_count_from(p_window, p_step_s) AND c.name > p_after
        ORDER BY c.name LIMIT p_limit))
    SELECT x.name, x.entity_type, x.step, sum(x.enqueued)::bigint, sum(x.done)::bigint,
        sum(x.failed)::bigint, sum(x.retried)::bigint, sum(x.parked)::bigint, sum(x.dead)::bigint,
        sum(x.cancelled)::bigint, sum(x.discarded)::bigint, sum(x.waits_us)::bigint, sum(x.runs_us)::bigint,
        CASE WHEN count(*) = 1 THEN min(x.waits) ELSE {schema}.strunk_sum_arrays(array_agg(x.waits)) END,
        CASE WHEN count(*) = 1 THEN min(x.runs) ELSE {schema}.strunk_sum_arrays(array_agg(x.runs)) END
    FROM (
        SELECT date_bin(p_step_s * interval '1 second', c.began_at, to_timestamp(0)) AS step, c.*
        FROM {schema}.strunk_counter_spans c
        WHERE c.span_s = {schema}.strunk_count_span(p_step_s)
            AND c.began_at >= {schema}.strunk_count_from(p_window, p_step_s) AND c.kind = p_kind
            AND c.name = ANY (ARRAY(SELECT n.name FROM chosen n))) x
    GROUP BY x.name, x.entity_type, x.step ORDER BY x.name, x.entity_type, x.step
$$;
