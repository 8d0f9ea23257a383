-- Listing tasks, newest first. No index serves every filter, so a listing walks the ids of one part of the
-- table in windows: a window says which ids the next so many tasks have, and what it costs is bounded
-- whatever is asked for and however few match. The parts are named by p_status: empty for all tasks that
-- wait or run, else dead, cancelled, discarded or delivered. Delivered tasks are walked day by day.

-- The table of a part, the condition for the rows of its windows ($1 is the status, $2 the queue, null for any), what
-- chooses the queue's among them, and an order by ids that an index has. A range of one status or key leaves the
-- order to the index that has it, where an equation would let the planner take the index of the ids alone, and pass
-- over all that others have between: see strunk_queue_counts.
CREATE OR REPLACE FUNCTION {schema}.strunk_task_part(p_status text, p_queue text, p_day text,
    OUT relation text, OUT condition text, OUT of_queue text, OUT ordering text)
LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_keyed constant boolean := p_queue IS NOT NULL AND p_status IN ('dead', 'cancelled', 'discarded');
    v_two   constant boolean := p_status IN ('cancelled', 'discarded'); -- which share a table
BEGIN
    IF p_day !~ '^strunk_outbox_delivered_tasks_[0-9]+$' THEN
        RAISE EXCEPTION 'strunk_task_part: % is no day of delivered tasks', p_day USING ERRCODE = '22023';
    END IF;
    relation := CASE p_status WHEN '' THEN 'strunk_outbox_tasks' WHEN 'dead' THEN 'strunk_outbox_dead'
        WHEN 'delivered' THEN p_day ELSE 'strunk_outbox_cancelled' END;
    condition := CASE WHEN v_two THEN 'x.status >= $1 AND x.status <= $1' ELSE '$1 IS NOT NULL' END
        || CASE WHEN v_keyed AND p_status = 'dead' THEN ' AND x.kind = ''task''' ELSE '' END
        || CASE WHEN v_keyed THEN ' AND x.key >= $2 AND x.key <= $2' ELSE ' AND coalesce($2, '''') IS NOT NULL' END;
    of_queue := CASE WHEN v_keyed THEN 'true' ELSE '($2::text IS NULL OR x.key = $2)' END;
    ordering := CASE WHEN v_two THEN 'x.status DESC, ' ELSE '' END || CASE WHEN v_keyed THEN 'x.key DESC, ' ELSE '' END
        || 'x.id DESC';
END $$;

-- The next window of a part: the ids from low_id to p_before, exclusive, of which there are examined, at most
-- p_examine (of dead letters, those of subscribers count as well). day is that of delivered tasks: p_day, or
-- where that is null the newest. older_day is the one to go on with. Both are null for other parts, and
-- where no day is left.
CREATE OR REPLACE FUNCTION {schema}.strunk_task_window(p_status text, p_queue text, p_day text, p_before bigint,
    p_examine integer) RETURNS TABLE (day text, low_id bigint, examined bigint, older_day text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_days text[];
    v_part record;
BEGIN
    IF p_status = 'delivered' THEN
        v_days := ARRAY(SELECT d FROM {schema}.strunk_days_of_ids(0, 9223372036854775807) d
            WHERE p_day IS NULL OR d COLLATE "C" <= p_day COLLATE "C");
        day := v_days[1];
        older_day := v_days[2];
        IF day IS NULL THEN
            RETURN QUERY SELECT NULL::text, 0::bigint, 0::bigint, NULL::text;
            RETURN;
        END IF;
    END IF;
    v_part := {schema}.strunk_task_part(p_status, p_queue, day);
    EXECUTE format('SELECT coalesce(min(y.id), 0), count(*) FROM (SELECT x.id FROM {schema}.%I x
        WHERE %s AND x.id < $3 ORDER BY %s LIMIT $4) y', v_part.relation, v_part.condition, v_part.ordering)
    INTO low_id, examined USING p_status, p_queue, p_before, p_examine;
    RETURN NEXT;
EXCEPTION WHEN undefined_table THEN -- retention has dropped the day meanwhile
    RETURN QUERY SELECT day, 0::bigint, 0::bigint, older_day;
END $$;

-- The tasks of a window (see strunk_task_window) that the filter lets through, newest first, at most p_limit.
-- Each null lets all through. p_only is one status of those that wait or run; p_error is contained in the last
-- error, p_fingerprint is the group of it (strunk_fingerprint), p_metadata and p_payload are contained in
-- those documents; p_from and p_until bound the time of the enqueue.
CREATE OR REPLACE FUNCTION {schema}.strunk_list_tasks(p_status text, p_queue text, p_day text, p_low bigint,
    p_before bigint, p_limit integer, p_only text, p_customer_key text, p_dedup_key text, p_error text,
    p_fingerprint text, p_metadata jsonb, p_payload jsonb, p_from timestamptz, p_until timestamptz)
RETURNS TABLE (id bigint, queue text, status text, priority smallint, attempts smallint, max_attempts smallint,
    created_at timestamptz, due_at timestamptz, claimed_at timestamptz, finished_at timestamptz, customer_key text,
    dedup_key text, last_error text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_part record := {schema}.strunk_task_part(p_status, p_queue, p_day);
BEGIN
    RETURN QUERY EXECUTE format('SELECT x.id, x.key::text, x.status::text, x.priority, x.attempts, x.max_attempts,
            x.created_at, x.due_at, x.claimed_at, x.finished_at, x.customer_key::text, x.dedup_key::text,
            left(x.last_error, 1000)
        FROM {schema}.%I x
        WHERE %s AND x.id >= $3 AND x.id < $4 AND x.kind = ''task'' AND %s AND ($6 IS NULL OR x.status = $6)
            AND ($7 IS NULL OR x.customer_key = $7) AND ($8 IS NULL OR x.dedup_key = $8)
            AND ($9 IS NULL OR strpos(x.last_error, $9) > 0)
            AND ($13 IS NULL OR x.created_at >= $13) AND ($14 IS NULL OR x.created_at <= $14)
            AND ($10 IS NULL OR {schema}.strunk_fingerprint(x.last_error) = $10)
            AND ($11 IS NULL OR {schema}.strunk_as_jsonb(x.metadata) @> $11)
            AND ($12 IS NULL OR {schema}.strunk_as_jsonb(x.payload) @> $12)
        ORDER BY %s LIMIT $5', v_part.relation, v_part.condition, v_part.of_queue, v_part.ordering)
    USING p_status, p_queue, p_low, p_before, p_limit, p_only, p_customer_key, p_dedup_key, p_error, p_fingerprint,
        p_metadata, p_payload, p_from, p_until;
EXCEPTION WHEN undefined_table THEN -- retention has dropped the day meanwhile
    RETURN;
END $$;
