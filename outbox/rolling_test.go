package outbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// The migrations of two later versions: the first serves libraries of version 1, too, the second does not.
const (
	laterUp     = "-- strunk: compatible since 1\nCREATE TABLE {schema}.strunk_later (n integer PRIMARY KEY);\n"
	laterDown   = "DROP TABLE {schema}.strunk_later;\n"
	foreignUp   = "CREATE TABLE {schema}.strunk_foreign (n integer PRIMARY KEY);\n"
	foreignDown = "DROP TABLE {schema}.strunk_foreign;\n"
)

// TestRollingUpgrade runs a worker of this version while the database goes to a later version that
// still serves it, to one that does not, and back to its own.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	ctx, own := t.Context(), outbox.LatestVersion()
	pool := outboxtest.New(t, outboxtest.MaxConns(8))
	var numbers = queue.Define[int]("numbers", queue.Config{})
	handled := make(chan int)
	stop := startNumbers(t, pool, numbers, handled)
	work := func(when string, n int) {
		t.Helper()
		mustExec(t, pool, `SELECT public.strunk_enqueue('numbers', to_json($1::integer))`, n)
		select {
		case got := <-handled:
			if got != n {
				t.Errorf("%s: task %d was handled; want %d", when, got, n)
			}
		case <-time.After(soon):
			t.Fatalf("%s: no task is handled", when)
		}
	}
	work("before", 1)

	if err := outbox.MigrateMore(ctx, pool, laterUp, laterDown); err != nil {
		t.Fatal(err)
	}
	work("a running process, after the upgrade", 2)
	stop()
	stop = startNumbers(t, pool, numbers, handled)
	work("a process that starts after the upgrade", 3)
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		t.Errorf("Migrate of an old process: %v; want it to leave the database as it is", err)
	}
	if plan, err := outbox.PlanMigrations(ctx, pool, outbox.MigrateConfig{}, own); err != nil || len(plan) != 0 {
		t.Errorf("the plan of an old process: %v, %v; want nothing to do", plan, err)
	}
	if v := query[int](t, pool, `SELECT max(version) FROM public.strunk_migrations`); v != own+1 {
		t.Errorf("the database is at version %d; want %d", v, own+1)
	}
	if _, err := outbox.Check(ctx, pool, outbox.MigrateConfig{}); !errors.Is(err, outbox.ErrDatabaseNewer) {
		t.Errorf("Check: %v; want ErrDatabaseNewer, for what it should look like is not known here", err)
	}

	if err := outbox.MigrateMore(ctx, pool, laterUp, laterDown, foreignUp, foreignDown); err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Open(ctx, pool, outbox.Config{}); !errors.Is(err, outbox.ErrDatabaseNewer) {
		t.Errorf("Open of a database that serves later libraries alone: %v; want ErrDatabaseNewer", err)
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); !errors.Is(err, outbox.ErrDatabaseNewer) {
		t.Errorf("Migrate of it: %v; want ErrDatabaseNewer", err)
	}

	if err := outbox.MigrateMoreDown(ctx, pool, own, laterUp, laterDown, foreignUp, foreignDown); err != nil {
		t.Fatal(err)
	}
	work("a running process, after the way back", 4)
	stop()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		t.Fatal(err)
	}
	startNumbers(t, pool, numbers, handled)
	work("a process that starts after the way back", 5)
	if differences, err := outbox.Check(ctx, pool, outbox.MigrateConfig{}); err != nil || len(differences) > 0 {
		t.Errorf("after the way back: %v, %v", differences, err)
	}
}

// startNumbers runs a worker that tells what it has handled. The returned function stops it.
func startNumbers(t testing.TB, pool *pgxpool.Pool, numbers *queue.Queue[int], handled chan<- int) (stop func()) {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- box.Run(ctx, numbers.Worker(func(ctx context.Context, task queue.Task[int]) error {
			handled <- task.Payload
			return nil
		}))
	}()
	stopped := false
	stop = func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// TestFunctionsAreRenewed takes a function away, and the record of the functions: Migrate makes
// them anew, and a plan says so.
func TestFunctionsAreRenewed(t *testing.T) {
	t.Parallel()
	pool, latest := outboxtest.New(t), outbox.LatestVersion()
	mustExec(t, pool, `DROP FUNCTION public.strunk_next_due_ms`)
	mustExec(t, pool, `DO $$ DECLARE f regprocedure; BEGIN
		FOR f IN SELECT p.oid FROM pg_proc p WHERE p.proname = 'strunk_enqueue' LOOP
			EXECUTE 'GRANT EXECUTE ON FUNCTION ' || f || ' TO PUBLIC';
		END LOOP; END $$`)
	mustExec(t, pool, `UPDATE public.strunk_migrations SET functions = 'those of another build'`)
	plan, err := outbox.PlanMigrations(t.Context(), pool, outbox.MigrateConfig{}, latest)
	if err != nil || len(plan) != 1 || plan[0].From != latest || plan[0].To != latest || plan[0].Name != "functions" {
		t.Errorf("the plan: %+v, %v", plan, err)
	}
	if err := outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{}); err != nil {
		t.Fatal(err)
	}
	if differences, err := outbox.Check(t.Context(), pool, outbox.MigrateConfig{}); err != nil || len(differences) > 0 {
		t.Errorf("after Migrate: %v, %v", differences, err)
	}
}
