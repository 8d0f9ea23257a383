package outbox_test

import (
	"context"
	"errors"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func catalogue(t testing.TB, pool *pgxpool.Pool, schema string) map[string][]string {
	t.Helper()
	found, err := outbox.ReadCatalogue(t.Context(), pool, schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, defs := range found {
		slices.Sort(defs)
	}
	return found
}

// TestMigrationsUpDown goes up and down by the API and by printed SQL through psql alone, and wants
// the same each time: by the catalogue, not by the version.
func TestMigrationsUpDown(t *testing.T) {
	t.Parallel()
	latest := outbox.LatestVersion()
	for _, schema := range []string{"public", "Other Schema"} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			pool, printed := outboxtest.Empty(t), outboxtest.Empty(t)
			cfg := outbox.MigrateConfig{Schema: schema}
			migrateTo := func(version int) {
				t.Helper()
				err := outbox.MigrateDown(t.Context(), pool, cfg, version)
				if version == latest {
					err = outbox.Migrate(t.Context(), pool, cfg)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			printTo := func(from, to int) {
				t.Helper()
				script, err := outbox.MigrationSQL(cfg, from, to)
				if err != nil {
					t.Fatal(err)
				}
				psql(t, printed, script)
			}
			migrateTo(latest)
			want := catalogue(t, pool, schema)
			if len(want) < 100 {
				t.Fatalf("the catalogue has %d entries; it reads too little", len(want))
			}
			printTo(0, 1)
			printTo(1, latest)
			same(t, "printed SQL, up", want, catalogue(t, printed, schema))
			for version := latest - 1; version >= 0; version-- {
				migrateTo(version)
				printTo(version+1, version)
				same(t, "down", catalogue(t, pool, schema), catalogue(t, printed, schema))
			}
			if left := catalogue(t, pool, schema); len(left) != 0 {
				t.Errorf("left at version 0: %v", slices.Sorted(maps.Keys(left)))
			}
			migrateTo(latest)
			same(t, "up again", want, catalogue(t, pool, schema))
			printTo(0, latest)
			same(t, "printed SQL, up again", want, catalogue(t, printed, schema))
		})
	}
}

func same(t testing.TB, what string, want, got map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the catalogue differs (-want +got):\n%s", what, diff)
	}
}

// psql runs a script as an operator would.
func psql(t testing.TB, pool *pgxpool.Pool, script string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), findPsql(t), "--no-psqlrc", "--quiet", "--output=/dev/null",
		outboxtest.DSN(pool))
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
}

func findPsql(t testing.TB) string {
	t.Helper()
	path, err := pgserver.Psql()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTwoProcessesMigrate lets processes of their own migrate an empty database at the same time.
func TestTwoProcessesMigrate(t *testing.T) {
	t.Parallel()
	pool := outboxtest.Empty(t, outboxtest.MaxConns(4))
	children := make([]*faults.Child, 3)
	for i := range children {
		children[i] = faults.Spawn(t, "migrator", childDSN+"="+outboxtest.DSN(pool))
	}
	for _, c := range children {
		if got := c.Await(t, "migrated:", soon); got != "<nil>" {
			t.Error(got)
		}
	}
	n := query[int](t, pool, `SELECT count(*) FROM public.strunk_migrations`)
	if n != outbox.LatestVersion() {
		t.Errorf("%d migrations on record; want %d", n, outbox.LatestVersion())
	}
	if differences, err := outbox.Check(t.Context(), pool, outbox.MigrateConfig{}); err != nil || len(differences) > 0 {
		t.Errorf("what they have made differs: %v, %v", differences, err)
	}
}

func TestPlanChangesNothing(t *testing.T) {
	t.Parallel()
	pool := outboxtest.Empty(t)
	latest := outbox.LatestVersion()
	plan, err := outbox.PlanMigrations(t.Context(), pool, outbox.MigrateConfig{}, latest)
	if err != nil || len(plan) != latest || plan[0].From != 0 || plan[0].To != 1 ||
		!strings.Contains(plan[0].SQL, `CREATE TABLE "public".strunk_outbox`) {
		t.Errorf("the plan for an empty database: %d steps, %v", len(plan), err)
	}
	if exists(t, pool, "strunk_migrations") {
		t.Error("planning has made a table")
	}
	migrated := outboxtest.New(t)
	if plan, err := outbox.PlanMigrations(t.Context(), migrated, outbox.MigrateConfig{}, latest); err != nil ||
		len(plan) != 0 {
		t.Errorf("the plan for a migrated database: %v, %v", plan, err)
	}
	plan, err = outbox.PlanMigrations(t.Context(), migrated, outbox.MigrateConfig{}, latest-1)
	if err != nil || len(plan) != 1 || plan[0].To != latest-1 || !strings.Contains(plan[0].SQL, "DROP") {
		t.Errorf("the plan down: %v, %v", plan, err)
	}
	if _, err := outbox.PlanMigrations(t.Context(), migrated, outbox.MigrateConfig{}, latest+1); err == nil {
		t.Error("a version that there is not has a plan")
	}
}

func TestVersionsThatDoNotFit(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	ctx := t.Context()
	mustExec(t, pool, `INSERT INTO public.strunk_migrations (version, compatible_since, name) VALUES ($1, $1,
		'of tomorrow')`, outbox.LatestVersion()+1)
	_, planErr := outbox.PlanMigrations(ctx, pool, outbox.MigrateConfig{}, 1)
	_, checkErr := outbox.Check(ctx, pool, outbox.MigrateConfig{})
	for what, err := range map[string]error{
		"Migrate":        outbox.Migrate(ctx, pool, outbox.MigrateConfig{}),
		"MigrateDown":    outbox.MigrateDown(ctx, pool, outbox.MigrateConfig{}, 0),
		"PlanMigrations": planErr, "Check": checkErr,
	} {
		if !errors.Is(err, outbox.ErrDatabaseNewer) {
			t.Errorf("%s of a newer database: %v; want ErrDatabaseNewer", what, err)
		}
	}
	if _, err := outbox.Check(ctx, outboxtest.Empty(t), outbox.MigrateConfig{}); !errors.Is(err,
		outbox.ErrNotMigrated) {
		t.Errorf("Check of an empty database: %v; want ErrNotMigrated", err)
	}
	script, err := outbox.MigrationSQL(outbox.MigrateConfig{}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, findPsql(t), "--no-psqlrc", "--quiet", outboxtest.DSN(pool))
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "the schema is not at version 0") {
		t.Errorf("a printed step at the wrong version: %v\n%s", err, out)
	}
}

func TestFilesForOtherTools(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		format outbox.SQLFormat
		files  int // for each migration
		want   []string
	}{
		{outbox.FormatPlain, 2, []string{"CREATE TABLE \"public\".strunk_outbox ",
			"INSERT INTO \"public\".strunk_migrations"}},
		{outbox.FormatGoose, 1, []string{"-- +goose Up\n-- +goose StatementBegin\n",
			"-- +goose StatementEnd\n\n-- +goose Down\n-- +goose StatementBegin\n"}},
		{outbox.FormatTern, 1, []string{"\n---- create above / drop below ----\n"}},
	} {
		files, err := outbox.MigrationFiles(outbox.MigrateConfig{}, tt.format)
		if err != nil || len(files) != tt.files*outbox.LatestVersion() {
			t.Fatalf("%s: %d files, %v", tt.format, len(files), err)
		}
		for _, want := range tt.want {
			if !strings.Contains(files[0].Text, want) {
				t.Errorf("%s: %s lacks %q", tt.format, files[0].Name, want)
			}
		}
		if strings.Contains(files[0].Text, "BEGIN;\nSET LOCAL") || strings.Contains(files[0].Text, `\set`) {
			t.Errorf("%s: transactions are the tool's, and so is the client", tt.format)
		}
	}
	if _, err := outbox.MigrationFiles(outbox.MigrateConfig{}, "flyway"); err == nil {
		t.Error("a format that there is not has files")
	}
	pool, api := outboxtest.Empty(t), outboxtest.New(t)
	files, err := outbox.MigrationFiles(outbox.MigrateConfig{}, outbox.FormatPlain)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".up.sql") {
			mustExec(t, pool, f.Text)
		}
	}
	same(t, "plain files", catalogue(t, api, "public"), catalogue(t, pool, "public"))
}

// TestCheckSaysWhatDiffers breaks a database in one way after another.
func TestCheckSaysWhatDiffers(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	if differences, err := outbox.Check(t.Context(), pool, outbox.MigrateConfig{}); err != nil || len(differences) > 0 {
		t.Fatalf("a fresh database: %v, %v", differences, err)
	}
	oldDay(t, pool, 3, 1, "q") // a day more is no difference
	today := "strunk_outbox_delivered_tasks_" + query[string](t, pool, `SELECT to_char(clock_timestamp() AT TIME
		ZONE 'UTC', 'YYYYMMDD')`)
	var want []string
	for _, tt := range []struct{ do, want string }{
		{`DROP INDEX public.strunk_outbox_tasks_due`, "index strunk_outbox_tasks strunk_outbox_tasks_due is missing"},
		{`UPDATE pg_catalog.pg_index SET indisvalid = false
			WHERE indexrelid = 'public.strunk_outbox_dead_key'::regclass`,
			"index strunk_outbox_dead strunk_outbox_dead_key is different: CREATE INDEX strunk_outbox_dead_key ON " +
				"strunk_outbox_dead USING btree (key, id) INVALID; want CREATE INDEX strunk_outbox_dead_key ON " +
				"strunk_outbox_dead USING btree (key, id)"},
		{`ALTER TABLE public.strunk_workers ADD COLUMN shoe_size
			integer`, "column strunk_workers shoe_size is not of this library's making"},
		{`ALTER TABLE public.strunk_workers ALTER COLUMN lease_ms TYPE
			bigint`, "column strunk_workers lease_ms is different: bigint NOT NULL; want integer NOT NULL"},
		{`ALTER TABLE public.strunk_outbox_dead DISABLE TRIGGER
			strunk_revive`, "trigger strunk_outbox_dead strunk_revive is different: "},
		{`CREATE OR REPLACE FUNCTION public.strunk_heartbeat(p_workers bigint[]) RETURNS TABLE (worker_id bigint,
			heartbeat bigint, server_started timestamptz) LANGUAGE sql AS 'SELECT 1::bigint, 1::bigint, now()'`,
			"function strunk_heartbeat(p_workers bigint[]) is different"},
		{`DROP FUNCTION public.strunk_next_due_ms`, "function strunk_next_due_ms(p_from timestamp with time zone) " +
			"is missing"},
		{`GRANT EXECUTE ON FUNCTION public.strunk_enqueue(text, text, integer, interval,
			timestamptz, text, integer, interval, text, text) TO
			PUBLIC`, "privilege PUBLIC may execute strunk_enqueue is not of this library's making"},
		{`DROP TABLE public.` + today, "partition " + today + " is missing"},
		{`DROP TABLE public.strunk_loops`, "table strunk_loops is missing"},
		{`CREATE TABLE public.strunk_mine (n integer)`, "table strunk_mine is not of this library's making"},
		{`ALTER SEQUENCE public.strunk_outbox_id_seq CACHE
			100`, "sequence strunk_outbox_id_seq is different: bigint 1 1 1 9223372036854775807 100 f; want " +
			"bigint 1 1 1 9223372036854775807 1 f"},
	} {
		mustExec(t, pool, tt.do)
		want = append(want, tt.want)
	}
	differences, err := outbox.Check(t.Context(), pool, outbox.MigrateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range differences {
		got = append(got, d.String())
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
			t.Errorf("not told: %s", w)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
}

// TestMigrationWaitsWithoutBlocking holds a table under an open report: writers pass while the migration waits for it.
func TestMigrationWaitsWithoutBlocking(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	report, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := report.Exec(t.Context(), `SELECT count(*) FROM public.strunk_outbox`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- outbox.MigrateMore(context.WithoutCancel(t.Context()), pool, `ALTER TABLE
			{schema}.strunk_outbox_tasks SET (fillfactor = 60);
			LOCK TABLE {schema}.strunk_outbox_tasks IN ACCESS EXCLUSIVE MODE;`, `SELECT 1`)
	}()
	testkit.Eventually(t, "the migration waits", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT granted
			AND relation = 'public.strunk_outbox_tasks'::regclass`) > 0
	})
	// comes through behind the waiting migration, at its lock timeout
	mustExec(t, pool, `SELECT public.strunk_enqueue('q')`)
	if err := report.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
