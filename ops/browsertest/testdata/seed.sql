-- An installation with a bit of everything, of which much needs a person: what the tests click on, and the pictures
-- show. Workers have leases of an hour, so that none expires.
INSERT INTO strunk_workers (id, lease_ms, pid, concurrency, queue, host, release, library, started_at)
SELECT 900 + i, 3600000, 40 + i, 8, q, 'web-' || i, 'shop 4.' || i, 'v1.4.0', now() - interval '5 h'
FROM unnest(ARRAY['emails', 'search', 'push']) WITH ORDINALITY w (q, i);

SELECT strunk_enqueue('invoices', json_build_object('order', i, 'total', i * 7)) FROM generate_series(1, 240) i;
SELECT strunk_enqueue('thumbnails', json_build_object('image', i)) FROM generate_series(1, 90) i;
SELECT strunk_enqueue('emails', json_build_object('order', i)) FROM generate_series(1, 30) i;
SELECT strunk_enqueue('sms', json_build_object('order', i)) FROM generate_series(1, 60) i;
SELECT strunk_enqueue('reports', json_build_object('day', i), delay => i * interval '1 h')
FROM generate_series(1, 12) i;
UPDATE strunk_outbox SET created_at = created_at - interval '14 min' WHERE key IN ('invoices', 'thumbnails', 'sms');
SELECT strunk_pause_queue('sms', 'provider maintenance', 'oncall');
SELECT strunk_hold('push', now() + interval '20 min');
SELECT strunk_set_limits('search', running => 4, rate => 100, rate_per => interval '1 minute');

-- Names and texts that must stay text, and stay in their place.
SELECT strunk_enqueue('تقارير-المبيعات', '{"note": "من اليمين إلى اليسار"}');
SELECT strunk_enqueue('billing.' || repeat('very-long-name-', 11), '{}');
SELECT strunk_enqueue('<img src=x onerror=alert(1)>', json_build_object('html',
    '</script><script>document.title = ''run''</script>'));

-- Dead letters, of four kinds of error.
INSERT INTO strunk_outbox_dead (id, seq, created_at, finished_at, attempts, status, kind, key, last_error, payload,
    errors)
SELECT id, id, at - interval '3 min', at, 5, 'dead', 'task', queue, error,
    json_build_object('order', i, 'html', '<b>bold</b>'),
    strunk_add_error(strunk_add_error(NULL, 1, at - interval '2 min', error, '', 'web-1/41'), 5, at, error,
        CASE WHEN i % 9 = 0 THEN 'goroutine 1 [running]' ELSE '' END, 'web-2/42')
FROM (SELECT nextval('strunk_outbox_id_seq') AS id, i, now() - i * interval '40 s' AS at,
    (ARRAY['emails', 'emails', 'search', 'imports'])[i % 4 + 1] AS queue,
    (ARRAY['dial tcp 10.0.0.' || i % 7 || ':25: connect: connection refused', '550 no such mailbox',
        'index is full: <script>alert(1)</script>', 'order ' || i || ': timeout after 30s'])[i % 4 + 1] AS error
    FROM generate_series(1, 120) i) dead;
SELECT strunk_note_failure('task', key, last_error) FROM strunk_outbox_dead;
INSERT INTO strunk_outbox_dead (id, seq, created_at, finished_at, attempts, status, kind, key, last_error, payload)
SELECT nextval('strunk_outbox_id_seq'), i, now(), now(), 3, 'dead', 'task', 'bulk', 'the mailbox is full', '{}'
FROM generate_series(1, 300) i;

-- Two days of counters, busier by day.
INSERT INTO strunk_counters (minute, kind, name, enqueued, done, failed, dead, waits, waits_us, runs, runs_us)
SELECT date_trunc('minute', now()) - m * interval '1 minute', 'queue', q, n, n, n / 12, n / 90,
    array_fill(0, ARRAY[7 + m % 3]) || n || array_fill(0, ARRAY[13 - m % 3]), n * 400000::bigint,
    array_fill(0, ARRAY[5]) || n || array_fill(0, ARRAY[15]), n * 20000::bigint
FROM unnest(ARRAY['emails', 'search', 'invoices']) WITH ORDINALITY w (q, k),
    LATERAL generate_series(1, CASE WHEN k = 1 THEN 240 ELSE 60 END) m,
    LATERAL (SELECT (80 / k + 40 / k * sin(m / 9.0 + k) + 11 * (m * 7919 % 13) / 13)::integer AS n) c;

SELECT strunk_schedule_put(name, 'reports', spec, 'UTC', now() + due, 'skip', 1, '{"kind":"daily"}', NULL, NULL,
    0::smallint, 12::smallint, NULL, false)
FROM (VALUES ('daily-report', 'every 1d', interval '3 h'), ('stock-take', 'every 30m', interval '12 min'),
    ('night-cleanup', '0 3 * * *', interval '5 h')) s (name, spec, due);

SELECT strunk_publish('order', 'o-' || i % 20, json_build_object('id', 'o-' || i % 20, 'status',
    (ARRAY['new', 'paid', 'sent'])[i / 20 % 3 + 1], 'total', i)) FROM generate_series(1, 60) i;
SELECT strunk_publish('customer', 'c-' || i, json_build_object('id', 'c-' || i, 'name', '<i>Ann</i>'))
FROM generate_series(1, 5) i;
SELECT strunk_register('search-indexer', 'order', 'beginning', 3600000);
SELECT strunk_register('ledger', 'order', 'beginning', 3600000);

SELECT strunk_schema_put('order', '1.0', '{"type":"object","properties":{"id":{"type":"string"}}}', 'backward', false);
SELECT strunk_schema_put('order', '1.1',
    '{"type":"object","properties":{"id":{"type":"string"},"status":{"type":"string"}}}', 'backward', false);
