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
