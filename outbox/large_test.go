package outbox_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A database that takes longer for a full batch than a statement may last gets smaller ones: from the rescue of a
// worker's tasks, and from the promotion of those that are due.
func TestSlowMaintenanceIsHalved(t *testing.T) {
	t.Parallel()
	const n = 40
	near := outboxtest.New(t)
	mustExec(t, near, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, expired, queue, host)
		VALUES (1, 30000, 1, 1, false, 'lost', 'gone')`)
	mustExec(t, near, `SELECT public.strunk_enqueue('lost') FROM generate_series(1, $1::int)`, n)
	mustExec(t, near, `SELECT id FROM public.strunk_claim(1, 1, 'lost', $1, array_fill(0::bigint, ARRAY[10]), NULL)`, n)
	mustExec(t, near, `UPDATE public.strunk_workers SET expired = true`)
	mustExec(t, near, `SELECT public.strunk_enqueue('due') FROM generate_series(1, $1::int)`, n)
	mustExec(t, near, `UPDATE public.strunk_outbox SET status = 'scheduled', due_at = now() WHERE key = 'due'`)
	mustExec(t, near, `CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END'`)
	mustExec(t, near, `CREATE TRIGGER slow BEFORE UPDATE ON public.strunk_outbox_tasks FOR EACH ROW
		EXECUTE FUNCTION public.slow()`)

	cfg, err := pgxpool.ParseConfig(outboxtest.DSN(near))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["statement_timeout"] = "3s" // all of a queue take six
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	start(t, openBox(t, pool, outbox.Config{}))
	for _, queue := range []string{"lost", "due"} {
		testkit.EventuallyState(t, "all tasks of "+queue+" are pending", func() (string, bool) {
			left := query[int](t, near, `SELECT count(*) FROM public.strunk_outbox_tasks
				WHERE key = $1 AND status = 'pending'`, queue)
			return fmt.Sprint(left), left == n
		})
	}
}
