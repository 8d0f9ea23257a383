package docsnippets_test

import (
	"slices"
	"testing"

	"github.com/strunk-go/strunk/internal/docsnippets"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// migrating is the guide whose SQL reads tables of other libraries: testdata/migrating has a file with them for each of
// its sections.
const migrating = "docs/migrating.md"

// Each task is written as its queue, payload, priority, attempts that are left, and what it keeps else.
const (
	waiting = `SELECT queue || ' ' || (payload ->> 'n') || ' ' || priority || ' ' || max_attempts ||
		CASE WHEN due_at > now() THEN ' later' ELSE '' END || coalesce(' ' || dedup_key, '') ||
		coalesce(' ' || customer_key, '') FROM strunk_tasks WHERE status IN ('pending', 'scheduled') ORDER BY id`
	newJob = `INSERT INTO jobs (kind, payload) VALUES ('mail', '{"n": 9}')`
)

func TestMovesFromOtherLibraries(t *testing.T) {
	t.Parallel()
	moves, err := docsnippets.Blocks(root, migrating, "sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		section   string
		reason    string
		tasks     []string
		after     string // run behind the block
		left      string // counts what stays in the old table
		remaining string
	}{
		{"From River", "what runs or has ended stays, and order and attempts are kept",
			[]string{"sort 1 3 25", "sort 3 3 1 later", "sort 2 2 25", "mail 4 0 25 later"}, "",
			"SELECT count(*)::text FROM river_job", "3"},
		{"From gue", "priorities are three, and bytes are JSON",
			[]string{"PrintName 1 9 12", "PrintName 2 5 12", "Sweep 3 0 12 later"}, "",
			"SELECT count(*)::text FROM gue_jobs", "0"},
		{"From graphile-worker", "what is locked or has failed for good stays",
			[]string{"hello 1 9 25 greet-7 user:7", "mail 2 5 22 later"}, "",
			"SELECT count(*)::text FROM graphile_worker._private_jobs", "2"},
		{"From a jobs table of your own", "what runs stays; a job that was tried too often gets one more attempt",
			[]string{"mail 1 0 12", "mail 2 0 1"}, "", "SELECT count(*)::text FROM jobs", "1"},
		{"Old producers", "a new row becomes a task instead",
			[]string{"mail 9 0 12"}, newJob, "SELECT count(*)::text FROM jobs", "3"},
	} {
		t.Run(c.section, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(moves, func(b docsnippets.Block) bool { return b.Section == c.section })
			if i < 0 {
				t.Fatalf("%s has no SQL under %q", migrating, c.section)
			}
			pool := outboxtest.New(t, outboxtest.SearchPath("public"))
			old := &contract{t: t, pool: pool}
			tables := text(t, "internal/docsnippets/testdata/migrating/"+c.section+".sql")
			for _, script := range []string{tables, moves[i].Text(), c.after} {
				if _, err := pool.Exec(t.Context(), script); err != nil {
					t.Fatal(err)
				}
			}
			if got := old.strings(waiting); !slices.Equal(got, c.tasks) {
				t.Errorf("the tasks are %q; want %q: %s", got, c.tasks, c.reason)
			}
			if got := old.strings(c.left); !slices.Equal(got, []string{c.remaining}) {
				t.Errorf("%s of the old jobs are left; want %s: %s", got, c.remaining, c.reason)
			}
		})
	}
	if len(moves) != 5 {
		t.Errorf("%s has %d blocks of SQL, and this test knows 5", migrating, len(moves))
	}
}
