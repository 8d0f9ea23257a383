package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

var errAtRandom = errors.New("at random")

// childHears does what a process is told.
func childHears(what string) {
	switch what {
	case tellOfYourself:
		childTells()
	case leakConnections:
		if pool := childPool.Load(); pool != nil {
			leak(pool)
		}
	}
}

// leakConnections has a process take all connections of its pool and not give them back for a second and a half.
const leakConnections = "leak connections"

// childPool is the pool of the works that run.
var childPool atomic.Pointer[pgxpool.Pool]

func leak(pool *pgxpool.Pool) {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	var leaked sync.WaitGroup
	for range pool.Config().MaxConns {
		leaked.Go(func() {
			if conn, err := pool.Acquire(ctx); err == nil {
				<-ctx.Done()
				conn.Release()
			}
		})
	}
	leaked.Wait()
}

// childWorks is a process that works all queues and runs both subscribers and the forwarder, over whatever happens to
// its connections.
func childWorks() {
	ctx := context.Background()
	fmt.Println("up")
	for {
		if err := works(ctx); err != nil {
			fmt.Println("again", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func works(ctx context.Context) error {
	cfg, err := pgxpool.ParseConfig(os.Getenv("CHILD_DSN"))
	if err != nil {
		return err
	}
	cfg.MaxConns = 12
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	childPool.Store(pool)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: childLogger, PollInterval: 200 * time.Millisecond,
		SyncClaims: os.Getenv("CHILD_SYNC") == "true"})
	if err != nil {
		return err
	}
	h := handlers{pool}
	soon := events.Retry(events.Backoff{First: time.Millisecond})
	concurrency, visible := queue.Concurrency(4), queue.VisibilityTimeout(lease)
	return box.Run(ctx,
		plainQueue.Worker(h.run, concurrency, visible),
		inTxQueue.WorkerInTx(h.effect, concurrency, visible),
		inOrder.WorkerInTx(h.effect, concurrency, visible),
		limitedQueue.Worker(h.run, concurrency, visible),
		delayedQueue.Worker(h.run, concurrency, visible),
		dyingQueue.Worker(h.die, concurrency, visible),
		stream.Subscriber("plain", h.see, events.VisibilityTimeout(lease), soon),
		stream.SubscriberInTx("in-tx", h.seeInTx, events.VisibilityTimeout(lease), soon),
		forward.To(stream, forwarder, sink(), forward.VisibilityTimeout(lease),
			forward.Backoff(time.Millisecond, 100*time.Millisecond), forward.InFlight(40)))
}

type handlers struct{ pool *pgxpool.Pool }

// stumble takes some time, and fails now and then.
func stumble() error {
	if rand.IntN(20) == 0 {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	}
	if rand.IntN(10) == 0 {
		return errAtRandom
	}
	return nil
}

func (h handlers) run(ctx context.Context, t queue.Task[job]) error {
	if _, err := h.pool.Exec(ctx, `INSERT INTO public.runs (queue, task, intent, item, fence, pid)
		VALUES ($1, $2, $3, $4, $5, $6)`, t.Queue, t.ID, t.Payload.Intent, t.Payload.N, t.Fence,
		os.Getpid()); err != nil {
		return err
	}
	return stumble()
}

func (h handlers) die(ctx context.Context, t queue.Task[job]) error {
	if err := h.run(ctx, t); err != nil {
		return err
	}
	return errAtRandom
}

func (h handlers) effect(ctx context.Context, tx *outbox.OwnedTx, t queue.Task[job]) error {
	if _, err := tx.Pgx().Exec(ctx, `INSERT INTO public.effects (queue, task, intent, item, key, place)
		VALUES ($1, $2, $3, $4, $5, $6)`, t.Queue, t.ID, t.Payload.Intent, t.Payload.N, t.CustomerKey,
		t.Payload.Order); err != nil {
		return err
	}
	return stumble()
}

const sqlSee = `INSERT INTO public.seen (subscriber, entity, version, intent) VALUES ($1, $2, $3, $4)`

func (h handlers) see(ctx context.Context, e events.Event[entity]) error {
	if _, err := h.pool.Exec(ctx, sqlSee, "plain", e.EntityID, e.Version, e.State.Intent); err != nil {
		return err
	}
	return stumble()
}

func (h handlers) seeInTx(ctx context.Context, tx *outbox.OwnedTx, e events.Event[entity]) error {
	if _, err := tx.Pgx().Exec(ctx, sqlSee, "in-tx", e.EntityID, e.Version, e.State.Intent); err != nil {
		return err
	}
	return stumble()
}
