-- The columns of graphile-worker 0.18 (migration 20) that the move reads.
CREATE SCHEMA graphile_worker;
CREATE TABLE graphile_worker._private_job_queues (id int PRIMARY KEY, queue_name text NOT NULL UNIQUE);
CREATE TABLE graphile_worker._private_tasks (id int PRIMARY KEY, identifier text NOT NULL UNIQUE);
CREATE TABLE graphile_worker._private_jobs (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    job_queue_id int,
    task_id int NOT NULL,
    payload json NOT NULL DEFAULT '{}',
    priority smallint NOT NULL DEFAULT 0,
    run_at timestamptz NOT NULL DEFAULT now(),
    attempts smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL DEFAULT 25,
    last_error text,
    key text UNIQUE,
    locked_at timestamptz,
    locked_by text
);
INSERT INTO graphile_worker._private_job_queues VALUES (1, 'user:7');
INSERT INTO graphile_worker._private_tasks VALUES (1, 'hello'), (2, 'mail');
INSERT INTO graphile_worker._private_jobs (job_queue_id, task_id, payload, priority, run_at, attempts, key, locked_at)
VALUES
    (1, 1, '{"n": 1}', -5, now(), 0, 'greet-7', NULL),
    (NULL, 2, '{"n": 2}', 0, now() + interval '1 day', 3, NULL, NULL),
    (NULL, 2, '{"n": 3}', 0, now(), 1, NULL, now()),
    (NULL, 2, '{"n": 4}', 0, now(), 25, NULL, NULL);
