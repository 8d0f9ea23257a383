package queue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// What a worker has claimed ahead while its handlers were quick goes to others when slow ones hold it up, and has spent
// no attempt.
func TestTasksBehindSlowOnesGoToOthers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("mixed", queue.Config{})
	release := make(chan struct{})
	var slow atomic.Int64
	worker := func() *queue.Worker[note] {
		return q.Worker(func(ctx context.Context, task queue.Task[note]) error {
			if task.Payload.Text != "slow" {
				return nil
			}
			slow.Add(1)
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil
		}, queue.Concurrency(2))
	}
	var tasks []note
	for range 300 {
		tasks = append(tasks, note{Text: "quick"})
	}
	tasks = append(tasks, note{Text: "slow"}, note{Text: "slow"})
	for range 30 {
		tasks = append(tasks, note{Text: "quick"})
	}
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := q.EnqueueBatch(t.Context(), tx, tasks)
		return err
	})
	b.run(worker())
	eventually(t, "both slow handlers run", func() (string, bool) { n := slow.Load(); return fmt.Sprint(n), n == 2 })
	b.run(worker())
	eventually(t, "the tasks behind them are done", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered' AND attempts = 1`)
		return fmt.Sprint(n), n == len(tasks)-2
	})
	close(release)
}
