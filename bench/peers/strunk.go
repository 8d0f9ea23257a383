package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// strunkConcurrency is enough for a handler that does nothing; more makes no difference.
const strunkConcurrency = 200

var tasks = queue.Define[job]("bench", queue.Config{})

// strunkBox is what tasks and events have in common.
type strunkBox struct {
	box *outbox.Box
}

func (s *strunkBox) migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return outbox.Migrate(ctx, pool, outbox.MigrateConfig{})
}

func (s *strunkBox) open(ctx context.Context, pool *pgxpool.Pool) (err error) {
	s.box, err = outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	return err
}

// run drives the bindings. Run stores what its handlers have done before it returns.
func (s *strunkBox) run(ctx context.Context, bindings []outbox.Binding) worker {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	var err error
	go func() {
		err = s.box.Run(ctx, bindings...)
		close(ended)
	}()
	stop := func() error {
		cancel()
		<-ended
		return err
	}
	return worker{stop: stop, settle: func(int) error { return stop() }}
}

type strunkTasks struct{ strunkBox }

func (*strunkTasks) describe() (module, settings string) {
	return "github.com/strunk-go/strunk", fmt.Sprintf("`Concurrency(%d)`, all else by default. "+
		"50 idle queues: all by default. Single tasks in `Box.InTx`, or in the application's transaction by `Box.Tx`",
		strunkConcurrency)
}

func (s *strunkTasks) addMany(ctx context.Context, jobs []job) error {
	return s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if jobs[0].Due == 0 {
			_, err := tasks.EnqueueBatch(ctx, tx, jobs)
			return err
		}
		items := make([]queue.Item, len(jobs))
		for i, j := range jobs {
			items[i] = tasks.Item(j, queue.DueAt(time.UnixMicro(j.Due)))
		}
		_, err := queue.EnqueueAll(ctx, tx, items...)
		return err
	})
}

func (s *strunkTasks) addOne(ctx context.Context, j job) error {
	return s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := tasks.Enqueue(ctx, tx, j)
		return err
	})
}

func (s *strunkTasks) addIn(ctx context.Context, tx pgx.Tx, j job) error {
	_, err := tasks.Enqueue(ctx, s.box.Tx(tx), j)
	return err
}

func (s *strunkTasks) work(ctx context.Context, how manner, handled func(job)) (worker, error) {
	handle := func(_ context.Context, task queue.Task[job]) error {
		handled(task.Payload)
		return nil
	}
	if how.Mode != defaults {
		return s.run(ctx, []outbox.Binding{tasks.Worker(handle, queue.Concurrency(strunkConcurrency))}), nil
	}
	bindings := make([]outbox.Binding, how.Width)
	for i := range bindings {
		bindings[i] = queue.Define[job]("idle"+strconv.Itoa(i), queue.Config{}).Worker(handle)
	}
	return s.run(ctx, bindings), nil
}

var states = events.Define("state", func(j job) string { return strconv.Itoa(j.N) }, events.Config{})

type strunkEvents struct{ strunkBox }

func (*strunkEvents) describe() (module, settings string) {
	return "github.com/strunk-go/strunk", "events: all by default; each event is the new state of an entity, with a " +
		"version and a snapshot"
}

func (s *strunkEvents) addMany(ctx context.Context, jobs []job) error {
	return s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := states.PublishBatch(ctx, tx, jobs)
		return err
	})
}

func (s *strunkEvents) addOne(ctx context.Context, j job) error {
	return s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := states.Publish(ctx, tx, j)
		return err
	})
}

func (s *strunkEvents) addIn(ctx context.Context, tx pgx.Tx, j job) error {
	_, err := states.Publish(ctx, s.box.Tx(tx), j)
	return err
}

func (s *strunkEvents) work(ctx context.Context, how manner, handled func(job)) (worker, error) {
	bindings := make([]outbox.Binding, how.Width)
	for i := range bindings {
		bindings[i] = states.Subscriber(how.Names+strconv.Itoa(i), func(_ context.Context, e events.Event[job]) error {
			handled(e.State)
			return nil
		})
	}
	return s.run(ctx, bindings), nil
}
