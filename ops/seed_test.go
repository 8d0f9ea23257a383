package ops_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// seed puts a little of everything into a database: task 1 is pending.
func seed(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{"a":1}', metadata => '{"k":"v"}')`)
	exec(t, pool, `SELECT public.strunk_enqueue('later', '{}', delay => '1 hour')`)
	die(t, pool, "dead", `{}`, "no", 3)
	exec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (7,
		30000, 42, 8, 'emails', 'web-1')`)
	exec(t, pool, `SELECT public.strunk_schedule_put('daily', 'reports', 'every 1d', 'UTC',
		now() + interval '1 day', 'skip', 1, '{}', NULL, NULL,
	0::smallint, 12::smallint, NULL, false)`)
	exec(t, pool, `SELECT public.strunk_publish('order', i::text, '{}') FROM generate_series(1, 5) i`)
	relay(t, pool)
	exec(t, pool, `INSERT INTO public.strunk_batches (id, created_at, name) VALUES (1, now(), 'import')`)
	exec(t, pool, `SELECT public.strunk_register('indexer', 'order', 'beginning', 30000)`)
	exec(t, pool, `SELECT public.strunk_schema_put('order', '1.0', '{"type":"object"}', 'backward', false),
		public.strunk_schema_put('order', '1.1', '{"type":"object","title":"order"}', 'backward', false)`)
}

// relay moves what waits into the feed, as the loop does.
func relay(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	for {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `SELECT pg_catalog.set_config('strunk.relay', 'true', true)`); err != nil {
			t.Fatal(err)
		}
		var moved int
		if err := tx.QueryRow(t.Context(), `SELECT moved FROM public.strunk_relay(10000, 1 << 30,
			false)`).Scan(&moved); err != nil {
			t.Fatal(err)
		}
		exec(t, pool, `SELECT 1`)
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		exec(t, pool, `SELECT public.strunk_ensure_feed_partitions()`)
		if moved == 0 {
			return
		}
	}
}
