-- The relay: committed events get their positions.

-- What the relay knows of the feed after a move: p_feed as it was, p_seqs the numbers that were
-- moved, p_cut whether more may wait, p_sweep whether all numbers were looked at, p_xmin the oldest
-- transaction that ran before the move.
--
-- A seq below high that was not seen is missing. Its publisher may still commit it, or has rolled
-- back. It is forgotten once no transaction is left that could commit it:
--   1. A publisher has its transaction id before it draws its seq.
--   2. fence is the id of a relay's transaction that began after it had seen the seq fence_high
--      committed. Whoever drew a lower seq had an id by then, and that id is below fence.
--   3. When p_xmin is above fence, all these publishers have ended. The move that came after has seen
--      whatever they committed. What is still missing was rolled back.
-- A fence that no transaction of this server can have been given comes from another server, whose
-- database was restored here: it is drawn anew.
CREATE OR REPLACE FUNCTION {schema}.strunk_advance_feed(p_feed {schema}.strunk_feed, p_seqs bigint[],
    p_cut boolean, p_sweep boolean, p_xmin xid8)
RETURNS {schema}.strunk_feed
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f       {schema}.strunk_feed := p_feed;
    v_moved bigint := coalesce(cardinality(p_seqs), 0);
    v_last  bigint;
    v_seen  int8multirange;
    v_safe  bigint;
BEGIN
    SELECT coalesce(max(s), 0) INTO v_last FROM unnest(p_seqs) s;
    f.head := f.head + v_moved;
    IF p_sweep OR NOT isempty(f.missing) OR v_moved <> greatest(v_last - f.high, 0) THEN
        SELECT coalesce(range_agg(int8range(s, s, '[]')), '{}') INTO v_seen FROM unnest(p_seqs) s;
        f.missing := f.missing + int8multirange(int8range(f.high, greatest(v_last, f.high), '(]')) - v_seen;
    END IF;
    f.high := greatest(f.high, v_last);
    IF f.fence >= pg_snapshot_xmax(pg_current_snapshot()) THEN
        f.fence := NULL;
    ELSIF NOT isempty(f.missing) AND p_xmin > f.fence THEN
        -- A move that was cut off has looked no further than its last seq.
        v_safe := CASE WHEN p_cut THEN least(f.fence_high, v_last) ELSE f.fence_high END;
        f.missing := f.missing - int8multirange(int8range(NULL, v_safe, '[]'));
        f.fence := NULL;
    END IF;
    IF isempty(f.missing) THEN
        f.fence := NULL;
    ELSIF f.fence IS NULL THEN
        f.fence := pg_current_xact_id();
        f.fence_high := f.high;
    END IF;
    RETURN f;
END $$;

-- Moves waiting events into the feed, in seq order, and gives them their positions: up to p_limit,
-- and not more than p_bytes of them unless it is a single one. The transaction must have set
-- strunk.relay to the result of the try for the relay's lock in an *earlier* statement: what this
-- one sees then includes all that earlier holders have done, and positions follow on theirs. Looks
-- at seqs above the highest seen and at the exact set of those missing below, nowhere else: the
-- index entries of what has been moved, which an open snapshot keeps alive, are never walked.
-- p_sweep looks at all of them. more says that the move was cut off by p_limit or p_bytes. Neither
-- locks nor writes anything when nothing waits.
CREATE OR REPLACE FUNCTION {schema}.strunk_relay(p_limit integer, p_bytes bigint, p_sweep boolean)
RETURNS TABLE (locked boolean, moved integer, swept integer, more boolean, head bigint, missing bigint,
    low boolean, types text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    f       {schema}.strunk_feed;
    v_was   {schema}.strunk_feed;
    v_look  int8multirange;
    v_xmin  xid8;
    v_now   timestamptz := clock_timestamp();
    v_seqs  bigint[];
    v_found integer;
BEGIN
    moved := 0;
    swept := 0;
    locked := coalesce(current_setting('strunk.relay', true), '') = 'true';
    IF NOT locked THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT s.* INTO f FROM {schema}.strunk_feed s ORDER BY s.slot DESC LIMIT 1;
    -- Before the move: whoever has ended by now is seen by it.
    SELECT pg_snapshot_xmin(pg_current_snapshot()) INTO v_xmin;
    v_was := f;
    v_look := CASE WHEN p_sweep THEN int8multirange(int8range(NULL, f.high + 1)) ELSE f.missing END;
    WITH c AS MATERIALIZED (
        SELECT x.seq, x.tid, x.bytes FROM (
            SELECT y.seq, y.tid, y.bytes FROM unnest(v_look) AS r(r) CROSS JOIN LATERAL (
                SELECT e.seq, e.ctid AS tid, coalesce(pg_column_size(e.payload), 0) + coalesce(pg_column_size(e.diff),
                    0) AS bytes FROM {schema}.strunk_outbox_events e
                WHERE e.seq >= coalesce(lower(r.r), 0) AND e.seq < upper(r.r) ORDER BY e.seq LIMIT p_limit) y
            UNION ALL
            SELECT z.seq, z.tid, z.bytes FROM (
                SELECT e.seq, e.ctid AS tid, coalesce(pg_column_size(e.payload), 0) + coalesce(pg_column_size(e.diff),
                    0) AS bytes FROM {schema}.strunk_outbox_events e
                WHERE e.seq > f.high ORDER BY e.seq LIMIT p_limit) z) x
        ORDER BY x.seq LIMIT p_limit),
    d AS (
        DELETE FROM {schema}.strunk_outbox_events e USING c WHERE e.ctid = c.tid AND (
            -- Mostly all of them fit. Only where they do not are running sums computed.
            (SELECT sum(c.bytes) FROM c) < p_bytes
            OR c.seq IN (
                SELECT y.seq FROM (
                    SELECT c.seq, sum(c.bytes) OVER (ORDER BY c.seq ROWS UNBOUNDED PRECEDING) - c.bytes AS before
                    FROM c) y
                WHERE y.before < p_bytes))
        RETURNING e.*),
    ins AS (
        INSERT INTO {schema}.strunk_outbox_delivered_events AS r
            (id, seq, position, version, created_at, finished_at, status, kind, key, entity_id, schema_version,
                payload, metadata, diff)
        SELECT d.id, d.seq, f.head + row_number() OVER (ORDER BY d.seq), d.version, d.created_at, v_now,
            'delivered', 'event', d.key,
               d.entity_id, d.schema_version, d.payload, d.metadata, d.diff
        FROM d
        RETURNING r.seq, r.key)
    SELECT count(*), array_agg(ins.seq), array_agg(DISTINCT ins.key), (SELECT count(*) FROM c) INTO moved, v_seqs,
        types, v_found FROM ins;

    more := moved >= p_limit OR v_found > moved;
    IF p_sweep THEN
        SELECT count(*) INTO swept FROM unnest(v_seqs) s WHERE s <= f.high AND NOT f.missing @> s;
    END IF;
    f := {schema}.strunk_advance_feed(f, v_seqs, more, p_sweep, v_xmin);
    IF moved > 0 OR f.missing <> v_was.missing OR f.fence IS DISTINCT FROM v_was.fence THEN
        INSERT INTO {schema}.strunk_feed AS t (slot, head, high, fence_high, fence, moved_at, missing)
        VALUES (greatest(f.slot, extract(epoch FROM v_now)::bigint), f.head, f.high, f.fence_high, f.fence, v_now,
            f.missing)
        ON CONFLICT (slot) DO UPDATE
        SET head = excluded.head, high = excluded.high, fence_high = excluded.fence_high, fence = excluded.fence,
            moved_at = excluded.moved_at, missing = excluded.missing;
    END IF;
    head := f.head;
    SELECT coalesce(sum(upper(m) - lower(m)), 0) INTO missing FROM unnest(f.missing) m;
    SELECT coalesce(max(p.first), 0) <= f.head INTO low FROM {schema}.strunk_feed_partitions p;
    RETURN NEXT;
END $$;

-- Whether strunk_relay, without p_sweep, would have something to move or to note: an event above the highest seq that
-- was seen, or numbers that are missing. Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_relay_due() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    f {schema}.strunk_feed;
BEGIN
    SELECT s.* INTO f FROM {schema}.strunk_feed s ORDER BY s.slot DESC LIMIT 1;
    RETURN NOT isempty(f.missing) OR EXISTS (
        SELECT 1 FROM {schema}.strunk_outbox_events e WHERE e.seq > f.high ORDER BY e.seq LIMIT 1);
END $$;
