package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Nil and zero values are errors, not panics.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("nils", queue.Config{})
	results := queue.DefineWithResult[note, int]("nil results", queue.Config{})
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"zero OwnedTx", func() error { _, err := q.Enqueue(t.Context(), new(outbox.OwnedTx), note{}); return err }},
		{"nil OwnedTx", func() error { _, err := q.Enqueue(t.Context(), (*outbox.OwnedTx)(nil), note{}); return err }},
		{"commit of a zero OwnedTx", func() error { return new(outbox.OwnedTx).Commit(t.Context()) }},
		{"commit of a nil OwnedTx", func() error { return (*outbox.OwnedTx)(nil).Commit(t.Context()) }},
		{"nil function of InTx", func() error { return b.box.InTx(t.Context(), nil) }},
		{"InTx of a zero Box", func() error {
			return new(outbox.Box).InTx(t.Context(),
				func(*outbox.OwnedTx) error { return nil })
		}},
		{"Begin of a nil Box", func() error { _, err := (*outbox.Box)(nil).Begin(t.Context()); return err }},
		{"Run of a zero Box", func() error { return new(outbox.Box).Run(t.Context()) }},
		{"Run of a nil Box", func() error { return (*outbox.Box)(nil).Run(t.Context()) }},
		{"zero ResultQueue", func() error {
			_, err := new(queue.ResultQueue[note, int]).Wait(t.Context(), b.box, 1)
			return err
		}},
		{"Wait with a nil Box", func() error { _, err := results.Wait(t.Context(), nil, 1); return err }},
		{"Get with a nil Box", func() error { _, err := q.Get(t.Context(), nil, 1); return err }},
		{"Cancel with a nil Box", func() error { _, err := q.Cancel(t.Context(), nil, 1, ""); return err }},
		{"nil Worker", func() error { return b.box.Run(t.Context(), (*queue.Worker[note])(nil)) }},
		{"nil extension", func() error {
			_, err := outbox.Open(t.Context(), b.pool, outbox.Config{Extensions: []outbox.Extension{nil}})
			return err
		}},
	} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: panics: %v", c.name, p)
				}
			}()
			if err := c.call(); err == nil {
				t.Errorf("%s: no error", c.name)
			}
		}()
	}
	if err := b.box.InTx(t.Context(), func(*outbox.OwnedTx) error { return nil }, nil); err != nil {
		t.Errorf("a nil option: %v", err)
	}
}

// Whatever cause a caller gave its cancellation, context.Canceled is found, and so is the cause.
func TestWaitKeepsTheContextsError(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.DefineWithResult[note, int]("causes", queue.Config{})
	id := put(b, q.Queue, note{})
	mine := errors.New("mine")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(mine) })
	if _, err := q.Wait(ctx, b.box, id); !errors.Is(err, context.Canceled) || !errors.Is(err, mine) {
		t.Errorf("Wait: %v; want context.Canceled and the cause", err)
	}
}

// A Dead hook that never returns does not keep Run from returning.
func TestHangingDeadHookEndsWithTheGrace(t *testing.T) {
	t.Parallel()
	b := bedOn(t, outboxtest.New(t), outbox.Config{Grace: 10 * time.Millisecond})
	called, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	q := queue.Define[note]("hanging hook", queue.Config{Middleware: []queue.Middleware{{
		Dead: func(context.Context, queue.DeadLetter) {
			close(called)
			<-release
		}}}})
	put(b, q, note{})
	stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { return queue.ErrPoison }))
	receive(t, "the hook", called)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	receive(t, "Run's return", stopped)
}
