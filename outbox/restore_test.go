package outbox_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// TestRestoreRoundTrip dumps a database with what waits, runs and is done in it, and restores it in
// the ways that there are. What was restored is as the migrations make it, goes on where it stopped
// and gives no id and no position twice.
func TestRestoreRoundTrip(t *testing.T) {
	t.Parallel()
	from := newMending(t)
	from.one(1)
	from.one(2)
	from.stop()
	mustExec(t, from.pool, `SELECT public.strunk_enqueue('later', due_at => now() + interval '1 h'),
		public.strunk_enqueue('jobs', '{"N": 3}'), public.strunk_publish('tick', 'one', '3')`)
	mustExec(t, from.pool, `SELECT public.strunk_enqueue('buried')`)
	mustExec(t, from.pool, `UPDATE public.strunk_outbox SET status = 'dead', finished_at = now() WHERE key = 'buried'`)
	dump := filepath.Join(t.TempDir(), "dump")
	program(t, from.pool, "pg_dump", "--format=custom", "--file="+dump)

	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		pool := outboxtest.Empty(t)
		program(t, pool, "pg_restore", dump)
		goesOn(t, pool)
	})
	t.Run("data alone", func(t *testing.T) {
		t.Parallel()
		pool := outboxtest.New(t)
		mustExec(t, pool, `TRUNCATE public.strunk_migrations, public.strunk_feed_partitions, public.strunk_feed_floor`)
		// strunk_feed has a row, as after a migration, which that of the dump finds in its way; and a
		// partition ahead of the feed, which is empty, is not there.
		out := run(t, pool, "pg_restore", "--data-only", dump)
		if !strings.Contains(out, "errors ignored on restore: 2") {
			t.Errorf("pg_restore of the data alone: %s", out)
		}
		found := query[string](t, pool, `SELECT string_agg(object || ': ' || finding, '; ')
			FROM public.strunk_inconsistencies()`)
		if !strings.Contains(found, "the head is 0, and the feed has events up to position 2") {
			t.Errorf("found after the restore: %s", found)
		}
		goesOn(t, pool)
	})
	t.Run("schema alone", func(t *testing.T) {
		t.Parallel()
		pool := outboxtest.Empty(t)
		program(t, pool, "pg_restore", "--schema-only", dump)
		err := outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{})
		_, plan := outbox.PlanMigrations(t.Context(), pool, outbox.MigrateConfig{}, outbox.LatestVersion())
		for _, err := range []error{err, plan} {
			if err == nil || !strings.Contains(err.Error(), "no record of the migrations that made them") {
				t.Fatalf("migrate tables without a record: %v", err)
			}
		}
		_, remedy, _ := strings.Cut(err.Error(), "record it (")
		remedy, _, _ = strings.Cut(remedy, "), migrate again")
		mustExec(t, pool, remedy)
		if err := outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{}); err != nil {
			t.Fatal(err)
		}
		mendingOn(t, pool).one(1)
		isWhole(t, pool)
	})
}

// goesOn runs what a restored database holds: task and event 3 first, then new ones.
func goesOn(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	b := mendingOn(t, pool)
	b.handled(3)
	b.one(4)
	for what, sql := range map[string]string{
		"tasks delivered, of 4": `SELECT count(*) = 4 FROM public.strunk_outbox WHERE kind = 'task'
			AND status = 'delivered'`,
		"positions, from 1 to 4": `SELECT array_agg(position ORDER BY position) = '{1,2,3,4}'
			FROM public.strunk_outbox WHERE kind = 'event'`,
		"ids, none twice":            `SELECT count(*) = count(DISTINCT id) FROM public.strunk_outbox`,
		"a task that waits":          `SELECT count(*) = 1 FROM public.strunk_outbox WHERE status = 'scheduled'`,
		"a dead letter":              `SELECT count(*) = 1 FROM public.strunk_outbox WHERE status = 'dead'`,
		"an entity at its version 4": `SELECT max(version) = 4 FROM public.strunk_snapshots`,
	} {
		if !query[bool](t, pool, sql) {
			t.Errorf("after the restore there are not: %s", what)
		}
	}
	isWhole(t, pool)
}

// isWhole wants a schema as the migrations make it, and nothing in it that does not go together.
func isWhole(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	if found, err := outbox.Check(t.Context(), pool, outbox.MigrateConfig{}); err != nil || len(found) > 0 {
		t.Errorf("Check: %v, %v", found, err)
	}
	testkit.EventuallyState(t, "everything goes together", func() (string, bool) {
		found := query[string](t, pool, `SELECT coalesce(string_agg(object || ': ' || finding, '; '), '')
			FROM public.strunk_inconsistencies()`)
		return found, found == ""
	})
}

// TestInconsistenciesAreNamed puts sequences, head and fence out of step, as logical replication and
// restores do. The remedy that is named for each mends it.
func TestInconsistenciesAreNamed(t *testing.T) {
	t.Parallel()
	b := newMending(t)
	b.one(1)
	b.stop()
	isWhole(t, b.pool)
	mustExec(t, b.pool, `SELECT setval('public.strunk_outbox_id_seq', 1, false),
		setval('public.strunk_events_seq', 1, false)`)
	mustExec(t, b.pool, `UPDATE public.strunk_feed SET head = 0, fence = '4000000000', high = 7,
		missing = '{[3,4]}'`)
	mustExec(t, b.pool, `UPDATE public.strunk_subscribers SET cursor = 9`)
	rows, err := b.pool.Query(t.Context(), `SELECT object || ': ' || finding, remedy
		FROM public.strunk_inconsistencies()`)
	if err != nil {
		t.Fatal(err)
	}
	type named struct{ Found, Remedy string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[named])
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"strunk_outbox_id_seq: it stands at 1,", "strunk_events_seq: it stands at 1,",
		"the feed has events up to position 1", "a subscriber's cursor is 9", "the fence is transaction 4000000000",
	} {
		if i >= len(all) || !strings.Contains(all[i].Found, want) {
			t.Fatalf("found %q; want number %d to have %q", all, i, want)
		}
		if strings.HasPrefix(all[i].Remedy, "SELECT") {
			mustExec(t, b.pool, all[i].Remedy)
		}
	}
	b.run()
	b.one(2) // with which the relay resets its fence
	isWhole(t, b.pool)
	if n := query[int](t, b.pool, `SELECT max(position) FROM public.strunk_outbox`); n != 10 {
		t.Errorf("the event has position %d; want the one after the highest cursor, 10", n)
	}
}

// run runs a client program of PostgreSQL on the pool's database, and returns what it says.
func run(t testing.TB, pool *pgxpool.Pool, name string, args ...string) string {
	t.Helper()
	dsn := outboxtest.DSN(pool)
	path, err := pgserver.Client(t.Context(), dsn, name)
	testkit.NeedsInstalled(t, err)
	out, _ := exec.CommandContext(t.Context(), path, append(args, "--dbname="+dsn)...).CombinedOutput()
	return string(out)
}

// program is run for one that must have nothing to say.
func program(t testing.TB, pool *pgxpool.Pool, name string, args ...string) {
	t.Helper()
	if out := run(t, pool, name, args...); strings.TrimSpace(out) != "" {
		t.Fatalf("%s: %s", name, out)
	}
}
