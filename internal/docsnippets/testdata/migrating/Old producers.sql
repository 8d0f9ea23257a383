CREATE TABLE jobs (
    id bigserial PRIMARY KEY,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    status text NOT NULL DEFAULT 'waiting',
    attempts integer NOT NULL DEFAULT 0,
    run_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO jobs (kind, payload, status, attempts) VALUES
    ('mail', '{"n": 1}', 'waiting', 0),
    ('mail', '{"n": 2}', 'waiting', 40),
    ('mail', '{"n": 3}', 'running', 1);
