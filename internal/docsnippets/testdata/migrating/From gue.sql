-- The table of gue 5.8.
CREATE TABLE gue_jobs (
    job_id text PRIMARY KEY,
    priority smallint NOT NULL,
    run_at timestamptz NOT NULL,
    job_type text NOT NULL,
    args bytea NOT NULL,
    error_count integer NOT NULL DEFAULT 0,
    last_error text,
    queue text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
INSERT INTO gue_jobs VALUES
    ('01A', 0, now(), 'PrintName', '{"n": 2}', 0, NULL, 'printer', now(), now()),
    ('01B', -32768, now(), 'PrintName', '{"n": 1}', 2, 'no ink', 'printer', now(), now()),
    ('01C', 32767, now() + interval '1 day', 'Sweep', '{"n": 3}', 0, NULL, '', now(), now());
