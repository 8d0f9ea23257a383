-- The quota of each worker in the limit of its queue.

-- The number of the lock under which the quotas of a queue's workers are dealt out.
CREATE OR REPLACE FUNCTION {schema}.strunk_quota_key(p_queue text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.hashtextextended(pg_catalog.textcat('strunk_quota:{schema}:', p_queue), 0)
$$;

-- Gives a worker its part of the queue's limit, and returns it; null where there is no limit.
-- p_using are its tasks that are claimed and not ended: its quota is at least that, and it must
-- begin nothing beyond its old quota until it has the answer. p_wants is what it could use, 0 when
-- it is about to stop. The quotas of all rows together never exceed the limit (except where the
-- limit was lowered, until enough has ended): a row counts until it is gone, which is when the
-- tasks of a lost worker have been given back. A free quota goes to whoever asks, up to an even
-- part of the limit, and beyond it only what no other worker is short of.
CREATE OR REPLACE FUNCTION {schema}.strunk_take_quota(p_worker bigint, p_queue text, p_using integer,
    p_wants integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_limit  integer;
    v_quota  integer;
    v_others integer;
    v_n      integer;
    v_rank   integer;
    v_short  integer;
    v_even   integer;
    v_new    integer;
BEGIN
    SELECT l.running INTO v_limit FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF v_limit IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock({schema}.strunk_quota_key(p_queue));
    SELECT l.running INTO v_limit FROM {schema}.strunk_limits l WHERE l.queue = p_queue;
    IF v_limit IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT w.quota INTO v_quota FROM {schema}.strunk_workers w WHERE w.id = p_worker AND NOT w.expired;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT count(*) FILTER (WHERE NOT w.expired), coalesce(sum(w.quota) FILTER (WHERE w.id <> p_worker), 0),
        count(*) FILTER (WHERE NOT w.expired AND w.id < p_worker)
    INTO v_n, v_others, v_rank FROM {schema}.strunk_workers w WHERE w.queue = p_queue;
    -- The remainder goes to the first ones by id, which is random.
    v_even := v_limit / v_n + (v_rank < v_limit % v_n)::integer;
    SELECT coalesce(sum(greatest(0, least(w.concurrency, v_limit / v_n + (w.nth < v_limit % v_n)::integer) -
        w.quota)), 0) INTO v_short
    FROM (SELECT w.*, row_number() OVER (ORDER BY w.id) - 1 AS nth FROM {schema}.strunk_workers w
          WHERE w.queue = p_queue AND NOT w.expired) w
    WHERE w.id <> p_worker;
    v_new := least(p_wants, greatest(v_even, v_limit - v_others - v_short));
    v_new := greatest(p_using, least(v_new, v_limit - v_others), 0);
    -- Who wants less from now on (it stops, or is a manual claim) is short of nothing beyond that.
    UPDATE {schema}.strunk_workers w SET quota = v_new, concurrency = least(w.concurrency, p_wants)
    WHERE w.id = p_worker AND (w.quota <> v_new OR w.concurrency > p_wants);
    RETURN v_new;
END $$;

-- Whether the quotas of a queue's workers exceed its limit, as they do for a while after it was set
-- or lowered. Then nothing begins.
CREATE OR REPLACE FUNCTION {schema}.strunk_quotas_exceed(p_queue text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT sum(w.quota) FROM {schema}.strunk_workers w WHERE w.queue = p_queue)
        > (SELECT l.running FROM {schema}.strunk_limits l WHERE l.queue = p_queue), false)
$$;
