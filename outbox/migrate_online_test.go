package outbox_test

import (
	"strings"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// onlineUp builds an index on a plain table and one on a partitioned table, without blocking writers.
const (
	onlineUp = `-- strunk: no-transaction
-- As a real one would say why.
CREATE INDEX CONCURRENTLY strunk_outbox_dead_attempts ON {schema}.strunk_outbox_dead (attempts) WHERE key <> '%';
CREATE UNIQUE INDEX CONCURRENTLY strunk_outbox_delivered_tasks_when ON {schema}.strunk_outbox_delivered_tasks (key, finished_at, id);
`
	onlineDown = `-- strunk: no-transaction
DROP INDEX IF EXISTS {schema}.strunk_outbox_delivered_tasks_when;
DROP INDEX CONCURRENTLY IF EXISTS {schema}.strunk_outbox_dead_attempts;
`
)

func TestIndexesWithoutBlocking(t *testing.T) {
	t.Parallel()
	ctx, latest := t.Context(), outbox.LatestVersion()
	pool, printed := outboxtest.New(t), outboxtest.New(t)
	before := catalogue(t, pool, "public")
	oldDay(t, pool, 3, 100, "a", "b")
	if err := outbox.MigrateMore(ctx, pool, onlineUp, onlineDown); err != nil {
		t.Fatal(err)
	}
	if differences, err := outbox.CheckMore(ctx, pool, onlineUp, onlineDown); err != nil || len(differences) > 0 {
		t.Errorf("not as in a transaction: %v, %v", differences, err)
	}
	leaves := `SELECT count(*) FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_index x ON x.indexrelid = i.inhrelid
		WHERE i.inhparent = 'public.strunk_outbox_delivered_tasks_when'::regclass AND x.indisvalid`
	if n, want := query[int](t, pool, leaves), query[int](t, pool, `SELECT count(*) FROM pg_catalog.pg_inherits WHERE inhparent = 'public.strunk_outbox_delivered_tasks'::regclass`); n != want {
		t.Errorf("%d of %d leaves have the index", n, want)
	}
	oldDay(t, pool, 5, 1, "a") // a new leaf takes part
	if n, want := query[int](t, pool, leaves), query[int](t, pool, `SELECT count(*) FROM pg_catalog.pg_inherits WHERE inhparent = 'public.strunk_outbox_delivered_tasks'::regclass`); n != want {
		t.Errorf("%d of %d leaves have the index after one more", n, want)
	}

	script, err := outbox.MigrateMoreSQL(latest, latest+1, onlineUp, onlineDown)
	if err != nil {
		t.Fatal(err)
	}
	psql(t, printed, script)
	same(t, "printed SQL", catalogue(t, pool, "public"), catalogue(t, printed, "public"))

	if err := outbox.MigrateMoreDown(ctx, pool, latest, onlineUp, onlineDown); err != nil {
		t.Fatal(err)
	}
	same(t, "down again", before, catalogue(t, pool, "public"))
}

// TestIndexBuildGoesOn lets one leaf's index fail, which leaves an invalid one behind, and runs the migration again.
func TestIndexBuildGoesOn(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	unique := strings.Replace(onlineUp, "(key, finished_at, id)", "(key, finished_at)", 1)
	oldDay(t, pool, 9, 1, "a") // its index is built before the other's fails
	double := oldDay(t, pool, 3, 2, "a")
	err := outbox.MigrateMore(t.Context(), pool, unique, onlineDown)
	if err == nil || !strings.Contains(err.Error(), "23505") {
		t.Fatalf("a unique index on what is not unique: %v", err)
	}
	invalid := `SELECT count(*) FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid WHERE NOT x.indisvalid`
	if n := query[int](t, pool, invalid); n != 2 {
		t.Errorf("%d invalid indexes are left; want the leaf's and the whole's", n)
	}
	if n := query[int](t, pool, `SELECT count(*) FROM public.strunk_migrations`); n != outbox.LatestVersion() {
		t.Error("the migration is on record although it failed")
	}
	mustExec(t, pool, `DELETE FROM public.`+double+` WHERE id = (SELECT min(id) FROM public.`+double+`)`)
	if err := outbox.MigrateMore(t.Context(), pool, unique, onlineDown); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, pool, invalid); n != 0 {
		t.Errorf("%d invalid indexes are left after the second run", n)
	}
}
