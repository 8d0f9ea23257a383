package ops_test

import (
	"testing"

	"github.com/strunk-go/strunk/ops"
)

func TestSmoke(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	exec(t, pool, `SELECT public.strunk_enqueue('a', '{}'), public.strunk_enqueue('b', '{}', delay => '1 hour')`)
	exec(t, pool, `SELECT public.strunk_publish('order', '1', '{}')`)
	ctx := t.Context()
	q, err := ops.Queues(ctx, box, ops.Page{})
	t.Logf("%+v %v", q, err)
	one, err := ops.QueueStats(ctx, box, "a")
	t.Logf("%+v %v", one, err)
	o, err := ops.OverallStats(ctx, box)
	t.Logf("%+v %v", o, err)
	r, err := ops.Health(ctx, box, ops.Thresholds{})
	t.Logf("%+v %v", r, err)
	w, err := ops.Workers(ctx, box, ops.WorkerFilter{})
	t.Logf("%+v %v", w, err)
	s, err := ops.Subscribers(ctx, box, ops.Page{})
	t.Logf("%+v %v", s, err)
	sc, err := ops.Schedules(ctx, box, ops.Page{})
	t.Logf("%+v %v", sc, err)
	d, err := ops.DeadLetters(ctx, box, ops.DeadFilter{})
	t.Logf("%+v %v", d, err)
	ta, err := ops.Task(ctx, box, 1)
	t.Logf("%+v %v", ta, err)
	t.Log(ops.Ready(ctx, box))
	for _, v := range []string{"queue_stats", "subscriber_lag", "worker_stats", "table_sizes", "horizon"} {
		exec(t, pool, "SELECT * FROM public.strunk_"+v)
	}
}
