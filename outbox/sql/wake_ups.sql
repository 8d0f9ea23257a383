-- Waking workers up: who needs a notification.

-- Whether a worker of the queue may be asleep, so that a new task must be announced to it: one does
-- not call itself awake, or there is none. A worker that is awake polls every few milliseconds. After
-- 50 ms without a task it says that it is asleep, commits, and only then polls more slowly: its pauses
-- begin with 10 ms and double, so that each is about as long as the time since then. A transaction
-- that has read here that all are awake is therefore found late by 10 ms or by the time from this
-- call to its commit, whichever is longer. Under REPEATABLE READ the transaction's snapshot counts.
CREATE OR REPLACE FUNCTION {schema}.strunk_may_sleep(p_queue text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN -- PL/pgSQL keeps the plan; a function in SQL would plan at each call, for 0.3 ms
    RETURN coalesce((SELECT bool_or(NOT w.awake) FROM {schema}.strunk_workers w
        WHERE w.queue = p_queue AND NOT w.expired), true);
END $$;

-- Notes in the lease row of a worker whether it is awake: see strunk_may_sleep.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_awake(p_worker bigint, p_awake boolean) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    UPDATE {schema}.strunk_workers w SET awake = p_awake WHERE w.id = p_worker AND w.awake <> p_awake
$$;
