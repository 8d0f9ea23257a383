package queue_test

import (
	"context"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/queue"
)

// A due time that no Go time can say, written by hand, must not keep the queue's other tasks from being claimed.
func TestInfiniteDueTimeBlocksNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("infinite", queue.Config{})
	for _, due := range []string{"infinity", "-infinity"} {
		_, err := b.pool.Exec(t.Context(), `SELECT public.strunk_enqueue('infinite', '{}', due_at =>
			$1::text::timestamptz)`, due)
		if err == nil || !strings.Contains(err.Error(), "is no time") {
			t.Errorf("strunk_enqueue takes %s: %v", due, err)
		}
	}
	early, late, next := put(b, q, note{}), put(b, q, note{}), put(b, q, note{})
	b.exec(`UPDATE public.strunk_outbox SET due_at = '-infinity' WHERE id = $1`, early)
	b.exec(`UPDATE public.strunk_outbox SET due_at = 'infinity', status = 'scheduled' WHERE id = $1`, late)
	if ms := value[*int64](b, `SELECT public.strunk_next_due_ms('-infinity')`); ms != nil {
		t.Errorf("the promoter sleeps %d ms; want nothing to wait for", *ms)
	}
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	for _, id := range []int64{early, next} {
		reach(b, q, id, queue.StatusDelivered)
	}
	if rec := get(b, q, late); !rec.DueAt.Equal(rec.CreatedAt) {
		t.Errorf("the due time of a task put off for ever reads %v", rec.DueAt)
	}
}
