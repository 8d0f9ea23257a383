package suite

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
)

// bug is a change to a function of the database that breaks a guarantee.
type bug struct{ function, from, to string }

// bugs are those that can be planted. docs/reliability.md says in how many rounds each was found.
var bugs = map[string]bug{
	"completion-without-token": {"strunk_complete_at",
		"AND t.worker_id + 0 = p_worker\n            AND t.claim_no + 0 = u.claim", ""},
	"lost-claims-stay-lost":      {"strunk_open_claims", "t.claim_no > w.low", "false"},
	"relay-forgets-late-commits": {"strunk_advance_feed", "p_xmin > f.fence", "true"},
	"claim-ignores-admission":    {"strunk_claim", "AND t.admitted AND t.key = p_queue", "AND t.key = p_queue"},
	"cursor-without-epoch":       {"strunk_move_cursor", "s.epoch = p_epoch", "true"},
	"claim-without-lock":         {"strunk_claim", "AND w.claim_floor < p_claim FOR KEY SHARE;", ";"},
}

// makeTemplate makes the database that rounds copy, with the planted bug in it.
func (l *lab) makeTemplate(t *testing.T, ctx context.Context) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dsn, _, err := l.server.NewDatabase(ctx, "")
	must(err)
	pool, err := pgxpool.New(ctx, dsn)
	must(err)
	defer pool.Close()
	must(outbox.Migrate(ctx, pool, outbox.MigrateConfig{}))
	_, err = pool.Exec(ctx, sqlTables)
	must(err)
	if *plant != "" {
		b, known := bugs[*plant]
		if !known {
			t.Fatalf("no bug %q: there are %v", *plant, slices.Sorted(maps.Keys(bugs)))
		}
		must(b.plant(ctx, pool, t))
	}
	return pool.Config().ConnConfig.Database
}

// plant changes each function of the bug's name in which its text is.
func (b bug) plant(ctx context.Context, pool *pgxpool.Pool, t *testing.T) error {
	rows, err := pool.Query(ctx, `SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1`, b.function)
	if err != nil {
		return err
	}
	definitions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	n := 0
	for _, d := range definitions {
		if strings.Contains(d, b.from) {
			n++
			if _, err := pool.Exec(ctx, strings.Replace(d, b.from, b.to, 1)); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		t.Fatalf("%q is not in %s", b.from, b.function)
	}
	return nil
}
