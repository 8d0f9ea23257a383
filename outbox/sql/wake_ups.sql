-- Waking workers and the relay up: who needs a notification.

-- Announces a topic with the caller's commit, but not where the server's queue of notifications is half full: once it
-- is full, each commit that notifies fails. Polling finds the work.
CREATE OR REPLACE FUNCTION {schema}.strunk_announce(p_topic text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify({channel}, p_topic);
    END IF;
END $$;

-- Whether a worker of the queue may be asleep, so that a new task must be announced to it: one does
-- not call itself awake. A worker that is awake polls every few milliseconds. After 50 ms without a
-- task it says that it is asleep, commits, and only then polls more slowly: its pauses begin with
-- 10 ms and double, so that each is about as long as the time since then. A transaction that has read
-- here that all are awake is therefore found late by 10 ms or by the time from this call to its
-- commit, whichever is longer. So is one that has found no worker: a worker that starts looks when it
-- has made its row, and goes on with the same pauses. Under REPEATABLE READ the transaction's
-- snapshot counts.
CREATE OR REPLACE FUNCTION {schema}.strunk_may_sleep(p_queue text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN -- PL/pgSQL keeps the plan; a function in SQL would plan at each call, for 0.3 ms
    RETURN coalesce((SELECT bool_or(NOT w.awake) FROM {schema}.strunk_workers w
        WHERE w.queue = p_queue AND NOT w.expired), false);
END $$;

-- Notes in the lease row of a worker whether it is awake: see strunk_may_sleep.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_awake(p_worker bigint, p_awake boolean) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET jit = off AS $$
    UPDATE {schema}.strunk_workers w SET awake = p_awake WHERE w.id = p_worker AND w.awake <> p_awake
$$;

-- Whether the relay may be asleep, so that an event must be announced to it: no process says that its
-- relay is awake. Otherwise as strunk_may_sleep: an event that is not announced is found late by 10 ms
-- or by the time from this call to the commit, whichever is longer. A process that is killed is
-- believed for ten seconds; the relays of others, which poll, find the events meanwhile. A time
-- further away is one of a clock that was ahead.
CREATE OR REPLACE FUNCTION {schema}.strunk_relay_may_sleep() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce((SELECT a.until NOT BETWEEN clock_timestamp() AND clock_timestamp() + interval '10 s'
        FROM {schema}.strunk_relay_awake a), true);
END $$;

-- Notes that a relay is awake, for ten seconds, or that none may be: see strunk_relay_may_sleep.
-- A relay that is awake beside one that falls asleep says so again within five seconds.
CREATE OR REPLACE FUNCTION {schema}.strunk_set_relay_awake(p_awake boolean) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    INSERT INTO {schema}.strunk_relay_awake AS a (until)
    VALUES (CASE WHEN p_awake THEN clock_timestamp() + interval '10 s' ELSE '-infinity' END)
    ON CONFLICT (one) DO UPDATE SET until = excluded.until
$$;
