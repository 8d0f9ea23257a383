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

// sqlTasks writes each task as its queue, payload, priority, attempts that are left, and what it keeps else.
const sqlTasks = `SELECT queue || ' ' || (payload ->> 'n') || ' ' || priority || ' ' || max_attempts ||
	CASE WHEN due_at > now() THEN ' later' ELSE '' END || coalesce(' ' || dedup_key, '') ||
	coalesce(' ' || customer_key, '') FROM strunk_tasks WHERE status IN ('pending', 'scheduled') ORDER BY id`

// move is one section of the guide: what becomes of the jobs of its file.
type move struct {
	section, reason string
	tasks           []string
	then            string // run behind the block
	table, left     string // how many rows stay in the old table
}

var moves = []move{
	{"From River", "what runs or has ended stays, and order and attempts are kept",
		[]string{"sort 1 3 25", "sort 3 3 1 later", "sort 2 2 25", "mail 4 0 25 later"}, "", "river_job", "3"},
	{"From gue", "priorities are three, and bytes are JSON",
		[]string{"PrintName 1 9 12", "PrintName 2 5 12", "Sweep 3 0 12 later"}, "", "gue_jobs", "0"},
	{"From graphile-worker", "what is locked or has failed for good stays",
		[]string{"hello 1 9 25 greet-7 user:7", "mail 2 5 22 later"}, "", "graphile_worker._private_jobs", "2"},
	{"From a jobs table of your own", "what runs stays; a job that was tried too often gets one more attempt",
		[]string{"mail 1 0 12", "mail 2 0 1"}, "", "jobs", "1"},
	{"Old producers", "a new row becomes a task instead", []string{"mail 9 0 12"},
		`INSERT INTO jobs (kind, payload) VALUES ('mail', '{"n": 9}')`, "jobs", "3"},
}

func TestMovesFromOtherLibraries(t *testing.T) {
	t.Parallel()
	written, err := docsnippets.Blocks(root, migrating, "sql")
	if err != nil {
		t.Fatal(err)
	}
	if len(written) != len(moves) {
		t.Errorf("%s has %d blocks of SQL, and this test knows %d", migrating, len(written), len(moves))
	}
	for _, m := range moves {
		t.Run(m.section, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(written, func(b docsnippets.Block) bool { return b.Section == m.section })
			if i < 0 {
				t.Fatalf("%s has no SQL under %q", migrating, m.section)
			}
			m.try(t, written[i].Text())
		})
	}
}

func (m move) try(t *testing.T, written string) {
	t.Helper()
	old := &contract{t: t, pool: outboxtest.New(t, outboxtest.SearchPath("public"))}
	tables := text(t, "internal/docsnippets/testdata/migrating/"+m.section+".sql")
	for _, script := range []string{tables, written, m.then} {
		if _, err := old.pool.Exec(t.Context(), script); err != nil {
			t.Fatal(err)
		}
	}
	if got := old.strings(sqlTasks); !slices.Equal(got, m.tasks) {
		t.Errorf("the tasks are %q; want %q: %s", got, m.tasks, m.reason)
	}
	if got := old.strings("SELECT count(*)::text FROM " + m.table); !slices.Equal(got, []string{m.left}) {
		t.Errorf("%s of the old jobs are left; want %s: %s", got, m.left, m.reason)
	}
}
