package queue_test

import (
	"context"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/queue"
)

// A pause of all queues stops those that run, holds for queues that appear while it lasts, and is a pause
// of its own: the resumption of one queue does not end it, and its end does not resume what was paused by itself.
func TestPauseAll(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ctx := t.Context()
	running, later, alone := queue.Define[note]("running", queue.Config{}), queue.Define[note]("later", queue.Config{}),
		queue.Define[note]("alone", queue.Config{})
	handle := func(context.Context, queue.Task[note]) error { return nil }
	b.run(running.Worker(handle))
	reach(b, running, put(b, running, note{"before"}), queue.StatusDelivered)
	noError(t, alone.Pause(ctx, b.box, "no paper"))
	noError(t, queue.PauseAll(ctx, b.box, "upgrade"))
	noError(t, queue.PauseAll(ctx, b.box, "a second one changes nothing"))
	eventually(t, "the worker has heard", func() (string, bool) {
		return "", strings.Contains(b.logs.String(), "a queue was paused")
	})
	b.run(later.Worker(handle))
	eventually(t, "the new queue's worker has looked", func() (string, bool) {
		return "", strings.Count(b.logs.String(), "a queue was paused") > 1
	})
	noError(t, running.Resume(ctx, b.box))
	waiting, ofNew := put(b, running, note{"x"}), put(b, later, note{"y"})
	for _, id := range []int64{waiting, ofNew} {
		cause := firstCause(t, b, id)
		if cause.Cause != queue.CauseAllPaused || !strings.HasSuffix(cause.Name, ": upgrade") {
			t.Errorf("task %d waits because of %+v", id, cause)
		}
	}
	for _, q := range []*queue.Queue[note]{running, later, alone} {
		if paused, err := q.Paused(ctx, b.box); !paused || err != nil {
			t.Errorf("%s: paused %v, %v", q.Name(), paused, err)
		}
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox_tasks WHERE status = 'pending'`); n != 2 {
		t.Errorf("%d tasks are pending; want the two", n)
	}

	noError(t, queue.ResumeAll(ctx, b.box))
	reach(b, running, waiting, queue.StatusDelivered)
	reach(b, later, ofNew, queue.StatusDelivered)
	if paused, err := alone.Paused(ctx, b.box); !paused || err != nil {
		t.Errorf("the queue that was paused by itself: %v, %v", paused, err)
	}
}

func firstCause(t *testing.T, b *bed, id int64) (first queue.Reason) {
	t.Helper()
	reasons, err := queue.Why(t.Context(), b.box, "", id)
	if err != nil || len(reasons) == 0 {
		t.Fatalf("why task %d: %v, %v", id, reasons, err)
	}
	return reasons[0]
}
