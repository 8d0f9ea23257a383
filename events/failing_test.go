package events_test

import (
	"context"
	"encoding/json"
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

var errNo = errors.New("not today")

// failing is a handler that fails for some entities, until they are mended.
type failing struct {
	record
	mended sync.Map // entity id
	bad    string   // prefix of the entities that fail
	tries  atomic.Int64
}

func (f *failing) handle(ctx context.Context, e events.Event[order]) error {
	if _, ok := f.mended.Load(e.EntityID); !ok && strings.HasPrefix(e.EntityID, f.bad) && e.Version != 1 {
		f.tries.Add(1)
		return errNo
	}
	return f.record.handle(ctx, e)
}

func (b *bed) parked(name string) []events.ParkedEntity {
	b.t.Helper()
	all, err := events.Parked(context.Background(), b.box, name, 100)
	noError(b.t, err)
	return all
}

func (b *bed) dead(name string) []events.DeadEvent {
	b.t.Helper()
	all, err := events.Dead(context.Background(), b.box, name, 100)
	noError(b.t, err)
	return all
}

// awaitWaiting waits until an entity is parked until a person acts.
func (b *bed) awaitWaiting(name string) events.ParkedEntity {
	b.t.Helper()
	var p []events.ParkedEntity
	eventually(b.t, "an entity is parked", func() (string, bool) {
		p = b.parked(name)
		return fmt.Sprintf("%+v", p), len(p) == 1 && p[0].Waiting
	})
	return p[0]
}

// awaitNothingParked waits until no copy is left: one goes after its handler has returned.
func (b *bed) awaitNothingParked(name string) {
	b.t.Helper()
	eventually(b.t, "nothing is parked", func() (string, bool) {
		p := b.parked(name)
		return fmt.Sprintf("%+v", p),
			len(p) == 0
	})
}

func TestParkedEntityDoesNotBlockOthers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	f := failing{bad: "bad"}
	sub := func() outbox.Binding {
		return orders.Subscriber("parks", f.handle, events.OnFailure(events.Park), events.MaxAttempts(3),
			events.Retry(atOnce), events.Concurrency(1))
	}
	stop := b.run(sub())
	b.publish(order{ID: "bad", N: 1}, order{ID: "bad", N: 2}, order{ID: "good", N: 1}, order{ID: "bad", N: 3},
		order{ID: "good", N: 2})
	f.await(t, 3)
	p := b.awaitWaiting("parks")
	b.reachHead("parks")
	eventually(t, "the later event is held behind", func() (string,
		bool) {
		p = b.parked("parks")[0]
		return fmt.Sprintf("%+v", p), p.Events == 2
	})
	if p.EntityID != "bad" || p.Version != 2 || p.Attempts != 3 || p.LastError != errNo.Error() || f.tries.Load() != 3 {
		t.Errorf("parked: %+v after %d tries; want version 2 of bad after 3 attempts", p, f.tries.Load())
	}
	if v := f.versions(); !slices.Equal(v["good"], []int64{1, 2}) || !slices.Equal(v["bad"], []int64{1}) {
		t.Errorf("arrived: %v; want both of good, and of bad the first alone", v)
	}
	// It stays parked over a restart, and the events to come are held in their order.
	stop()
	b.run(sub())
	b.publish(order{ID: "bad", N: 4}, order{ID: "good", N: 3})
	f.await(t, 4)
	b.reachHead("parks")
	eventually(t, "three events are held", func() (string, bool) {
		n := b.parked("parks")[0].Events
		return fmt.Sprint(n), n == 3
	})
	f.mended.Store("bad", true)
	noError(t, events.RetryParked(ctx, b.box, "parks", "bad"))
	f.await(t, 7)
	b.publish(order{ID: "bad", N: 5})
	f.await(t, 8)
	f.inOrder(t)
	b.awaitNothingParked("parks")
	wantError(t, events.RetryParked(ctx, b.box, "parks", "bad"), events.ErrNotFound)
}

// Release gives up on the event that failed; what was held behind it follows.
func TestReleaseParkedEntity(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	f := failing{bad: "bad"}
	b.run(orders.Subscriber("gives-up", func(ctx context.Context, e events.Event[order]) error {
		if e.Version == 3 {
			return f.record.handle(ctx, e)
		}
		return f.handle(ctx, e)
	}, events.OnFailure(events.Park), events.MaxAttempts(1), events.Retry(atOnce)))
	b.publish(order{ID: "bad", N: 1}, order{ID: "bad", N: 2}, order{ID: "bad", N: 3})
	b.awaitWaiting("gives-up")
	b.reachHead("gives-up")
	noError(t, events.Release(ctx, b.box, "gives-up", "bad"))
	f.await(t, 2)
	if v := f.versions()["bad"]; !slices.Equal(v, []int64{1, 3}) {
		t.Errorf("arrived: %v; want 1 and 3", v)
	}
	if dead := b.dead("gives-up"); len(dead) != 1 || dead[0].Version != 2 || dead[0].LastError != errNo.Error() {
		t.Errorf("dead letters: %+v; want version 2", dead)
	}
	b.awaitNothingParked("gives-up")
	wantError(t, events.Release(ctx, b.box, "gives-up", "bad"), events.ErrNotFound)
}

// A dead delivery belongs to one subscriber: the feed of the others is as it was, and setting it
// back to pending from psql redelivers it to that one.
func TestDeadDeliveryIsACopy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	f, other := failing{bad: "bad"}, record{}
	b.run(
		orders.Subscriber("mourner", f.handle, events.OnFailure(events.DeadLetter), events.MaxAttempts(2),
			events.Retry(atOnce)),
		orders.Subscriber("other", other.handle))
	b.publish(order{ID: "bad", N: 1}, order{ID: "bad", N: 2}, order{ID: "good", N: 1})
	other.await(t, 3)
	f.await(t, 2) // in whatever order: bad and good may be in one lane
	eventually(t, "the event is dead", func() (string, bool) {
		d := b.dead("mourner")
		return fmt.Sprintf("%+v", d),
			len(d) == 1
	})
	dead := b.dead("mourner")[0]
	if dead.EntityID != "bad" || dead.Version != 2 || dead.Attempts != 2 || dead.LastError != errNo.Error() ||
		!json.Valid(dead.Errors) {
		t.Errorf("dead letter: %+v; want version 2 of bad after 2 attempts", dead)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered'
		AND kind = 'event' AND key = 'order'`); n != 3 {
		t.Errorf("the feed has %d events; want the 3 that were published", n)
	}
	// The two statements of the specification, as they stand there.
	id := value[int64](b, `SELECT id FROM (SELECT * FROM public.strunk_outbox WHERE status = 'dead'
		AND key = 'order') x`)
	f.mended.Store("bad", true)
	before := f.len()
	b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = ` + fmt.Sprint(id))
	all := f.await(t, before+1)
	last := all[len(all)-1]
	if last.EntityID != "bad" || last.Version != 2 || !last.Redelivered || last.Attempt != 1 || last.State.N != 2 {
		t.Errorf("redelivered: %+v; want version 2 of bad, as a first attempt", last)
	}
	if n := other.len(); n != 3 {
		t.Errorf("the other subscriber was given %d events; want 3", n)
	}
	eventually(t, "the copy is gone", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE kind = 'delivery'`)
		return fmt.Sprint(n), n == 0
	})
	if n, err := events.RetryDead(context.Background(), b.box, "mourner"); err != nil || n != 0 {
		t.Errorf("retrying no dead letters: %d, %v", n, err)
	}
}

// With Block nothing is passed over until the event succeeds, over a restart; a person may skip it.
func TestBlockWaitsAndSkips(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	f := failing{bad: "bad"}
	sub := func() outbox.Binding { return orders.Subscriber("blocks", f.handle, events.Retry(atOnce)) }
	stop := b.run(sub())
	b.publish(order{ID: "bad", N: 1}, order{ID: "bad", N: 2}, order{ID: "bad", N: 3})
	// Entities share lanes, by chance: those in the lane of bad wait behind it. That all of these
	// do has a chance of 10^-15.
	for i := range 15 {
		b.publish(order{ID: fmt.Sprintf("good-%d", i), N: 1})
	}
	f.await(t, 2)
	eventually(t, "some attempts are made", func() (string,
		bool) {
		s := b.stats("blocks")
		return fmt.Sprintf("%+v", s), s.Blocked != nil && s.Blocked.Attempts > 3
	})
	stop()
	s := b.stats("blocks")
	if s.Blocked == nil || s.Blocked.Position != 2 || s.Cursor != 1 || s.Blocked.Error != errNo.Error() ||
		s.Owner != "" {
		t.Errorf("stopped: %+v; want it blocked at position 2", s)
	}
	b.run(sub())
	eventually(t, "attempts go on from where they were", func() (string, bool) {
		now := b.stats("blocks")
		return fmt.Sprintf("%+v", now), now.Blocked != nil && now.Blocked.Attempts > s.Blocked.Attempts+1
	})
	wantError(t, events.Skip(ctx, b.box, "blocks", 3), events.ErrNotFound, "blocks")
	noError(t, events.Skip(ctx, b.box, "blocks", 2))
	eventually(t, "the next event blocks", func() (string,
		bool) {
		s := b.stats("blocks")
		return fmt.Sprintf("%+v", s), s.Blocked != nil && s.Blocked.Position == 3
	})
	f.mended.Store("bad", true)
	b.reachHead("blocks")
	if dead := b.dead("blocks"); len(dead) != 1 || dead[0].Version != 2 {
		t.Errorf("dead letters: %+v; want the event that was skipped", dead)
	}
	if v := f.versions()["bad"]; !slices.Equal(v, []int64{1, 3}) {
		t.Errorf("arrived: %v; want 1 and 3", v)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_retries`); n != 0 {
		t.Errorf("%d rows of attempts are left", n)
	}
}

// A panic is a failed attempt, and its stack is kept.
func TestPanicIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.run(orders.Subscriber("panics", func(context.Context, events.Event[order]) error { panic("oh no") },
		events.OnFailure(events.DeadLetter), events.MaxAttempts(1)))
	b.publish(order{ID: "a"})
	eventually(t, "the event is dead", func() (string, bool) {
		d := b.dead("panics")
		return fmt.Sprint(len(d)),
			len(d) == 1
	})
	d := b.dead("panics")[0]
	if !strings.Contains(d.LastError, "oh no") || !strings.Contains(string(d.Errors), "failing_test.go") {
		t.Errorf("dead letter: %s, %s; want the panic and its stack", d.LastError, d.Errors)
	}
	eventually(t, "the log has the stack", func() (string, bool) {
		log := b.logs.String()
		return log, strings.Contains(log, "stack=") && strings.Contains(log, "failing_test.go")
	})
}

// What cannot be decoded follows the policies, and never spins.
func TestUndecodableEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		policy events.FailurePolicy
		reason string
		check  func(b *bed, name string) (string, bool)
	}{
		{"block", events.Block, "it blocks, with backoff", func(b *bed, name string) (string, bool) {
			s := b.stats(name)
			return fmt.Sprintf("%+v", s), s.Blocked != nil && s.Blocked.Position == 1 &&
				strings.Contains(s.Blocked.Error, "cannot be decoded")
		}},
		{"park", events.Park, "it is parked at once: another attempt would not help",
			func(b *bed, name string) (string, bool) {
				p := b.parked(name)
				return fmt.Sprintf("%+v", p), len(p) == 1 && p[0].Waiting && p[0].Attempts == 1
			}},
		{"dead letter", events.DeadLetter, "it is dead at once", func(b *bed, name string) (string, bool) {
			d := b.dead(name)
			return fmt.Sprintf("%+v", d), len(d) == 1 && d[0].Attempts == 1
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.exec(`SELECT public.strunk_publish('order', 'strange', '["no", "order"]')`)
			var got record
			b.run(orders.Subscriber(tt.name, got.handle, events.OnFailure(tt.policy)))
			eventually(t, tt.reason, func() (string, bool) { return tt.check(b, tt.name) })
			if tt.policy != events.Block {
				b.publish(order{ID: "fine"})
				got.await(t, 1)
			}
		})
	}
}

// However many copies are to be redelivered, none waits for a poll.
func TestManyRedeliveriesWaitForNoPoll(t *testing.T) {
	t.Parallel()
	const n = 220
	b := newBed(t)
	var got record
	var mended atomic.Bool
	b.run(orders.Subscriber("many", func(ctx context.Context, e events.Event[order]) error {
		if !mended.Load() {
			return errNo
		}
		return got.handle(ctx, e)
	}, events.OnFailure(events.Park), events.MaxAttempts(1), events.PollInterval(time.Hour)))
	b.registered("many")
	b.publishMany(n)
	eventually(t, "all are parked", func() (string, bool) {
		waiting := value[int](b, `SELECT count(*) FROM public.strunk_outbox_deliveries WHERE status = 'scheduled'`)
		return fmt.Sprint(waiting), waiting == n
	})
	mended.Store(true)
	retried, err := events.RetryAllParked(context.Background(), b.box, "many")
	if err != nil || retried != n {
		t.Errorf("%d are retried, %v; want %d", retried, err, n)
	}
	got.await(t, n)
	b.awaitNothingParked("many")
}
