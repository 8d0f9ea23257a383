package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

// What an InTx handler writes commits together with the cursor: exactly once, through failures,
// panics, lost commits and replays of the process's sessions.
func TestTxHandlerWritesExactlyOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const n = 120
	b := newBed(t)
	b.exec(`CREATE TABLE public.effects (position bigint, entity text, version bigint)`)
	var calls atomic.Int64
	handle := func(ctx context.Context, tx *outbox.OwnedTx, e events.Event[order]) error {
		_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.effects VALUES ($1, $2,
			$3)`, e.Position, e.EntityID, e.Version)
		if err != nil {
			return err
		}
		switch c := calls.Add(1); {
		case c%17 == 0:
			return errNo
		case c%23 == 0:
			panic("oh no")
		case c%31 == 0: // the transaction is lost
			_, _ = b.pool.Exec(ctx, `SELECT pg_catalog.pg_terminate_backend($1)`, tx.Pgx().Conn().PgConn().PID())
		}
		return nil
	}
	sub := func() outbox.Binding {
		return orders.SubscriberInTx("exactly", handle, events.Retry(atOnce), events.BatchSize(10))
	}
	b.publishMany(n)
	stop := b.run(sub())
	eventually(t, "half is done", func() (string, bool) {
		s := b.stats("exactly")
		return fmt.Sprint(s.Cursor),
			s.Cursor >= n/2
	})
	stop()
	b.publishMany(n)
	b.run(sub())
	b.reachHead("exactly")
	if rows, each := value[int](b, `SELECT count(*)
		FROM public.effects`), value[int](b, `SELECT count(DISTINCT position)
			FROM public.effects`); rows != 2*n || each != 2*n {
		t.Errorf("%d effects of %d events; want each of the %d once", rows, each, 2*n)
	}
	if bad := value[int](b, `SELECT count(*) FROM (SELECT position, max(position) OVER (ORDER BY ctid) m
		FROM public.effects) x WHERE position < m`); bad > 0 {
		t.Logf("%d effects are stored out of order (retries)", bad)
	}
	_ = ctx
}

// A transaction's handler is fenced where it commits: an owner that has lost the subscriber meanwhile leaves nothing.
func TestTxHandlerIsFenced(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	b.exec(`CREATE TABLE public.effects (version bigint, attempt text)`)
	begun, finish := make(chan struct{}, 10), make(chan struct{})
	var first atomic.Bool
	b.run(orders.SubscriberInTx("fenced", func(ctx context.Context, tx *outbox.OwnedTx, e events.Event[order]) error {
		who := "second"
		if first.CompareAndSwap(false, true) {
			who = "first"
			begun <- struct{}{}
			<-finish // whatever becomes of its context
			ctx = context.WithoutCancel(ctx)
		}
		_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.effects VALUES ($1, $2)`, e.Version, who)
		return err
	}))
	b.publish(order{ID: "a"})
	receive(t, "the first has begun", begun)
	noError(t, events.Reset(ctx, b.box, "fenced"))
	close(finish)
	b.reachHead("fenced")
	if who := value[string](b, `SELECT string_agg(attempt, ',') FROM public.effects`); who != "second" {
		t.Errorf("effects of %q; want those of the second alone", who)
	}
}

// A batch handler is given contiguous events, in order per entity; after a failure, one by one.
func TestBatchHandler(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var mu sync.Mutex
	var got record
	var sizes []int
	b.publishMany(50)
	b.publishMany(50)
	b.publish(order{ID: "bad", N: 1})
	b.publishMany(50)
	sub := orders.BatchSubscriber("batches", func(ctx context.Context, batch []events.Event[order]) error {
		mu.Lock()
		sizes = append(sizes, len(batch))
		mu.Unlock()
		if slices.ContainsFunc(batch, func(e events.Event[order]) bool { return e.EntityID == "bad" }) {
			return errNo
		}
		for _, e := range batch {
			_ = got.handle(ctx, e)
		}
		return nil
	}, events.Concurrency(2), events.BatchSize(20), events.OnFailure(events.DeadLetter), events.MaxAttempts(2),
		events.Retry(atOnce))
	b.run(sub)
	got.await(t, 150)
	b.reachHead("batches")
	eventually(t, "the failing event is dead", func() (string, bool) {
		d := b.dead("batches")
		return fmt.Sprint(d), len(d) == 1 && d[0].EntityID == "bad"
	})
	got.inOrder(t)
	mu.Lock()
	defer mu.Unlock()
	if most := slices.Max(sizes); most > 20 || most < 2 {
		t.Errorf("batches of %v; want several of more than one and none over 20", sizes)
	}
}

// Entities are handled side by side, the events of one in order.
func TestParallelAcrossEntities(t *testing.T) {
	t.Parallel()
	const lanes = 16
	b := newBed(t)
	var running, most atomic.Int64
	var busy sync.Map
	var got record
	b.run(orders.Subscriber("parallel", func(ctx context.Context, e events.Event[order]) error {
		if _, twice := busy.LoadOrStore(e.EntityID, true); twice {
			t.Errorf("two events of %s are handled at once", e.EntityID)
		}
		n := running.Add(1)
		most.Store(max(most.Load(), n))
		time.Sleep(time.Millisecond)
		running.Add(-1)
		busy.Delete(e.EntityID)
		return got.handle(ctx, e)
	}, events.Concurrency(lanes)))
	for range 4 {
		b.publishMany(100)
	}
	got.await(t, 400)
	got.inOrder(t)
	if n := most.Load(); n < 2 || n > lanes {
		t.Errorf("at most %d handlers ran at once; want more than one, and no more than %d", n, lanes)
	}
}

// A handler that does not return is left behind after its timeout; the event is tried again, and the others go on.
func TestHungHandlerIsLeftBehind(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	forever := make(chan struct{})
	t.Cleanup(func() { close(forever) })
	var got record
	b.run(orders.Subscriber("hung", func(ctx context.Context, e events.Event[order]) error {
		if e.EntityID == "hang" && e.Attempt == 1 {
			<-forever
		}
		return got.handle(ctx, e)
	}, events.Timeout(50*time.Millisecond), events.Retry(atOnce), events.Concurrency(2)))
	b.publish(order{ID: "hang"}, order{ID: "a"}, order{ID: "b"}, order{ID: "c"}, order{ID: "hang"})
	got.await(t, 5)
	b.reachHead("hung")
	got.inOrder(t)
	for _, e := range got.all() {
		if e.EntityID == "hang" && e.Version == 1 && e.Attempt != 2 {
			t.Errorf("it was handled at attempt %d; want 2", e.Attempt)
		}
	}
}

// At a shutdown running handlers finish, what was not begun is left, and the next run goes on
// without repeating anything.
func TestShutdownFinishesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	const n = 200
	b := newBed(t)
	b.publishMany(n)
	var got record
	started := make(chan struct{}, n)
	sub := func() outbox.Binding {
		return orders.Subscriber("stops", func(ctx context.Context, e events.Event[order]) error {
			started <- struct{}{}
			time.Sleep(2 * time.Millisecond)
			if ctx.Err() != nil {
				t.Errorf("the context of a handler ended within the grace period: %v", context.Cause(ctx))
			}
			return got.handle(ctx, e)
		}, events.Concurrency(1))
	}
	for range 3 {
		stop := b.run(sub())
		for range 20 {
			receive(t, "an event is begun", started)
		}
		stop()
		if s := b.stats("stops"); s.Owner != "" || int(s.Cursor) != got.len() {
			t.Errorf("after the shutdown: owner %q, cursor %d of %d handled", s.Owner, s.Cursor, got.len())
		}
	}
	b.run(sub())
	got.await(t, n)
	b.reachHead("stops")
	if got.len() != n {
		t.Errorf("%d events were handled; want %d, each once", got.len(), n)
	}
}

// The causes of a handler's context are told apart.
func TestTimeoutIsTold(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	cause := make(chan error, 10)
	b.run(orders.Subscriber("slow", func(ctx context.Context, e events.Event[order]) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return ctx.Err()
	}, events.Timeout(20*time.Millisecond), events.OnFailure(events.DeadLetter), events.MaxAttempts(1)))
	b.publish(order{ID: "a"})
	if err := receive(t, "the context ends", cause); !errors.Is(err, events.ErrTimeout) {
		t.Errorf("the cause is %v; want ErrTimeout", err)
	}
	eventually(t, "it is dead", func() (string, bool) { d := b.dead("slow"); return fmt.Sprint(d), len(d) == 1 })
	if d := b.dead("slow")[0]; !strings.Contains(d.LastError, "timeout") {
		t.Errorf("its last error is %q", d.LastError)
	}
}
