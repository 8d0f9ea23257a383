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
    INSERT INTO {schema}.strunk_failures (kind, name, fingerprint, error)
    SELECT p_kind, p_name, {schema}.strunk_fingerprint(p_error), left(p_error, 1000)
    WHERE p_error IS NOT NULL
$$;

-- Adds up to p_limit failures to their groups, and to the counts of their minutes and hours. Deletes the counts of
-- minutes after 26 hours, and those of hours and the groups p_keep after the last failure; of each p_limit rows at
-- most. Two at once share the rows among them (SKIP LOCKED); they lock groups and counts in one order.
CREATE OR REPLACE FUNCTION {schema}.strunk_compact_failures(p_keep interval, p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM {schema}.strunk_fold_failures(p_limit);
    PERFORM {schema}.strunk_forget_failures(60, v_now - least(p_keep, interval '26 hours'), p_limit);
    PERFORM {schema}.strunk_forget_failures(3600, v_now - p_keep - interval '1 hour', p_limit);
    DELETE FROM {schema}.strunk_failure_groups g WHERE g.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_failure_groups o WHERE o.last_at < v_now - p_keep ORDER BY o.last_at
        LIMIT p_limit FOR UPDATE SKIP LOCKED)) AND g.last_at < v_now - p_keep;
END $$;

-- Adds up to p_limit failures, the oldest, to their groups and counts.
CREATE OR REPLACE FUNCTION {schema}.strunk_fold_failures(p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    WITH gone AS (
        DELETE FROM {schema}.strunk_failures f WHERE f.ctid = ANY (ARRAY(
            SELECT o.ctid FROM {schema}.strunk_failures o ORDER BY o.failed_at, o.id LIMIT p_limit
            FOR UPDATE SKIP LOCKED))
        RETURNING f.*),
    groups AS (
        INSERT INTO {schema}.strunk_failure_groups AS g (first_at, last_at, kind, name, fingerprint, example)
        SELECT min(f.failed_at), max(f.failed_at), f.kind, f.name, f.fingerprint, max(f.error)
        FROM gone f GROUP BY f.fingerprint, f.kind, f.name ORDER BY f.fingerprint, f.kind, f.name
        ON CONFLICT (fingerprint, kind, name) DO UPDATE SET first_at = least(g.first_at, excluded.first_at),
            last_at = greatest(g.last_at, excluded.last_at), example = greatest(g.example, excluded.example)
        RETURNING g.id, g.kind, g.name, g.fingerprint)
    INSERT INTO {schema}.strunk_failure_counts AS c (counted_at, n, group_id, span_s)
    SELECT to_timestamp(floor(extract(epoch FROM f.failed_at) / s.span_s) * s.span_s), sum(f.n), g.id, s.span_s
    FROM gone f JOIN groups g USING (fingerprint, kind, name) CROSS JOIN (VALUES (60), (3600)) s (span_s)
    GROUP BY 1, g.id, s.span_s ORDER BY g.id, s.span_s, 1
    ON CONFLICT (group_id, span_s, counted_at) DO UPDATE SET n = c.n + excluded.n;
END $$;

-- Deletes up to p_limit counts of p_span seconds that begin before p_before.
CREATE OR REPLACE FUNCTION {schema}.strunk_forget_failures(p_span integer, p_before timestamptz, p_limit integer)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
BEGIN
    DELETE FROM {schema}.strunk_failure_counts c WHERE c.ctid = ANY (ARRAY(
        SELECT o.ctid FROM {schema}.strunk_failure_counts o WHERE o.span_s = p_span AND o.counted_at < p_before
        ORDER BY o.span_s, o.counted_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
END $$;

-- The failures within p_since by group (null: of all), with those of the last hour and of the hour before. Of a
-- window of more than two hours whole hours are read, and minutes where it begins; those of more than 25 hours begin
-- with a whole hour. p_ids are the groups that are looked at; null means all.
CREATE OR REPLACE FUNCTION {schema}.strunk_failure_sums(p_now timestamptz, p_since interval, p_ids uuid[])
RETURNS TABLE (group_id uuid, failures bigint, last_hour bigint, hour_before bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_minute timestamptz := p_now - p_since - interval '1 minute';
    v_hour   timestamptz := to_timestamp(ceil(extract(epoch FROM v_minute) / 3600) * 3600);
BEGIN
    IF p_since <= interval '2 hours' THEN
        v_hour := 'infinity';
    ELSIF p_since > interval '25 hours' THEN
        v_hour := to_timestamp(floor(extract(epoch FROM p_now - p_since) / 3600) * 3600);
        v_minute := v_hour;
    END IF;
    RETURN QUERY SELECT x.id, sum(x.n)::bigint, sum(x.n_last)::bigint, sum(x.n_before)::bigint FROM (
        SELECT c.group_id AS id, c.n, 0 AS n_last, 0 AS n_before FROM {schema}.strunk_failure_counts c
        WHERE c.span_s = 3600 AND c.counted_at >= v_hour AND (p_ids IS NULL OR c.group_id = ANY (p_ids))
        UNION ALL
        SELECT c.group_id, c.n, 0, 0 FROM {schema}.strunk_failure_counts c
        WHERE c.span_s = 60 AND c.counted_at > v_minute AND c.counted_at < v_hour
            AND (p_ids IS NULL OR c.group_id = ANY (p_ids))
        UNION ALL
        SELECT c.group_id, 0, CASE WHEN c.counted_at > p_now - interval '61 minutes' THEN c.n ELSE 0 END,
            CASE WHEN c.counted_at > p_now - interval '61 minutes' THEN 0 ELSE c.n END
        FROM {schema}.strunk_failure_counts c
        WHERE c.span_s = 60 AND c.counted_at > p_now - interval '121 minutes'
            AND (p_ids IS NULL OR c.group_id = ANY (p_ids))) x
    GROUP BY x.id;
END $$;

-- The error groups that failed within p_since, the most frequent first; of a queue or subscriber
-- (null: of all), or with p_new those alone that failed for the first time within it. failures are
-- those within p_since, last_hour and hour_before the trend. What is not counted yet is read as it is stored.
CREATE OR REPLACE FUNCTION {schema}.strunk_error_groups(p_name text, p_since interval, p_new boolean, p_limit integer)
RETURNS TABLE (fingerprint text, example text, failures bigint, first_at timestamptz, last_at timestamptz,
    last_hour bigint, hour_before bigint, queues text[], subscribers text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_now   timestamptz := clock_timestamp();
    v_from  timestamptz := v_now - p_since;
    v_ids   uuid[];
BEGIN
    IF p_name IS NOT NULL OR p_new THEN
        v_ids := ARRAY(SELECT g.id FROM {schema}.strunk_failure_groups g
            WHERE g.last_at > v_from AND (p_name IS NULL OR g.name = p_name) AND (NOT p_new OR g.first_at > v_from));
    END IF;
    RETURN QUERY
    WITH fresh AS MATERIALIZED (
        SELECT f.fingerprint, f.kind, f.name, min(f.failed_at) AS first_at, max(f.failed_at) AS last_at,
            max(f.error) AS example, coalesce(sum(f.n) FILTER (WHERE f.failed_at > v_from), 0) AS failures,
            coalesce(sum(f.n) FILTER (WHERE f.failed_at > v_now - interval '1 hour'), 0) AS last_hour,
            coalesce(sum(f.n) FILTER (WHERE f.failed_at > v_now - interval '2 hours'
                AND f.failed_at <= v_now - interval '1 hour'), 0) AS hour_before
        FROM {schema}.strunk_failures f WHERE p_name IS NULL OR f.name = p_name GROUP BY 1, 2, 3),
    parts AS (
        SELECT * FROM fresh
        UNION ALL
        SELECT g.fingerprint, g.kind, g.name, g.first_at, g.last_at, g.example, coalesce(s.failures, 0),
            coalesce(s.last_hour, 0), coalesce(s.hour_before, 0)
        FROM (SELECT w.fingerprint FROM {schema}.strunk_failure_groups w
              WHERE w.last_at > v_from AND (p_name IS NULL OR w.name = p_name)
              UNION SELECT x.fingerprint FROM fresh x) k
        JOIN {schema}.strunk_failure_groups g ON g.fingerprint = k.fingerprint AND (p_name IS NULL OR g.name = p_name)
        LEFT JOIN {schema}.strunk_failure_sums(v_now, p_since, v_ids) s ON s.group_id = g.id)
    SELECT p.fingerprint, max(p.example), sum(p.failures)::bigint, min(p.first_at), max(p.last_at),
        sum(p.last_hour)::bigint, sum(p.hour_before)::bigint,
        coalesce(array_agg(DISTINCT p.name) FILTER (WHERE p.kind = 'task'), '{}'),
        coalesce(array_agg(DISTINCT p.name) FILTER (WHERE p.kind = 'event'), '{}')
    FROM parts p GROUP BY p.fingerprint HAVING max(p.last_at) > v_from AND (NOT p_new OR min(p.first_at) > v_from)
    ORDER BY 3 DESC, p.fingerprint LIMIT p_limit;
END $$;
