package queuetest_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

const (
	sqlCharge = `INSERT INTO public.charges (customer, cents) VALUES ('ada', 990)`
	sqlOnce   = `INSERT INTO public.charges (customer, cents, task) VALUES ('ada', 990, $1) ON CONFLICT DO NOTHING`
	sqlPay    = `UPDATE public.accounts SET balance = balance - 990 WHERE customer = 'ada'`
	sqlPaid   = `UPDATE public.accounts SET balance = -990 WHERE customer = 'ada'`
)

var (
	// Backoffs are not waited for, and one attempt becomes more.
	charges = queue.Define[order]("charges", queue.Config{MaxAttempts: 1, Retry: queue.Backoff{First: time.Hour}})
	seven   = queue.Task[order]{Payload: order{7}, Priority: 3, CustomerKey: "ada",
		Metadata: map[string]string{"from": "web"}}
)

// shop makes the tables of a shop in a database of its own.
func shop(t *testing.T) (*outbox.Box, *pgxpool.Pool) {
	t.Helper()
	box := open(t)
	if _, err := box.Pool().Exec(t.Context(), `
		CREATE TABLE public.charges (id bigserial PRIMARY KEY, customer text DEFAULT '(none)', cents numeric(10,2)
			DEFAULT 0, at timestamptz DEFAULT now(), task bigint UNIQUE);
		CREATE TABLE public.accounts (customer text PRIMARY KEY, balance integer);
		CREATE TABLE public.seen (key uuid);
		INSERT INTO public.accounts VALUES ('ada', 0)`); err != nil {
		t.Fatal(err)
	}
	return box, box.Pool()
}

// said returns what a check fails the test with; empty where it passes.
func said(t *testing.T, check func(t testing.TB)) string {
	t.Helper()
	s := &spy{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != s {
				panic(r)
			}
		}()
		check(s)
	}()
	return s.said
}

func require(t *testing.T, box *outbox.Box, worker *queue.Worker[order], tables ...string) string {
	t.Helper()
	return said(t, func(t testing.TB) { queuetest.RequireIdempotent(t, box, worker, seven, tables...) })
}

func wantSaid(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("it does not say %q but: %s", w, got)
		}
	}
}

// Bugs are found, at the statement after which they are, and what is no bug passes.
func TestRequireIdempotentFindsTheBug(t *testing.T) {
	t.Parallel()
	for name, check := range map[string]func(t *testing.T, box *outbox.Box, pool *pgxpool.Pool){
		"two commits, charged twice":       findsDoubleCharge,
		"an error that is not looked at":   findsSwallowedError,
		"a commit without the context":     findsDetachedCommit,
		"a check before the act":           findsCheckThenAct,
		"a key that makes it idempotent":   passesWithKey,
		"a handler in a transaction":       passesInTx,
		"what makes the test itself wrong": refusesTest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box, pool := shop(t)
			check(t, box, pool)
			var left int
			if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM public.charges) + (SELECT count(*)
				FROM public.strunk_outbox)`).Scan(&left); err != nil || left != 0 {
				t.Errorf("%d rows are left in the test's own database, %v", left, err)
			}
		})
	}
}

func findsDoubleCharge(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	got := require(t, box, charges.Worker(func(ctx context.Context, _ queue.Task[order]) error {
		if _, err := pool.Exec(ctx, sqlCharge); err != nil {
			return err
		}
		_, err := pool.Exec(ctx, sqlPaid)
		return err
	}), "public.charges", "public.accounts")
	want := `queuetest.RequireIdempotent: the process was killed after statement 1 of 2.
After another delivery the tables differ from those of one undisturbed delivery (- missing, + too many):
table public.charges
  + {"customer":"ada","cents":990.00,"task":null}
the statements of an undisturbed delivery:
> 1 ` + sqlCharge + "\n  2 " + sqlPaid
	if got != want {
		t.Errorf("it says:\n%s\nwant:\n%s", got, want)
	}
}

// Both writes are in one transaction, and the handler is done whatever becomes of that.
func findsSwallowedError(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	got := require(t, box, charges.Worker(func(ctx context.Context, task queue.Task[order]) error {
		_ = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, sqlOnce, task.ID)
			return err
		})
		return nil
	}), "public.charges (customer, cents)")
	wantSaid(t, got, "the connection broke after statement 1 of 3, before the answer", "> 1 begin", "  3 commit",
		`  - {"customer":"ada","cents":990.00}`)
}

// The commit belongs to the attempt although its context does not say so: a killed process does not commit. Through
// database/sql.
func findsDetachedCommit(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	got := require(t, box, charges.Worker(func(ctx context.Context, _ queue.Task[order]) error {
		tx, err := db.BeginTx(context.Background(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, sqlPay); err != nil {
			return err
		}
		return tx.Commit()
	}), "public.accounts")
	wantSaid(t, got, "frozen after statement 1 of 2", "  2 commit", `  - {"customer":"ada","balance":-990}`,
		`  + {"customer":"ada","balance":-1980}`)
}

// The check finds what a killed process has done, but not what another one does meanwhile.
func findsCheckThenAct(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	got := require(t, box, charges.Worker(func(ctx context.Context, _ queue.Task[order]) error {
		var charged bool
		err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM public.charges)`).Scan(&charged)
		if err == nil && !charged {
			_, err = pool.Exec(ctx, sqlCharge)
		}
		return err
	}, queue.Concurrency(1)), "public.charges")
	wantSaid(t, got, "frozen after statement 1 of 2, and went on after another delivery",
		`  + {"customer":"ada","cents":990.00,"task":null}`)
}

func passesWithKey(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	got := require(t, box, charges.Worker(func(ctx context.Context, task queue.Task[order]) error {
		if task.Payload.ID != 7 || task.Priority != 3 || task.CustomerKey != "ada" || task.Metadata["from"] != "web" {
			return fmt.Errorf("not the task: %+v", task)
		}
		if _, err := pool.Exec(ctx, sqlOnce, task.ID); err != nil {
			return err
		}
		_, err := pool.Exec(ctx, sqlPaid)
		return err
	}), "public.charges", "public.accounts")
	if got != "" {
		t.Error(got)
	}
}

// In the transaction are all ways to send statements, and follow-up tasks, one of them of the same queue.
func passesInTx(t *testing.T, box *outbox.Box, _ *pgxpool.Pool) {
	var deliveries atomic.Int64
	got := require(t, box, charges.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx,
		task queue.Task[order]) error {
		deliveries.Add(1)
		batch := &pgx.Batch{}
		batch.Queue(sqlPay)
		batch.Queue(sqlPay)
		if err := tx.Pgx().SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		if _, err := tx.Pgx().CopyFrom(ctx, pgx.Identifier{"public", "charges"}, []string{"customer", "cents"},
			pgx.CopyFromRows([][]any{{"ada", 990}, {"bob", 990}})); err != nil {
			return err
		}
		_, err := queue.EnqueueAll(ctx, tx, invoices.Item(task.Payload), charges.Item(task.Payload))
		return err
	}), "public.charges", "public.accounts", "public.strunk_tasks (queue, payload)")
	if got != "" {
		t.Error(got)
	}
	// BEGIN, batch, copy, enqueue, COMMIT: two undisturbed; killed, answer lost and frozen at each, with a second
	// delivery unless the COMMIT was reached. The answer to BEGIN is lost before the handler is called.
	if n, want := deliveries.Load(), int64(2+3*(5+4)-1); n != want {
		t.Errorf("the handler was called %d times; want %d", n, want)
	}
}

func refusesTest(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	nothing := func(context.Context, queue.Task[order]) error { return nil }
	writes := func(sql string) queue.Handler[order] {
		return func(ctx context.Context, _ queue.Task[order]) error {
			_, err := pool.Exec(ctx, sql)
			return err
		}
	}
	cfg := pool.Config()
	cfg.ConnConfig.Tracer = nil
	plain, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := outbox.Open(t.Context(), plain, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	plain.Close()
	const table = "public.accounts"
	for want, got := range map[string]string{
		"the box is nil":                require(t, nil, charges.Worker(nothing), table),
		"the worker is the zero Worker": require(t, box, nil, table),
		"name the tables":               require(t, box, charges.Worker(nothing)),
		"name columns as in":            require(t, box, charges.Worker(nothing), "accounts (balance"),
		"has no name":                   require(t, box, charges.Worker(nothing), "(balance)"),
		"not one of outboxtest.New":     require(t, foreign, charges.Worker(nothing), table),
		"batch worker": require(t, box, charges.BatchWorker(func(context.Context, []queue.Task[order]) error {
			return nil
		}), table),
		"has sent no statement":       require(t, box, charges.Worker(nothing), table),
		`there is no table "nowhere"`: require(t, box, charges.Worker(writes(sqlPaid)), "nowhere"),
		"the handler fails undisturbed, and the task is discarded: discarded: no": require(t, box,
			charges.Worker(func(context.Context, queue.Task[order]) error { return queue.Discard("no") }), table),
		"two undisturbed deliveries differ": require(t, box,
			charges.Worker(writes(`INSERT INTO public.seen VALUES (gen_random_uuid())`)), "public.seen"),
	} {
		wantSaid(t, got, "queuetest.RequireIdempotent: ", want)
	}
	tx, err := box.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantSaid(t, require(t, box, charges.Worker(nothing), table), "copy the database",
		"1 connections of the pool are in use")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}
