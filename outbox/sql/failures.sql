-- Error groups: failures that differ in numbers, ids, addresses and quoted values alone are one line.

-- The text of an error without what differs from failure to failure: quoted values, addresses, and
-- words with digits, each replaced by a question mark. At most 300 characters.
CREATE OR REPLACE FUNCTION {schema}.strunk_fingerprint(p_error text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT left(btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(left(p_error, 2000),
        '"[^"]*"|''[^'']*''|`[^`]*`', '?', 'g'),
        '\m[a-z][a-z0-9+.-]*://\S+|\S+@\S+|\[[0-9a-fA-F:.]+\](:\d+)?', '?', 'g'),
        '[\w.-]*\d[\w.-]*(:\d+)?', '?', 'g'),
        '\?([^\w\s?]*\?)+', '?', 'g'),
        '\s+', ' ', 'g')), 300)
$$;

-- Notes one failure of a task or an event: p_kind is task or event, p_name its queue or subscriber.
-- Rows are added and never changed here, so that failures at once do not wait for each other.
CREATE OR REPLACE FUNCTION {schema}.strunk_note_failure(p_kind text, p_name text, p_error text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO {schema}.strunk_failures (first_at, last_at, n, kind, name, fingerprint, error)
    SELECT clock_timestamp(), clock_timestamp(), 1, p_kind, p_name,
        {schema}.strunk_fingerprint(p_error), left(p_error, 1000)
    WHERE p_error IS NOT NULL
$$;

-- Makes one row of all failures of a group in a minute, and of those older than a day one of an hour;
-- deletes those older than p_keep. At most p_limit rows of each at a time. Two at once share the rows
-- among them: SKIP LOCKED.
CREATE OR REPLACE FUNCTION {schema}.strunk_compact_failures(p_keep interval, p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    DELETE FROM {schema}.strunk_failures f WHERE f.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_failures o WHERE o.last_at < v_now - p_keep ORDER BY o.last_at
            LIMIT p_limit FOR UPDATE SKIP LOCKED));
    PERFORM {schema}.strunk_compact_span(0, 60, date_trunc('minute', v_now), p_limit);
    PERFORM {schema}.strunk_compact_span(60, 3600, date_trunc('hour', v_now - interval '1 day'), p_limit);
END $$;

-- Makes rows of p_to seconds of those of p_from that began before p_before.
CREATE OR REPLACE FUNCTION {schema}.strunk_compact_span(p_from integer, p_to integer, p_before timestamptz,
    p_limit integer) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    WITH gone AS (
        DELETE FROM {schema}.strunk_failures f WHERE f.ctid = ANY (ARRAY(
            SELECT o.ctid FROM {schema}.strunk_failures o WHERE o.span_s = p_from AND o.first_at < p_before
            ORDER BY o.span_s, o.first_at LIMIT p_limit FOR UPDATE SKIP LOCKED))
        RETURNING f.*)
    INSERT INTO {schema}.strunk_failures (first_at, last_at, n, span_s, kind, name, fingerprint, error)
    SELECT x.first_at, x.last_at, x.n, p_to, x.kind, x.name, x.fingerprint,
        x.error
    FROM (SELECT min(g.first_at) AS first_at, max(g.last_at) AS last_at, sum(g.n) AS n, g.kind, g.name, g.fingerprint,
              max(g.error) AS error
          FROM gone g GROUP BY floor(extract(epoch FROM g.first_at) / p_to), g.kind, g.name, g.fingerprint) x
$$;

-- The error groups that failed within p_since, the most frequent first; of a queue or subscriber
-- (null: of all), or with p_new those alone that failed for the first time within it. failures are
-- those within p_since, last_hour and hour_before the trend.
CREATE OR REPLACE FUNCTION {schema}.strunk_error_groups(p_name text, p_since interval, p_new boolean, p_limit integer)
RETURNS TABLE (fingerprint text, example text, failures bigint, first_at timestamptz, last_at timestamptz,
    last_hour bigint, hour_before bigint, queues text[], subscribers text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH x AS MATERIALIZED (SELECT clock_timestamp() AS now)
    SELECT f.fingerprint, max(f.error), coalesce(sum(f.n) FILTER (WHERE f.last_at > x.now - p_since), 0)::bigint,
        min(f.first_at), max(f.last_at),
        coalesce(sum(f.n) FILTER (WHERE f.last_at > x.now - interval '1 hour'), 0)::bigint,
        coalesce(sum(f.n) FILTER (WHERE f.last_at > x.now - interval '2 hours'
            AND f.last_at <= x.now - interval '1 hour'), 0)::bigint,
        coalesce(array_agg(DISTINCT f.name) FILTER (WHERE f.kind = 'task'), '{}'),
        coalesce(array_agg(DISTINCT f.name) FILTER (WHERE f.kind = 'event'), '{}')
    FROM {schema}.strunk_failures f CROSS JOIN x
    WHERE p_name IS NULL OR f.name = p_name
    GROUP BY f.fingerprint, x.now
    HAVING max(f.last_at) > x.now - p_since AND (NOT p_new OR min(f.first_at) > x.now - p_since)
    ORDER BY 3 DESC, f.fingerprint LIMIT p_limit
$$;
