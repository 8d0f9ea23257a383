package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

type email struct{ To string }

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pool := outboxtest.New(t)
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	q := queue.Define[email]("emails", queue.Config{Retry: queue.Backoff{First: 10 * time.Millisecond}})
	err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		for range 10 {
			if _, err := q.Enqueue(ctx, tx, email{To: "x"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	time.AfterFunc(5*time.Second, cancel)
	err = box.Run(ctx, q.Worker(func(ctx context.Context, task queue.Task[email]) error {
		if task.Attempt == 1 && task.ID%2 == 0 {
			return errors.New("no")
		}
		if n.Add(1) == 10 {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if n.Load() != 10 {
		t.Fatal(n.Load())
	}
	rec, err := q.Get(t.Context(), box, 2)
	t.Logf("%+v %v", rec, err)
}
