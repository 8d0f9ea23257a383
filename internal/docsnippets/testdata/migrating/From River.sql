-- The columns of River 0.51 (migration 7) that the move reads.
CREATE TYPE river_job_state AS ENUM ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable',
    'running', 'scheduled');
CREATE TABLE river_job (
    id bigserial PRIMARY KEY,
    state river_job_state NOT NULL DEFAULT 'available',
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL DEFAULT 25,
    scheduled_at timestamptz NOT NULL DEFAULT now(),
    priority smallint NOT NULL DEFAULT 1,
    args jsonb NOT NULL,
    kind text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    queue text NOT NULL DEFAULT 'default'
);
INSERT INTO river_job (state, attempt, scheduled_at, priority, args, kind) VALUES
    ('available', 0, now(), 2, '{"n": 2}', 'sort'),
    ('available', 0, now(), 1, '{"n": 1}', 'sort'),
    ('retryable', 24, now() + interval '1 hour', 1, '{"n": 3}', 'sort'),
    ('scheduled', 0, now() + interval '1 day', 4, '{"n": 4}', 'mail'),
    ('running', 1, now(), 1, '{"n": 5}', 'sort'),
    ('pending', 0, now(), 1, '{"n": 7}', 'sort'),
    ('completed', 1, now(), 1, '{"n": 6}', 'sort');
