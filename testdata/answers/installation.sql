-- What the answers of this folder describe: a database with tasks in every state that needs no worker, a subscriber
-- that is behind, and a failure. Run once, after strunk migrate.
SELECT setval('strunk_outbox_id_seq', 100);
SELECT strunk_enqueue('emails', '{"to": "ada@example.com"}', priority => 5);
SELECT strunk_enqueue('emails', '{"to": "grace@example.com"}');
SELECT strunk_enqueue('emails', '{"to": "edsger@example.com"}', delay => interval '1 hour');
UPDATE strunk_outbox SET status = 'dead', finished_at = now(), last_error = 'mailbox 7 is full'
WHERE id = 102 AND status = 'pending';
SELECT strunk_note_failure('task', 'emails', 'mailbox 7 is full');
SELECT strunk_publish('order', '42', '{"status": "placed"}'), strunk_publish('order', '43', '{"status": "placed"}');
INSERT INTO strunk_subscribers (name, entity_type, start, cursor, started, lease_ms)
VALUES ('search-indexer', 'order', 'beginning', 0, 0, 30000);
-- An order that is parked for its subscriber, with an event behind it.
INSERT INTO strunk_outbox_deliveries (id, seq, position, version, created_at, attempts, max_attempts, status, kind,
    key, entity_id, subscriber, last_error, payload)
SELECT 200 + i, 200 + i, i, i, now(), 6 - i, 5, 'scheduled', 'delivery', 'order', '7', 'search-indexer',
    'the index is full', '{}' FROM generate_series(1, 2) i;
SELECT strunk_set_limits('emails', running => 5, rate => 100, rate_per => interval '1 minute', rate_burst => 20);
SELECT strunk_schedule_put('daily-report', 'reports', 'every 1d', 'UTC', now() + interval '1 day', 'skip', 1, '{}',
    NULL, NULL, 0::smallint, 12::smallint, NULL, false);
SELECT strunk_schema_put('order', '1.0', '{"type": "object", "required": ["status"]}', 'backward', false);
SELECT strunk_schema_put('order', '1.1', '{"type": "object", "properties": {"note": {"type": "string"}}}', 'backward',
    false);
