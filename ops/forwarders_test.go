package ops_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/ops"
)

// forwarders adds one of events, behind by an event, and one of tasks that fails.
func forwarders(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `SELECT public.strunk_register('js', 'order', 'beginning', 30000)`)
	exec(t, pool, `INSERT INTO public.strunk_outbox_delivered_events (id, seq, position, version, created_at, status,
		kind, key, entity_id) VALUES (1, 1, 1, 1, now() - interval '7 s', 'delivered', 'event', 'order', '1')`)
	exec(t, pool, `SELECT public.strunk_note_forwarder('events', 'js', 'jetstream ORDERS', 5, NULL, 3, 2000)`)
	exec(t, pool, `SELECT public.strunk_note_forwarder('events', 'js', 'jetstream ORDERS', 2, NULL, 4, 3000)`)
	exec(t, pool, `SELECT public.strunk_enqueue('mails', '{}')`)
	exec(t, pool, `SELECT public.strunk_note_forwarder('tasks', 'mails', 'jetstream TASKS', 0, 'no route', NULL, NULL)`)
}

// A forwarder's lag is told on both sides, and why it fails.
func TestForwarders(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	forwarders(t, pool)
	all, err := ops.Forwarders(t.Context(), box, ops.Page{})
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	js, mails := all[0], all[1]
	if js.Kind != "events" || js.Sent != 7 || js.Waiting.N != 1 || js.Lag.Seconds() < 7 || js.There == nil ||
		*js.There != 4 || js.ThereLag == nil || js.ThereLag.Seconds() != 3 || js.FailingFor != nil || js.Running {
		t.Errorf("%+v", js)
	}
	if mails.Kind != "tasks" || mails.Waiting.N != 1 || mails.There != nil || mails.FailingFor == nil ||
		mails.Error != "no route" {
		t.Errorf("%+v", mails)
	}
	exec(t, pool, `SELECT public.strunk_note_forwarder('tasks', 'mails', 'jetstream TASKS', 1, NULL, NULL, NULL)`)
	if all, err = ops.Forwarders(t.Context(), box, ops.Page{After: "js"}); err != nil || len(all) != 1 ||
		all[0].FailingFor != nil {
		t.Errorf("after a message has arrived: %+v, %v", all, err)
	}
}

// Health tells a destination that takes nothing, and one that has refused a message.
func TestHealthOfForwarders(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	forwarders(t, pool)
	is := func(status ops.Status, says string) {
		t.Helper()
		r, err := ops.Health(t.Context(), box, ops.Thresholds{})
		if err != nil {
			t.Fatal(err)
		}
		if c := r.Check(ops.CheckForwarders); c.Status != status || !strings.Contains(c.Message, says) {
			t.Errorf("%+v; want %s, %q", c, status, says)
		}
	}
	is(ops.StatusWarn, `at the moment: "mails"`)
	exec(t, pool, `UPDATE public.strunk_forwarders SET failing_since = now() - interval '5 min' WHERE name = 'mails'`)
	is(ops.StatusFail, `"mails" to jetstream TASKS for 5m`)
	exec(t, pool, `UPDATE public.strunk_forwarders SET failing_since = NULL`)
	is(ops.StatusOK, "every destination")
	exec(t, pool, `INSERT INTO public.strunk_outbox_deliveries (id, seq, position, version, created_at, status, kind,
		key, entity_id, subscriber) VALUES (9, 9, 1, 1, now(), 'pending', 'delivery', 'order', '1', 'js')`)
	is(ops.StatusWarn, `parked, see strunk parked: "js"`)
}
