package ops_test

import (
	"testing"

	"github.com/strunk-go/strunk/ops"
)

func TestParkedOverHTTP(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	seed(t, pool)
	// Entity 1 is parked with 150 events behind it, 2 comes again in an hour, 3 is parked; "other" is of another name.
	exec(t, pool, `INSERT INTO public.strunk_outbox_deliveries (id, seq, position, version, created_at, due_at,
		attempts, status, kind, key, entity_id, subscriber, last_error, payload)
	SELECT 1000 + i, i, i, i, now(), NULL, 5, 'scheduled', 'delivery', 'order', '1', 'indexer', 'full', '{}'::json
	FROM generate_series(1, 151) i
	UNION ALL SELECT 2000, 1, 1, 1, now(), now() + interval '1 hour', 2, 'scheduled', 'delivery', 'order', '2',
		'indexer', 'busy', '{}'::json
	UNION ALL SELECT 3000, 1, 1, 1, now(), NULL, 5, 'scheduled', 'delivery', 'order', '3', 'indexer', 'full', '{}'::json
	UNION ALL SELECT 4000, 1, 1, 1, now(), NULL, 5, 'scheduled', 'delivery', 'order', '4', 'other', 'full', '{}'::json`)
	const indexer = "/v1/subscribers/indexer/"
	first := get[ops.ParkedList](t, h, indexer+"parked?limit=2")
	rest := get[ops.ParkedList](t, h, indexer+"parked?limit=2&after_type="+first.NextType+"&after_id="+first.NextID)
	all := append(first.Parked, rest.Parked...)
	if len(first.Parked) != 2 || len(all) != 3 || rest.NextID != "" {
		t.Fatalf("pages: %+v, %+v", first, rest)
	}
	if p := all[0]; p.EntityID != "1" || p.ID != 1001 || p.State != ops.DeliveryParked || p.NextAttemptAt != nil ||
		p.Events != (ops.Count{N: ops.ListCountCap, Precision: ops.AtLeast}) || p.Error != "full" {
		t.Errorf("the first: %+v", p)
	}
	if p := all[1]; p.State != ops.DeliveryRetrying || p.NextAttemptAt == nil ||
		p.Events != (ops.Count{N: 1, Precision: ops.Exact}) {
		t.Errorf("the second: %+v", p)
	}
	if done := post(t, h, indexer+"release-parked", `{"entity_id":"3"}`); done.Changed != 1 {
		t.Errorf("released: %+v", done)
	}
	if done := post(t, h, indexer+"retry-all-parked", ""); done.Changed != 2 {
		t.Errorf("tried again: %+v", done)
	}
	if list := get[ops.ParkedList](t, h, indexer+"parked"); len(list.Parked) != 2 ||
		list.Parked[0].State != ops.DeliveryRetrying {
		t.Errorf("then: %+v", list)
	}
	for _, q := range []request{{method: "GET", path: "/v1/subscribers/nobody/parked", token: readToken},
		{method: "POST", path: "/v1/subscribers/nobody/retry-all-parked", token: changeToken}} {
		if status, body, _ := do(t, h, q); status != 404 {
			t.Errorf("%s %s: %d %s", q.method, q.path, status, body)
		}
	}
}
