package events_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// planSettings are those of strunk_read_feed and strunk_relay.
var planSettings = []string{`SET LOCAL
	enable_seqscan = off`, `SET LOCAL enable_bitmapscan = off`, `SET LOCAL enable_sort = off`,
	`SET LOCAL
		enable_hashjoin = off`, `SET LOCAL
			enable_mergejoin = off`, `SET LOCAL jit = off`, `SET LOCAL plan_cache_mode = force_generic_plan`}

// The reader's plan walks (key, position) in order, and no partition behind the cursor; the relay's
// walks the index of seq from where it is told to. Both with statistics of an empty table and with
// fresh ones.
func TestPlans(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newReapedBed(t, 0)
	b.exec(`UPDATE public.strunk_feed_floor SET floor = 0`)
	plans := func() {
		for _, tt := range []struct{ name, prepare, execute, want, not string }{
			{"read", `PREPARE p (text, bigint, integer) AS SELECT e.position, e.payload
				FROM public.strunk_outbox_delivered_events e WHERE e.key = $1 AND e.position > $2 ORDER BY e.position
				LIMIT $3`,
				`EXECUTE p ('order', 25, 100)`, "Index Scan", "Sort"},
			{"relay", `PREPARE p (bigint, integer) AS SELECT e.seq, e.ctid FROM public.strunk_outbox_events e
				WHERE e.seq > $1 ORDER BY e.seq LIMIT $2`,
				`EXECUTE p (10, 100)`, "Index Scan using strunk_outbox_events_seq", "Sort"},
		} {
			tx := b.begin(pgx.TxOptions{})
			for _, set := range planSettings {
				_, err := tx.Exec(ctx, set)
				noError(t, err)
			}
			_, err := tx.Exec(ctx, tt.prepare)
			noError(t, err)
			rows, err := tx.Query(ctx, `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
				`+tt.execute, pgx.QueryExecModeSimpleProtocol)
			noError(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			noError(t, err)
			_, err = tx.Exec(ctx, `DEALLOCATE p`)
			noError(t, err)
			noError(t, tx.Rollback(ctx))
			plan := strings.Join(lines, "\n")
			if !strings.Contains(plan, tt.want) || strings.Contains(plan, tt.not) ||
				strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s: want %q and no %q:\n%s", tt.name, tt.want, tt.not, plan)
			}
			if tt.name == "read" && (strings.Contains(plan, "events_1 ") || strings.Contains(plan, "events_11 ") ||
				strings.Contains(plan, "Merge Append")) {
				t.Errorf("the reader goes through partitions that are behind the cursor, or merges:\n%s", plan)
			}
		}
	}
	plans()
	stop := b.run(orders.Subscriber("holds", (&record{}).handle))
	b.reachHead("holds")
	stop()
	for i := range 39 {
		b.exec(fmt.Sprintf(`SELECT public.strunk_publish('order', 'e%d', '{}')`, i))
	}
	b.exec(`ANALYZE`)
	plans()
}
