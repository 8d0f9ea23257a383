package queue_test

import (
	"context"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/outbox/outboxtest"
)

const claimIndex = "strunk_outbox_tasks_claim"

func TestClaimPlanIsPinned(t *testing.T) {
	t.Parallel()
	const backlog = 10_000
	const fill = `SELECT count(*) FROM public.strunk_enqueue_many(
		ARRAY(SELECT CASE WHEN g % $2 = 0 THEN 'plan' ELSE 'q' || g % $2 END FROM generate_series(1, $1::int) g),
		array_fill('{}'::text, ARRAY[$1]), ARRAY(SELECT (g % 3)::smallint FROM generate_series(1, $1::int) g),
		NULL, NULL, NULL, NULL, NULL, NULL, false)`
	fills := []struct {
		name, reason string
		queues       int
	}{
		{"one queue", "the key selects nothing: a walk over another index, or a sort, seems cheap", 1},
		{"many queues", "the key selects much: a bitmap scan and a sort seem cheap", 50},
	}
	analyze := `ANALYZE public.strunk_outbox_tasks`
	statistics := []struct {
		name, reason  string
		before, after string
	}{
		{"empty", "never analyzed", "", ""},
		{"stale", "analyzed when the table was empty", analyze, ""},
		{"stale the other way", "analyzed when nothing was " +
			"pending", `UPDATE public.strunk_outbox_tasks SET status = 'claimed', worker_id = 9, claim_no = 1`,
			`UPDATE public.strunk_outbox_tasks SET status = 'pending'`},
		{"fresh", "analyzed after it was filled", "", analyze},
	}
	for _, f := range fills {
		for _, stats := range statistics {
			t.Run(f.name+", "+stats.name, func(t *testing.T) {
				t.Parallel()
				b := newBed(t)
				b.exec(`ALTER TABLE public.strunk_outbox_tasks SET (autovacuum_enabled = false)`)
				b.exec(`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES
					(1, 60000, 1, 1, 'plan', 'here')`)
				if stats.before == analyze {
					b.exec(analyze)
				}
				b.exec(fill, backlog, f.queues)
				if stats.before != "" && stats.before != analyze {
					b.exec(stats.before)
					b.exec(analyze)
				}
				if stats.after != "" {
					b.exec(stats.after)
				}
				b.checkClaimPlans(f.reason + "; " + stats.reason)
			})
		}
	}
}

// checkClaimPlans claims, looks and moves marks on a fresh connection, several times, so that a
// plan that is made anew for known values, or after the table has changed, is seen too.
func (b *bed) checkClaimPlans(reason string) {
	b.t.Helper()
	pool, collected := explained(b.t, outboxtest.DSN(b.pool))
	const zeros = `array_fill(0::bigint, ARRAY[10])`
	claimed := 0
	for range 7 {
		for _, sql := range []string{
			`SELECT id FROM public.strunk_claim(1, nextval('public.strunk_outbox_id_seq'), 'plan', 20,
				` + zeros + `, ` + zeros + `)`,
			`SELECT place FROM public.strunk_queues_with_work('{plan}', ` + zeros + `, '{0}')`,
			`SELECT public.strunk_advance_watermarks('plan', ` + zeros + `, array_fill(1000000::bigint, ARRAY[10]))`,
		} {
			tag, err := pool.Exec(context.Background(), sql)
			if err != nil {
				b.t.Fatal(err)
			}
			if strings.Contains(sql, "strunk_claim") {
				claimed += int(tag.RowsAffected())
			}
		}
	}
	if claimed != 7*20 {
		b.t.Fatalf("claimed %d; want %d", claimed, 7*20)
	}
	kinds := map[string]int{}
	for _, p := range collected.take() {
		if strings.Contains(p.Query, "strunk_outbox_tasks") {
			b.checkClaimPlan(&p, reason)
			kinds[strings.Fields(p.Query)[0]]++
		}
	}
	if kinds["WITH"] != 7 || len(kinds) < 2 {
		b.t.Errorf("plans seen: %v; want those of 7 claims, and of what comes with them", kinds)
	}
}

// checkClaimPlan wants one ordered scan of the claim index, by its name, and nothing else of the
// table but rows by their place.
func (b *bed) checkClaimPlan(p *plan, reason string) {
	b.t.Helper()
	scans := 0
	p.Root.walk(func(n *planNode) {
		switch {
		case n.Index == claimIndex && n.Type != "Bitmap Index Scan":
			scans++
			for _, column := range []string{"key", "priority", "seq"} {
				if !strings.Contains(n.Cond, column+" ") {
					b.t.Errorf("the scan of the index leaves %s out of %q (%s)", column, n.Cond, reason)
				}
			}
			if n.Direction != "Forward" || n.Removed > 0 {
				b.t.Errorf("the scan goes %s and filters %v rows; want Forward and 0 (%s)", n.Direction, n.Removed,
					reason)
			}
		case n.Relation == "strunk_outbox_tasks" && n.Type != "Tid Scan" && n.Type != "ModifyTable":
			b.t.Errorf("the plan has a %s on %s %s; want an ordered scan of %s (%s):\n%s", n.Type, n.Relation,
				n.Index, claimIndex, reason, p.Query)
		case n.Type == "Sort" || n.Type == "Incremental Sort":
			b.t.Errorf("the plan sorts (%s):\n%s", reason, p.Query)
		}
	})
	if scans != 1 {
		b.t.Errorf("%d scans of %s; want 1 (%s):\n%s", scans, claimIndex, reason, p.Query)
	}
}
