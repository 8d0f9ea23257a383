-- The tables of strunk, their indexes and their partitions. The functions stand in outbox/sql, a file for each topic.
--
-- {schema} is the quoted PostgreSQL schema of this installation. Columns are ordered wide to
-- narrow. There is no foreign key anywhere: a lease row is locked by the claim itself
-- (strunk_claim), and a key check for each of a thousand rows would cost more than the claim.

-- ==================== Sequences

-- CACHE 1: seq and id must rise with the order in which transactions draw them; a session cache
-- would hand out old numbers late.
CREATE SEQUENCE {schema}.strunk_outbox_id_seq AS bigint CACHE 1;

-- A sequence of the events alone, so that a number missing from it can only be an event's. CACHE 1: within an entity it
-- must rise with the order of the commits.
CREATE SEQUENCE {schema}.strunk_events_seq AS bigint CACHE 1;

-- ==================== The outbox: what waits and runs

-- What every reader of the SQL sees. seq has no default on purpose: a number drawn before its transaction has an id
-- could appear under a worker's low watermark, so rows come through strunk_enqueue and strunk_publish only.
CREATE TABLE {schema}.strunk_outbox (
    id             bigint      NOT NULL,
    seq            bigint      NOT NULL,
    position       bigint,
    version        bigint,
    worker_id      bigint,
    claim_no       bigint,
    slot           bigint,
    backlog_seq    bigint,
    batch_id       bigint,
    created_at     timestamptz NOT NULL,
    due_at         timestamptz,
    claimed_at     timestamptz,
    finished_at    timestamptz,
    begin_before   timestamptz, -- of a task that is of no use if it begins later; null once it has begun
    timeout_ms     integer,
    attempts       smallint    NOT NULL DEFAULT 0,
    max_attempts   smallint    NOT NULL DEFAULT 12,
    priority       smallint    NOT NULL DEFAULT 0,
    admitted       boolean     NOT NULL DEFAULT true,
    dedup_waiting  boolean,
    -- A worker died while the task had started, or may have: it is started alone from then on, see strunk_starts.
    possibly_started boolean,
    -- A dead letter because the database refused the task's outcome, see strunk_isolate.
    isolated boolean,
    dead_if_late boolean,
    status         text COLLATE "C" NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    entity_id      text COLLATE "C",
    dedup_key      text COLLATE "C",
    customer_key      text COLLATE "C",
    subscriber     text COLLATE "C",
    schema_version text,
    last_error     text,
    payload        json,
    metadata       json,
    diff           json,
    errors         jsonb
) PARTITION BY LIST (status);

-- Small and hot. One partition for each kind, so that a burst of events waiting for the relay does not
-- bloat the tasks' pages. Half of each page is left free for the claimed versions: an update within
-- its page writes 15 % less WAL a task (no lock record of its own, and only what changed of the
-- row).
CREATE TABLE {schema}.strunk_outbox_active
    PARTITION OF {schema}.strunk_outbox FOR VALUES IN ('scheduled', 'pending', 'claimed')
    PARTITION BY LIST (kind);

CREATE TABLE {schema}.strunk_outbox_tasks
    PARTITION OF {schema}.strunk_outbox_active FOR VALUES IN ('task')
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
          autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.2,
          autovacuum_vacuum_cost_delay = 0);

-- Values that no claim could work, or that would stop the claims of others.
ALTER TABLE {schema}.strunk_outbox_tasks
    ADD CONSTRAINT strunk_outbox_tasks_priority CHECK (priority BETWEEN 0 AND 9),
    ADD CONSTRAINT strunk_outbox_tasks_attempts CHECK (attempts BETWEEN 0 AND 30000);

CREATE UNIQUE INDEX strunk_outbox_tasks_id ON {schema}.strunk_outbox_tasks (id);
-- The claim index, and the only one that holds seq: ORDER BY seq can be answered by no other.
CREATE INDEX strunk_outbox_tasks_claim ON {schema}.strunk_outbox_tasks (key, priority, seq)
    WHERE status = 'pending' AND admitted;
-- A task holds its dedup key until it leaves this partition, or, with dedup_waiting, until its first
-- claim, which sets worker_id for good. Every ON CONFLICT and every search for a holder repeats the
-- predicate.
CREATE UNIQUE INDEX strunk_outbox_tasks_dedup ON {schema}.strunk_outbox_tasks (key, dedup_key)
    WHERE dedup_key IS NOT NULL AND (dedup_waiting IS NULL OR worker_id IS NULL);
CREATE INDEX strunk_outbox_tasks_due ON {schema}.strunk_outbox_tasks (due_at) WHERE status = 'scheduled';
-- For tasks that are late. One without a deadline has no entry.
CREATE INDEX strunk_outbox_tasks_late ON {schema}.strunk_outbox_tasks (begin_before)
    WHERE begin_before IS NOT NULL AND status <> 'claimed';
-- For the rescue and the heartbeat's comparison of claim numbers.
CREATE INDEX strunk_outbox_tasks_claimed ON {schema}.strunk_outbox_tasks (worker_id, claim_no) WHERE status = 'claimed';
-- Tasks with a customer_key wait in the backlog of their key until they are admitted
-- (strunk_admit), in the order of seq.
--   admitted     whether a claim may take the task. Always true without a customer_key.
--   slot         what the task takes of the quota of its key while it is admitted and not ended: a
--                number that rises in the order of admissions, because it is drawn under the
--                queue's admission lock.
--   backlog_seq  its seq at the first admission. A task that has one and waits returns: it goes
--                first in its key, in this order.
CREATE INDEX strunk_outbox_tasks_arrived ON {schema}.strunk_outbox_tasks (key, seq) WHERE status = 'pending'
    AND NOT admitted;
CREATE INDEX strunk_outbox_tasks_backlog ON {schema}.strunk_outbox_tasks (key, customer_key, (seq + 0))
    WHERE status = 'pending' AND NOT admitted AND backlog_seq IS NULL;
CREATE INDEX strunk_outbox_tasks_returning ON {schema}.strunk_outbox_tasks (key, customer_key, backlog_seq)
    WHERE NOT admitted AND backlog_seq IS NOT NULL;
CREATE INDEX strunk_outbox_tasks_slots ON {schema}.strunk_outbox_tasks (key, customer_key, slot) WHERE slot IS NOT NULL;
-- The lowest slot of a queue. An expression, so that each search finds one index that can serve it.
CREATE INDEX strunk_outbox_tasks_low_slot ON {schema}.strunk_outbox_tasks (key, (slot + 0)) WHERE slot IS NOT NULL;

-- Events that wait for the relay. One index: the relay's.
CREATE TABLE {schema}.strunk_outbox_events
    PARTITION OF {schema}.strunk_outbox_active FOR VALUES IN ('event')
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
          autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.2,
          autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX strunk_outbox_events_seq ON {schema}.strunk_outbox_events (seq);

-- Deliveries: copies of events for one subscriber. The first of an entity is retrying (due_at is
-- set) or parked (it is not); the others wait behind it. Not unique by version: a dead delivery may
-- be set back to pending twice.
CREATE TABLE {schema}.strunk_outbox_deliveries
    PARTITION OF {schema}.strunk_outbox_active FOR VALUES IN ('delivery')
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE UNIQUE INDEX strunk_outbox_deliveries_id ON {schema}.strunk_outbox_deliveries (id);
CREATE INDEX strunk_outbox_deliveries_order ON {schema}.strunk_outbox_deliveries (subscriber, key, entity_id,
    version, id);

-- ==================== The outbox: what is delivered, and what is dead

-- Append-only; retention detaches and drops its partitions it has no index but the one for looking a row up.
CREATE TABLE {schema}.strunk_outbox_delivered
    PARTITION OF {schema}.strunk_outbox FOR VALUES IN ('delivered')
    PARTITION BY LIST (kind);

CREATE TABLE {schema}.strunk_outbox_delivered_tasks
    PARTITION OF {schema}.strunk_outbox_delivered (finished_at NOT NULL) FOR VALUES IN ('task')
    PARTITION BY RANGE (finished_at);

-- The feed: append-only, in partitions by position.
CREATE TABLE {schema}.strunk_outbox_delivered_events
    PARTITION OF {schema}.strunk_outbox_delivered (position NOT NULL) FOR VALUES IN ('event')
    PARTITION BY RANGE (position);

-- Dead letters. Their dedup key no longer binds: no unique index on it here.
CREATE TABLE {schema}.strunk_outbox_dead
    PARTITION OF {schema}.strunk_outbox FOR VALUES IN ('dead');

CREATE UNIQUE INDEX strunk_outbox_dead_id ON {schema}.strunk_outbox_dead (id);
CREATE INDEX strunk_outbox_dead_key ON {schema}.strunk_outbox_dead (key, id);
CREATE INDEX strunk_outbox_dead_finished ON {schema}.strunk_outbox_dead (finished_at);
-- Dead letters that keep the next task of their key waiting (hold_dead).
CREATE INDEX strunk_outbox_dead_holding ON {schema}.strunk_outbox_dead (key, customer_key)
    WHERE backlog_seq IS NOT NULL;
CREATE INDEX strunk_outbox_dead_isolated ON {schema}.strunk_outbox_dead (id) WHERE isolated;
CREATE INDEX strunk_outbox_dead_subscriber ON {schema}.strunk_outbox_dead (subscriber, id) WHERE subscriber IS NOT NULL;
-- Dead letters of tasks alone: dead deliveries, whose key is an entity type, must not be walked
-- over. The partition is not hot.
CREATE INDEX strunk_outbox_dead_tasks ON {schema}.strunk_outbox_dead (key, id) WHERE kind = 'task';

-- Tasks that somebody ended, which is no failure: cancelled by a person, discarded by a handler. They
-- are kept as long as delivered ones, and retried as dead letters are. Few, and deleted row by row.
CREATE TABLE {schema}.strunk_outbox_cancelled
    PARTITION OF {schema}.strunk_outbox FOR VALUES IN ('cancelled', 'discarded');

CREATE UNIQUE INDEX strunk_outbox_cancelled_id ON {schema}.strunk_outbox_cancelled (id);
CREATE INDEX strunk_outbox_cancelled_key ON {schema}.strunk_outbox_cancelled (key, id);
CREATE INDEX strunk_outbox_cancelled_queue ON {schema}.strunk_outbox_cancelled (status, key, id);
CREATE INDEX strunk_outbox_cancelled_status ON {schema}.strunk_outbox_cancelled (status, id);
CREATE INDEX strunk_outbox_cancelled_finished ON {schema}.strunk_outbox_cancelled (finished_at);

-- ==================== Workers, queues and their limits

-- One lease row for each worker process and queue. expired is set before any of its tasks is given back and is never
-- unset; claim_floor voids claims whose answer was lost. Room in the page keeps heartbeats HOT.
CREATE TABLE {schema}.strunk_workers (
    id          bigint      PRIMARY KEY,
    heartbeat        bigint      NOT NULL DEFAULT 0,
    claim_floor bigint      NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_ms    integer     NOT NULL,
    pid         integer     NOT NULL,
    concurrency integer     NOT NULL,
    quota       integer     NOT NULL DEFAULT 0,
    expired   boolean     NOT NULL DEFAULT false,
    -- The worker writes ahead in strunk_starts; otherwise whatever it has claimed counts as started.
    writes_starts boolean   NOT NULL DEFAULT false,
    awake       boolean     NOT NULL DEFAULT false, -- polls every few milliseconds: see strunk_may_sleep
    queue       text COLLATE "C" NOT NULL,
    host        text        NOT NULL,
    -- The versions of the program that works, and of this library in it.
    release     text        NOT NULL DEFAULT '',
    library     text        NOT NULL DEFAULT ''
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
CREATE INDEX strunk_workers_queue ON {schema}.strunk_workers (queue);

-- How far each worker may start the tasks that it has claimed, written ahead for many tasks at a
-- time: an attempt is spent by a handler that started, and by nothing else. A position in the order
-- of starts is {claim_no, 9 - priority, seq}; arrays compare element by element. Up to the highest
-- started_to of a worker all its tasks have started. Up to the highest may_start_to some may have.
-- Rows are added and never changed: an update of one row would slow down under an open snapshot,
-- which keeps all of its versions.
CREATE TABLE {schema}.strunk_starts (
    worker_id    bigint   NOT NULL,
    write_no     bigint   NOT NULL,
    started_to   bigint[] NOT NULL,
    may_start_to bigint[] NOT NULL,
    PRIMARY KEY (worker_id, write_no)
);

-- A queue's settings; a queue without a row has the defaults.
CREATE TABLE {schema}.strunk_queues (
    paused_at       timestamptz,
    queue           text COLLATE "C" PRIMARY KEY,
    paused_by       text,  -- the role and what its connection calls itself, or whom a program names
    pause_reason    text,
    declared_dedup  text,  -- what the last program that worked it declared, in words; empty for none
    declared_limits text[], -- all that programs have declared, in order; the last hundred
    outcome_type    text COLLATE "C" -- as which entity type outcomes are published; null: not at all
);

-- A pause of all queues, whatever their own: the row is there while it lasts.
CREATE TABLE {schema}.strunk_all_paused (
    paused_at timestamptz NOT NULL,
    one       boolean     PRIMARY KEY DEFAULT true CHECK (one),
    paused_by text        NOT NULL,
    reason    text        NOT NULL
);

-- The limits of queues; a queue without a row has none. Rates are counts in so many microseconds.
CREATE TABLE {schema}.strunk_limits (
    version        bigint  NOT NULL,
    rate_us        bigint,
    key_rate_us    bigint,
    running        integer,
    key_running    integer,
    rate           integer,
    rate_burst     integer,
    key_rate       integer,
    key_rate_burst integer,
    fifo           boolean NOT NULL DEFAULT false,
    hold_dead      boolean NOT NULL DEFAULT false,
    fair           boolean NOT NULL DEFAULT false,
    queue          text COLLATE "C" PRIMARY KEY
);

-- What is different for some customer keys: null is what the queue has for all of them. weight is how many turns
-- a key gets for each turn of another, where the limits are fair. rate tasks of the key begin in rate_us microseconds,
-- rate_burst of them at once.
CREATE TABLE {schema}.strunk_key_limits (
    rate_us      bigint,
    weight       integer,
    running      integer,
    rate         integer,
    rate_burst   integer,
    queue        text COLLATE "C" NOT NULL,
    customer_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, customer_key)
);

-- The turns of the customer keys that wait in queues with fair limits: see turns.sql. n tells equal turns apart, in the
-- order in which they were given.
CREATE TABLE {schema}.strunk_turns (
    at           bigint NOT NULL,
    n            bigint NOT NULL,
    queue        text COLLATE "C" NOT NULL,
    customer_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, at, n)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);

-- Whether a key has a turn.
CREATE INDEX strunk_turns_key ON {schema}.strunk_turns (queue, customer_key, at);

-- Until when what has begun uses up a rate (the theoretical arrival time of the generic cell rate
-- algorithm), in microseconds since 1970; customer_key is empty for the queue's own. Rows are
-- added, never changed, and read by their time: whatever a snapshot keeps alive lies before it.
CREATE TABLE {schema}.strunk_rates (
    until_us     bigint NOT NULL,
    queue        text COLLATE "C" NOT NULL,
    customer_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, customer_key, until_us)
);

CREATE INDEX strunk_rates_until ON {schema}.strunk_rates (until_us);

-- Until when a queue, or (not empty) a customer key of it, begins no task: see strunk_hold. What is over is
-- deleted with other marks that are. One row for each: a second hold only makes it longer.
CREATE TABLE {schema}.strunk_holds (
    until        timestamptz NOT NULL,
    since        timestamptz NOT NULL,
    queue        text COLLATE "C" NOT NULL,
    customer_key text COLLATE "C" NOT NULL,
    held_by      text        NOT NULL,
    reason       text        NOT NULL,
    PRIMARY KEY (queue, customer_key)
);

-- Running tasks that are to be cancelled: by task, not by token, so that the request outlives the
-- worker that runs the task now.
CREATE TABLE {schema}.strunk_cancels (
    task_id      bigint      NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    queue        text COLLATE "C" NOT NULL,
    reason       text        NOT NULL,
    PRIMARY KEY (queue, task_id)
);

-- Batches (see batches.sql). The counts are those of the changes that have been added up. follow_up is the task that is
-- enqueued when all members have ended, as a row of strunk_outbox_tasks.
CREATE TABLE {schema}.strunk_batches (
    id           bigint      PRIMARY KEY,
    follow_up_id bigint,
    added        bigint      NOT NULL DEFAULT 0,
    done         bigint      NOT NULL DEFAULT 0,
    dead         bigint      NOT NULL DEFAULT 0,
    cancelled    bigint      NOT NULL DEFAULT 0,
    discarded    bigint      NOT NULL DEFAULT 0,
    deleted      bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    closed_at    timestamptz,
    cancelled_at timestamptz,
    finished_at  timestamptz,
    name         text        NOT NULL,
    event_type   text COLLATE "C",
    follow_up    json
) WITH (fillfactor = 50);

CREATE INDEX strunk_batches_finished ON {schema}.strunk_batches (finished_at);
CREATE INDEX strunk_batches_follow_up ON {schema}.strunk_batches (follow_up_id) WHERE follow_up_id IS NOT NULL;

-- The members of batches, for listing and cancelling them. What counts stands in strunk_batch_changes.
CREATE TABLE {schema}.strunk_batch_tasks (
    batch_id bigint NOT NULL,
    task_id  bigint NOT NULL,
    PRIMARY KEY (batch_id, task_id)
);

-- What has happened to members and is not yet added up: n tasks more (or fewer) were added, or have ended so. Rows are
-- added by whoever adds or ends tasks, many tasks at a time, and never changed: no row of a batch is hot.
CREATE TABLE {schema}.strunk_batch_changes (
    batch_id bigint NOT NULL,
    n        bigint NOT NULL,
    id       uuid   PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    what     text COLLATE "C" NOT NULL
        CHECK (what IN ('added', 'done', 'dead', 'cancelled', 'discarded', 'deleted'))
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX strunk_batch_changes_batch ON {schema}.strunk_batch_changes (batch_id);

-- Dedup keys that are held for a period, whether or not their task is done.
CREATE TABLE {schema}.strunk_dedups (
    task_id    bigint      NOT NULL,
    held_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    queue      text COLLATE "C" NOT NULL,
    dedup_key  text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, dedup_key)
);

CREATE INDEX strunk_dedups_expires ON {schema}.strunk_dedups (expires_at);

-- Progress of running tasks and results of done ones. A result is never NULL: JSON has a null of its own.
CREATE TABLE {schema}.strunk_results (
    task_id    bigint      PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    percent    smallint    NOT NULL DEFAULT 0,
    queue      text COLLATE "C" NOT NULL,
    message    text        NOT NULL DEFAULT '',
    result     json
);

CREATE INDEX strunk_results_updated ON {schema}.strunk_results (updated_at);

-- Results of steps, which a later attempt of the task is given. fence is the seq of the claim that
-- stored it.
CREATE TABLE {schema}.strunk_steps (
    task_id   bigint      NOT NULL,
    fence     bigint      NOT NULL,
    stored_at timestamptz NOT NULL,
    queue     text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    type      text        NOT NULL,
    result    json        NOT NULL,
    PRIMARY KEY (task_id, name)
);

CREATE INDEX strunk_steps_stored ON {schema}.strunk_steps (stored_at);

-- Messages that a consumer has handled. task_id stands beside marks that workers make: such a mark is needed only while
-- its task could be handled again, and is kept until then whatever the retention.
CREATE TABLE {schema}.strunk_inbox (
    task_id    bigint,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    consumer   text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (consumer, message_id)
);

CREATE INDEX strunk_inbox_handled ON {schema}.strunk_inbox (handled_at) WHERE task_id IS NULL;
CREATE INDEX strunk_inbox_tasks ON {schema}.strunk_inbox (handled_at) WHERE task_id IS NOT NULL;

-- ==================== Events

-- The partitions of the feed: positions from first to before past.
CREATE TABLE {schema}.strunk_feed_partitions (
    first   bigint      PRIMARY KEY,
    past    bigint      NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    name    text        NOT NULL
);

-- What the relay has done, one row for each second in which it moved something: the newest holds. A
-- single row updated for ever would drag all its versions along under an open snapshot. Older rows
-- tell which position belonged to which time. high is the highest seq that was seen, missing the
-- exact set of those below it that were not, fence and fence_high say which of them are safe to
-- forget: see strunk_relay.
CREATE TABLE {schema}.strunk_feed (
    slot       bigint      PRIMARY KEY,
    head       bigint      NOT NULL,
    high       bigint      NOT NULL,
    fence_high bigint,
    fence      xid8,
    moved_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    missing    int8multirange NOT NULL DEFAULT '{}'
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

INSERT INTO {schema}.strunk_feed (slot, head, high) VALUES (0, 0, 0);

-- Until when publishers may take a relay for awake, which polls and needs no notification: see
-- strunk_relay_may_sleep. One row, written every five seconds while many events come.
CREATE TABLE {schema}.strunk_relay_awake (
    until timestamptz NOT NULL,
    one   boolean     PRIMARY KEY DEFAULT true CHECK (one)
) WITH (fillfactor = 20);

-- Positions up to floor are no longer kept. Retention locks the row FOR UPDATE before it raises the
-- floor; whoever chooses a place in the feed holds it FOR SHARE until the choice is committed.
CREATE TABLE {schema}.strunk_feed_floor (
    floor bigint  NOT NULL,
    one   boolean PRIMARY KEY DEFAULT true CHECK (one)
);

INSERT INTO {schema}.strunk_feed_floor (floor) VALUES (0);

-- The current state of each entity. A deleted one keeps a stub, so that versions never start again. No other index: an
-- update of a state stays HOT.
CREATE TABLE {schema}.strunk_snapshots (
    version        bigint      NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleted        boolean     NOT NULL,
    entity_type    text COLLATE "C" NOT NULL,
    entity_id      text COLLATE "C" NOT NULL,
    schema_version text,
    state          json,
    PRIMARY KEY (entity_type, entity_id)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);

-- Subscribers. Everything up to cursor is handled. Nothing beyond started has been begun. epoch
-- rises with every new owner and every rewind; no value of it comes twice, also after a failover to
-- an old copy of the database. server_started is the start of the server that gave the epoch. Both
-- together fence all that an owner writes: see strunk_epoch_holds. bootstrap is 'done' (the
-- subscriber follows the feed), 'snapshots' (it is given the snapshots) or 'catching_up' (it
-- follows the feed without the versions that the snapshots had). No clock is compared: heartbeat is
-- watched as that of strunk_workers is. previous_types are entity types that were renamed to
-- entity_type: a process that still follows one must not own the subscriber.
CREATE TABLE {schema}.strunk_subscribers (
    cursor        bigint      NOT NULL,
    started       bigint      NOT NULL,
    epoch         bigint      NOT NULL DEFAULT 1,
    heartbeat          bigint      NOT NULL DEFAULT 0,
    owner         bigint,
    bootstrap_seq  bigint,
    bootstrap_head bigint,
    server_started timestamptz,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    moved_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_ms      integer     NOT NULL,
    pid           integer,
    paused        boolean     NOT NULL DEFAULT false,
    needs_restart boolean     NOT NULL DEFAULT false,
    name          text COLLATE "C" PRIMARY KEY,
    entity_type   text COLLATE "C" NOT NULL,
    start         text COLLATE "C" NOT NULL,
    bootstrap     text COLLATE "C" NOT NULL DEFAULT 'done' CHECK (bootstrap IN ('done', 'snapshots', 'catching_up')),
    host          text,
    bootstrap_mark text COLLATE "C",
    previous_types text[]     NOT NULL DEFAULT '{}'
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- What forwarders say of themselves: of an events forwarder the name is the subscriber's, of a tasks
-- forwarder the queue's. waiting is what the destination has and nobody has taken there, as far as
-- it tells; failing_since is set while it takes nothing.
CREATE TABLE {schema}.strunk_forwarders (
    sent          bigint      NOT NULL DEFAULT 0,
    waiting       bigint,
    waiting_since timestamptz,
    sent_at       timestamptz,
    failing_since timestamptz,
    noted_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind          text COLLATE "C" NOT NULL CHECK (kind IN ('events', 'tasks')),
    name          text COLLATE "C" NOT NULL,
    destination   text        NOT NULL,
    last_error    text,
    PRIMARY KEY (name, kind)
) WITH (fillfactor = 50);

-- The versions that a subscriber had from the snapshots, until the feed is past them.
CREATE TABLE {schema}.strunk_bootstrap (
    version    bigint NOT NULL,
    subscriber text COLLATE "C" NOT NULL,
    entity_id  text COLLATE "C" NOT NULL,
    PRIMARY KEY (subscriber, entity_id)
);

-- The attempts of events that block their subscriber, or that were under way when an owner was lost. entity_id is empty
-- but for snapshots, whose position is 0.
CREATE TABLE {schema}.strunk_retries (
    position   bigint      NOT NULL,
    attempts   integer     NOT NULL,
    skip       boolean     NOT NULL DEFAULT false,
    tried_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    subscriber text COLLATE "C" NOT NULL,
    entity_id  text COLLATE "C" NOT NULL,
    last_error text,
    errors     jsonb,
    PRIMARY KEY (subscriber, position, entity_id)
) WITH (fillfactor = 50);

-- ==================== Schedules, loops, retention

-- The registered schedules. revision rises with every change by a person or a program; next_due by firing alone.
CREATE TABLE {schema}.strunk_schedules (
    revision     bigint      NOT NULL DEFAULT 1,
    next_due     timestamptz NOT NULL,
    last_due     timestamptz,
    last_task_id bigint,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    timeout_ms   integer,
    misfire_cap  integer     NOT NULL,
    priority     smallint    NOT NULL,
    max_attempts smallint    NOT NULL,
    enabled      boolean     NOT NULL DEFAULT true,
    id           text COLLATE "C" PRIMARY KEY,
    queue        text COLLATE "C" NOT NULL,
    spec         text        NOT NULL,
    time_zone    text        NOT NULL,
    misfire      text        NOT NULL,
    dedup_key    text COLLATE "C",
    last_error   text,
    payload      json        NOT NULL,
    metadata     json
) WITH (fillfactor = 50);

CREATE INDEX strunk_schedules_due ON {schema}.strunk_schedules (next_due) WHERE enabled;

-- One row for each due time that has become a task, whatever became of the task. The key is what
-- makes a second task for a due time impossible. It outlives the schedule; old rows go with the
-- reaper, and strunk_schedule_fire never goes back before last_due.
CREATE TABLE {schema}.strunk_schedule_runs (
    due_at      timestamptz NOT NULL,
    fired_at    timestamptz NOT NULL,
    task_id     bigint      NOT NULL,
    schedule_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (schedule_id, due_at)
);

CREATE INDEX strunk_schedule_runs_fired ON {schema}.strunk_schedule_runs (fired_at);

-- What each loop did last, over all processes, so that a loop that nobody runs can be told. Written
-- at most once per some seconds and loop: see strunk_loop_ran.
CREATE TABLE {schema}.strunk_loops (
    begun_at      timestamptz,
    last_ok_at    timestamptz,
    last_error_at timestamptz,
    interval_ms   bigint NOT NULL,
    loop          text COLLATE "C" PRIMARY KEY,
    last_process       text,
    last_error    text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Bulk jobs (see bulk_jobs.sql): one act on every task that matches the filter. Tasks with ids up to position are
-- behind it, those above until_id are left alone. done, failed and skipped count tasks, examined those looked
-- at; failures are the slices in a row that could not be done.
CREATE TABLE {schema}.strunk_bulk_jobs (
    id           bigint           PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    position     bigint           NOT NULL DEFAULT 0,
    until_id     bigint           NOT NULL,
    examined     bigint           NOT NULL DEFAULT 0,
    done         bigint           NOT NULL DEFAULT 0,
    failed       bigint           NOT NULL DEFAULT 0,
    skipped      bigint           NOT NULL DEFAULT 0,
    started_at   timestamptz      NOT NULL,
    changed_at   timestamptz      NOT NULL,
    next_at      timestamptz      NOT NULL,
    due_at       timestamptz,
    per_second   double precision,
    priority     integer,
    failures     integer          NOT NULL DEFAULT 0,
    one_first    boolean          NOT NULL DEFAULT false,
    state        text COLLATE "C" NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'stopped', 'done', 'failed')),
    act          text COLLATE "C" NOT NULL,
    started_by   text             NOT NULL,
    reason       text             NOT NULL,
    last_process text,
    last_error   text,
    filter       jsonb            NOT NULL
) WITH (fillfactor = 50);

CREATE INDEX strunk_bulk_jobs_next ON {schema}.strunk_bulk_jobs (next_at) WHERE state = 'running';

-- What the last pass has counted (see counts.sql): a part and a name, which is a queue's, a
-- subscriber's or a worker's id; '' is everything of the part. complete is false where the counting
-- stopped at its bound.
CREATE TABLE {schema}.strunk_counts (
    n        bigint  NOT NULL,
    complete boolean NOT NULL,
    part     text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    PRIMARY KEY (part, name)
) WITH (fillfactor = 50);

-- When the last pass counted, and how long it took. The first pass adds the row.
CREATE TABLE {schema}.strunk_count_passes (
    counted_at timestamptz,
    took_ms    bigint  NOT NULL DEFAULT 0,
    one        boolean PRIMARY KEY DEFAULT true CHECK (one)
) WITH (fillfactor = 50);

-- Failed attempts that are not counted yet (see failures.sql): n of a queue or subscriber with one error. Rows are
-- added by whoever fails, and never changed. No index by name: the rows are those of the last seconds.
CREATE TABLE {schema}.strunk_failures (
    failed_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    n           bigint      NOT NULL DEFAULT 1,
    id          uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('task', 'event')),
    name        text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    error       text        NOT NULL,
    PRIMARY KEY (failed_at, id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- An error of a queue or subscriber that was counted: when it was first and last seen, and one of its texts.
CREATE TABLE {schema}.strunk_failure_groups (
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    id          uuid        PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('task', 'event')),
    name        text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    example     text        NOT NULL,
    UNIQUE (fingerprint, kind, name)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX strunk_failure_groups_last ON {schema}.strunk_failure_groups (last_at);
CREATE INDEX strunk_failure_groups_name ON {schema}.strunk_failure_groups (name, last_at);

-- How many failures of a group there were in span_s seconds from counted_at on: each is in a row of its minute and in
-- one of its hour. No foreign key: rows go by their age, as their group does.
CREATE TABLE {schema}.strunk_failure_counts (
    counted_at timestamptz NOT NULL,
    n          bigint      NOT NULL,
    group_id   uuid        NOT NULL,
    span_s     integer     NOT NULL CHECK (span_s IN (60, 3600)),
    PRIMARY KEY (group_id, span_s, counted_at)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX strunk_failure_counts_time ON {schema}.strunk_failure_counts (span_s, counted_at);

-- What was counted of a queue, or of a subscriber and entity type, in a minute (see counters.sql). Rows are
-- added by whoever counts, and never changed. in_totals says that a row is the sum of those of its minute,
-- and is in strunk_counter_totals. waits and runs are histograms: how many waited from when they were due
-- (events: published), and how many ran, for up to each of 20 durations and for longer; waits_us and runs_us
-- are the sums. Of a subscriber, done is how many events it has handled.
CREATE TABLE {schema}.strunk_counters (
    minute      timestamptz NOT NULL DEFAULT pg_catalog.date_trunc('minute', pg_catalog.clock_timestamp()),
    enqueued    bigint      NOT NULL DEFAULT 0,
    done        bigint      NOT NULL DEFAULT 0,
    failed      bigint      NOT NULL DEFAULT 0,
    retried     bigint      NOT NULL DEFAULT 0,
    parked      bigint      NOT NULL DEFAULT 0,
    dead        bigint      NOT NULL DEFAULT 0,
    cancelled   bigint      NOT NULL DEFAULT 0,
    discarded   bigint      NOT NULL DEFAULT 0,
    waits_us    bigint      NOT NULL DEFAULT 0,
    runs_us     bigint      NOT NULL DEFAULT 0,
    id          uuid        PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    in_totals   boolean     NOT NULL DEFAULT false,
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('queue', 'subscriber')),
    name        text COLLATE "C" NOT NULL,
    entity_type text COLLATE "C" NOT NULL DEFAULT '',
    waits       bigint[]    NOT NULL DEFAULT pg_catalog.array_fill(0::bigint, ARRAY[21]),
    runs        bigint[]    NOT NULL DEFAULT pg_catalog.array_fill(0::bigint, ARRAY[21]),
    CHECK (cardinality(waits) = 21 AND cardinality(runs) = 21)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX strunk_counters_minute ON {schema}.strunk_counters (in_totals, minute);

-- The sums of all rows of strunk_counters that are folded, those that retention has deleted included: they only rise.
CREATE TABLE {schema}.strunk_counter_totals (
    enqueued    bigint      NOT NULL DEFAULT 0,
    done        bigint      NOT NULL DEFAULT 0,
    failed      bigint      NOT NULL DEFAULT 0,
    retried     bigint      NOT NULL DEFAULT 0,
    parked      bigint      NOT NULL DEFAULT 0,
    dead        bigint      NOT NULL DEFAULT 0,
    cancelled   bigint      NOT NULL DEFAULT 0,
    discarded   bigint      NOT NULL DEFAULT 0,
    waits_us    bigint      NOT NULL DEFAULT 0,
    runs_us     bigint      NOT NULL DEFAULT 0,
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('queue', 'subscriber')),
    name        text COLLATE "C" NOT NULL,
    entity_type text COLLATE "C" NOT NULL DEFAULT '',
    waits       bigint[]    NOT NULL DEFAULT pg_catalog.array_fill(0::bigint, ARRAY[21]),
    runs        bigint[]    NOT NULL DEFAULT pg_catalog.array_fill(0::bigint, ARRAY[21]),
    PRIMARY KEY (kind, name, entity_type),
    CHECK (cardinality(waits) = 21 AND cardinality(runs) = 21)
) WITH (fillfactor = 50);

-- The sums of rows of strunk_counters that are folded, in span_s seconds from began_at on: of each queue, and of each
-- subscriber and entity type, by the hour; of all of a kind together, whose name is '', by the minute and by the hour.
CREATE TABLE {schema}.strunk_counter_sums (
    began_at    timestamptz NOT NULL,
    enqueued    bigint      NOT NULL DEFAULT 0,
    done        bigint      NOT NULL DEFAULT 0,
    failed      bigint      NOT NULL DEFAULT 0,
    retried     bigint      NOT NULL DEFAULT 0,
    parked      bigint      NOT NULL DEFAULT 0,
    dead        bigint      NOT NULL DEFAULT 0,
    cancelled   bigint      NOT NULL DEFAULT 0,
    discarded   bigint      NOT NULL DEFAULT 0,
    waits_us    bigint      NOT NULL DEFAULT 0,
    runs_us     bigint      NOT NULL DEFAULT 0,
    span_s      integer     NOT NULL CHECK (span_s IN (60, 3600)),
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('queue', 'subscriber')),
    name        text COLLATE "C" NOT NULL,
    entity_type text COLLATE "C" NOT NULL DEFAULT '',
    waits       bigint[]    NOT NULL DEFAULT pg_catalog.array_fill(0::bigint, ARRAY[21]),
    runs        bigint[]    NOT NULL DEFAULT pg_catalog.array_fill(0::bigint, ARRAY[21]),
    PRIMARY KEY (kind, span_s, name, entity_type, began_at),
    CHECK (cardinality(waits) = 21 AND cardinality(runs) = 21)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX strunk_counter_sums_age ON {schema}.strunk_counter_sums (began_at);

-- For each bucket of a histogram the latest duration that belongs to a sampled trace, in microseconds.
CREATE TABLE {schema}.strunk_exemplars (
    us          bigint      NOT NULL,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    bucket      smallint    NOT NULL CHECK (bucket BETWEEN 0 AND 20),
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('queue', 'subscriber')),
    name        text COLLATE "C" NOT NULL,
    entity_type text COLLATE "C" NOT NULL DEFAULT '',
    histogram   text COLLATE "C" NOT NULL CHECK (histogram IN ('wait', 'run')),
    trace_id    text COLLATE "C" NOT NULL CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    PRIMARY KEY (kind, name, entity_type, histogram, bucket)
) WITH (fillfactor = 50);

-- What people have changed by the program strunk and over HTTP: see audit.sql. ended_at is null while it is being
-- done, and where the process was killed.
CREATE TABLE {schema}.strunk_audit (
    at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at timestamptz,
    changed  bigint,
    id       uuid        PRIMARY KEY,
    role     text        NOT NULL,
    actor    text        NOT NULL,
    action   text        NOT NULL,
    target   text        NOT NULL,
    reason   text        NOT NULL DEFAULT '',
    error    text        NOT NULL DEFAULT ''
);

CREATE INDEX strunk_audit_at ON {schema}.strunk_audit (at);

-- The days of the delivered tasks that are closed, and the ids that each holds: see strunk_close_day. One without
-- tasks has a highest_id below its lowest_id.
CREATE TABLE {schema}.strunk_closed_days (
    lowest_id      bigint NOT NULL,
    highest_id     bigint NOT NULL,
    partition_name text COLLATE "C" PRIMARY KEY
);

-- Which partitions of the delivered tasks have been rid of a queue's tasks ('': of all queues without a
-- retention of their own).
CREATE TABLE {schema}.strunk_reaped (
    partition_name text COLLATE "C" NOT NULL,
    queue          text COLLATE "C" NOT NULL,
    PRIMARY KEY (partition_name, queue)
);

-- ==================== Schemas

-- Every version of every contract, as it was registered: versions are never changed. parts is the
-- version as four numbers, so that 1.10 comes after 1.9 and 1 is 1.0. json, not jsonb: the document
-- is kept as it was written.
CREATE TABLE {schema}.strunk_schemas (
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    subject       text COLLATE "C" NOT NULL,
    version       text        NOT NULL,
    parts         bigint[]    NOT NULL,
    document      json        NOT NULL,
    PRIMARY KEY (subject, parts)
);

-- How new versions of a subject are compared with those before.
CREATE TABLE {schema}.strunk_schema_subjects (
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    strict     boolean     NOT NULL,
    subject    text COLLATE "C" PRIMARY KEY,
    mode       text        NOT NULL
);

-- Every table has a primary key or a replica identity, so that a publication of all tables stops no update.
ALTER TABLE {schema}.strunk_outbox_tasks REPLICA IDENTITY USING INDEX strunk_outbox_tasks_id;
ALTER TABLE {schema}.strunk_outbox_events REPLICA IDENTITY USING INDEX strunk_outbox_events_seq;
ALTER TABLE {schema}.strunk_outbox_deliveries REPLICA IDENTITY USING INDEX strunk_outbox_deliveries_id;
ALTER TABLE {schema}.strunk_outbox_dead REPLICA IDENTITY USING INDEX strunk_outbox_dead_id;
ALTER TABLE {schema}.strunk_outbox_cancelled REPLICA IDENTITY USING INDEX strunk_outbox_cancelled_id;
