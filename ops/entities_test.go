package ops_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/ops"
)

// seedEntity publishes three versions of order A, which the subscriber ledger has handled, slow has not, and for which
// broken has parked the second; beside a version that has been a dead letter of gone.
func seedEntity(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	for _, state := range []string{`{"total":1,"items":["a"]}`, `{"total":2,"items":["a"]}`,
		`{"total":2,"note":"<script>alert(1)</script>","items":["a","b"]}`} {
		exec(t, pool, `SELECT public.strunk_publish('order', 'A', $1)`, state)
		exec(t, pool, `SELECT public.strunk_publish('order', 'B', $1)`, state)
		relay(t, pool)
	}
	head := queryOne[int64](t, pool, `SELECT max(position) FROM public.strunk_outbox_delivered_events`)
	for name, cursor := range map[string]int64{"ledger": head, "slow": 0, "broken": head, "gone": head} {
		exec(t, pool, `INSERT INTO public.strunk_subscribers (cursor, started, lease_ms, name, entity_type, start)
			VALUES ($1, $1, 30000, $2, 'order', 'beginning')`, cursor, name)
	}
	const columns = `(id, seq, position, version, created_at, finished_at, attempts, status, kind, key, entity_id,
		subscriber, last_error, payload)`
	for _, to := range []struct{ table, status, name string }{{"deliveries", "scheduled", "broken"},
		{"dead", "dead", "gone"}} {
		exec(t, pool, `INSERT INTO public.strunk_outbox_`+to.table+` `+columns+`
			SELECT nextval('public.strunk_outbox_id_seq'), position, position, version, created_at, CASE $1 WHEN 'dead'
			THEN now() END, 12, $1, 'delivery', key, entity_id, $2, 'boom <b>', payload
			FROM public.strunk_outbox_delivered_events WHERE entity_id = 'A' AND version = 2`, to.status, to.name)
	}
}

// An entity shows its versions and who has handled which; a replay is counted before it is done.
func TestEntityAndReplayPreview(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	seedEntity(t, pool)
	e, err := ops.ReadEntity(t.Context(), box, ops.EntityFilter{Type: "order", ID: "A"})
	if err != nil || e.Version != 3 || len(e.Versions) != 3 || e.Examined != 6 || e.Older || e.Deleted {
		t.Fatalf("%v, %+v", err, e)
	}
	has := map[string]string{}
	for _, p := range e.Subscribers {
		for _, v := range e.Versions {
			has[p.Subscriber] += fmt.Sprint(p.Has(v), " ")
		}
	}
	for name, want := range map[string]string{"ledger": "true true true ", "slow": "false false false ",
		"broken": "false false true ", "gone": "true false true "} {
		if has[name] != want {
			t.Errorf("%s has versions 3, 2, 1: %s, not %s", name, has[name], want)
		}
	}
	if v := e.Versions[2]; v.Version != 1 || v.Position != 1 || string(v.State) != `{"total":1,"items":["a"]}` {
		t.Errorf("the first version: %+v", v)
	}
	page, err := ops.ReadEntity(t.Context(), box, ops.EntityFilter{Type: "order", ID: "A", Limit: 1})
	if err != nil || len(page.Versions) != 1 || !page.Older || page.From != page.Versions[0].Position {
		t.Errorf("a page: %v, %+v", err, page)
	}
	page, err = ops.ReadEntity(t.Context(), box, ops.EntityFilter{Type: "order", ID: "A", Limit: 1, Before: page.From})
	if err != nil || len(page.Versions) != 1 || page.Versions[0].Version != 2 {
		t.Errorf("the page after: %v, %+v", err, page)
	}
	if _, err := ops.ReadEntity(t.Context(), box, ops.EntityFilter{Type: "order", ID: "C"}); !errors.Is(err,
		ops.ErrNotFound) {
		t.Errorf("an entity that is not there: %v", err)
	}
	p, err := ops.PreviewReplay(t.Context(), box, "broken", 3)
	if err != nil || p.Again != (ops.Count{N: 4, Precision: ops.Exact}) || p.Deliveries.N != 1 || p.Cursor != 6 ||
		p.Head != 6 || p.Earliest != 1 {
		t.Errorf("a replay: %v, %+v", err, p)
	}
	if p, err := ops.PreviewReplay(t.Context(), box, "slow", 0); err != nil || p.Again.N != 0 || p.From != 1 {
		t.Errorf("a replay of what was never handled: %v, %+v", err, p)
	}
	if _, err := ops.PreviewReplay(t.Context(), box, "nobody", 0); !errors.Is(err, ops.ErrNotFound) {
		t.Errorf("a replay of nobody: %v", err)
	}
	u, err := ops.ReadSchemaUses(t.Context(), box, "order")
	if err != nil || u.Examined != 6 || len(u.Events) != 1 || len(u.Subscribers) != 4 || len(u.Workers) != 0 {
		t.Errorf("who uses the contracts: %v, %+v", err, u)
	}
}
