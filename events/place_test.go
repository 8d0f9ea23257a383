package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// A subscriber runs in another process, with events in hand: a replay is noticed there, and it goes
// on from the new place.
func TestReplayWhileRunning(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	child := spawnSubscriber(b, "replayed", "hang")
	awaitOwner(b, "replayed", child.PID())
	b.publish(order{ID: "a", N: 1}, order{ID: "a", N: 2})
	awaitGot(t, child, 1)
	noError(t, events.Replay(ctx, b.box, "replayed", 0))
	if line := child.Await(t, "ended", soon); !strings.Contains(line, events.ErrRewound.Error()) {
		t.Errorf("the handler's context ended with %q; want ErrRewound", line)
	}
	if line := awaitGot(t, child, 1)[0]; line != "a 1 1" {
		t.Errorf("after the replay it began %q; want version 1 of a", line)
	}
	child.Kill()
	b.endLease("replayed")

	var got record
	b.run(orders.Subscriber("replayed", got.handle))
	got.await(t, 2)
	b.reachHead("replayed")
	for i := range 8 {
		b.publish(order{ID: "c", N: i})
	}
	b.reachHead("replayed")
	before := got.len()
	noError(t, events.Replay(ctx, b.box, "replayed", 7))
	all := got.await(t, before+4)[before:]
	b.reachHead("replayed")
	var positions []int64
	for _, e := range all {
		positions = append(positions, e.Position)
	}
	if !slices.Equal(positions, []int64{7, 8, 9, 10}) || got.len() != before+4 {
		t.Errorf("replayed from 7: positions %v; want 7 to 10, each once", positions)
	}
	before = got.len()
	noError(t, events.Reset(ctx, b.box, "replayed"))
	got.await(t, before+10)
	wantError(t, events.Replay(ctx, b.box, "nobody", 0), events.ErrUnknownSubscriber, `"nobody"`)
	wantError(t, events.Reset(ctx, b.box, "nobody"), events.ErrUnknownSubscriber)
	for _, from := range []int64{-1, 11} {
		err := events.Replay(ctx, b.box, "replayed", from)
		wantError(t, err, events.ErrInvalid, "1 to 10", strconv.FormatInt(from, 10))
		var r *events.RangeError
		if !errors.As(err, &r) || r.Earliest != 1 || r.Head != 10 || r.From != from {
			t.Errorf("the error is %#v; want a RangeError of 1 to 10", err)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	var got record
	b.run(orders.Subscriber("pausing", got.handle, events.PollInterval(testPoll)))
	b.publish(order{ID: "a"})
	got.await(t, 1)
	noError(t, events.Pause(ctx, b.box, "pausing"))
	if !b.stats("pausing").Paused {
		t.Error("it is not shown as paused")
	}
	// Two other subscribers show that the relay and the polls have gone by.
	var other record
	b.publish(order{ID: "b"})
	stop := b.run(orders.Subscriber("other", other.handle))
	other.await(t, 2)
	stop()
	if n := got.len(); n > 1 {
		t.Errorf("%d events arrived while it was paused; want none but the first", n)
	}
	noError(t, events.Resume(ctx, b.box, "pausing"))
	got.await(t, 2)
	wantError(t, events.Pause(ctx, b.box, "nobody"), events.ErrUnknownSubscriber)
	wantError(t, events.Resume(ctx, b.box, "nobody"), events.ErrUnknownSubscriber)
}

// A new subscriber starts from the snapshots while publishers go on: no state is missed, none comes
// twice, none goes back.
func TestBootstrapFromSnapshotsMissesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const entities = 300
	b := newBed(t)
	b.publishMany(entities)
	b.in(func(tx *outbox.OwnedTx) error { _, err := orders.Delete(ctx, tx, "e7"); return err })
	// Published before the subscriber's start, and committed after: by then the pin and the scan are past.
	late := b.begin(pgx.TxOptions{})
	b.publishIn(late, order{ID: "e1", N: 1000}, order{ID: "late", N: 1})
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; !isClosed(stop); n++ {
			b.publish(order{ID: fmt.Sprintf("e%d", 2+n%5), N: n}, order{ID: fmt.Sprintf("new%d", n), N: n})
		}
		done <- n
	}()
	var got record
	sub := func(name string, handle events.Handler[order]) outbox.Binding {
		return orders.Subscriber(name, handle, events.From(events.FromSnapshots), events.Concurrency(4),
			events.PollInterval(testPoll))
	}
	// The first run is stopped in the middle of the snapshots: the second goes on.
	first := make(chan struct{})
	enough := sync.OnceFunc(func() { close(first) })
	end := b.run(sub("boot", func(ctx context.Context, e events.Event[order]) error {
		if got.len() >= 40 {
			enough()
		}
		return got.handle(ctx, e)
	}))
	receive(t, "some states have come", first)
	end()
	b.run(sub("boot", got.handle))
	eventually(t, "the feed is followed", func() (string, bool) {
		for _, e := range got.all() {
			if !e.FromSnapshot {
				return "", true
			}
		}
		return fmt.Sprintf("%d states", got.len()), false
	})
	close(stop)
	<-done
	noError(t, late.Commit(ctx))
	b.reachHead("boot")
	eventually(t, "the bootstrap has ended", func() (string, bool) {
		s := b.stats("boot")
		kept := value[int](b, `SELECT count(*) FROM public.strunk_bootstrap`)
		return fmt.Sprintf("%+v, %d versions kept", s, kept), !s.Bootstrapping && kept == 0
	})
	versions := got.versions()
	for snap, err := range orders.Snapshots(ctx, b.box) {
		noError(t, err)
		vs := versions[snap.EntityID]
		if len(vs) == 0 || vs[len(vs)-1] != snap.Version {
			t.Errorf("entity %s: arrived %v; want the last to be %d, as in its snapshot", snap.EntityID, vs,
				snap.Version)
		}
	}
	last := map[string]int64{}
	for _, e := range got.all() {
		// What was being handled when the first run ended may come again, as it stands by then.
		if before := last[e.EntityID]; e.Version < before || (!e.FromSnapshot && before > 0 && e.Version > before+1) {
			t.Errorf("entity %s: %d came after %d; want nothing skipped after its first state, and nothing to go "+
				"back", e.EntityID, e.Version, before)
		}
		last[e.EntityID] = e.Version
	}
	for _, e := range got.all() {
		if e.EntityID == "e7" && e.FromSnapshot {
			t.Errorf("a deleted entity came from the snapshots: %+v", e)
		}
	}
}

func TestStartPositions(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var all, now record
	b.publish(order{ID: "a", N: 1}, order{ID: "a", N: 2})
	b.run(orders.Subscriber("all", all.handle))
	all.await(t, 2)
	b.run(orders.Subscriber("now", now.handle, events.From(events.FromNow)))
	eventually(t, "it is registered", func() (string, bool) {
		s, err := ops.Subscribers(context.Background(), b.box, ops.Page{})
		return fmt.Sprint(s), err == nil && len(s) == 2
	})
	b.publish(order{ID: "a", N: 3})
	if e := now.await(t, 1)[0]; e.Version != 3 {
		t.Errorf("from now on: %+v; want version 3", e)
	}
	invoices := events.Define("invoice", orderID, events.Config{})
	err := b.box.Run(t.Context(), invoices.Subscriber("now", now.handle))
	wantError(t, err, events.ErrInvalid, `"now"`, `"order"`, `"invoice"`)
	noError(t, events.Unregister(context.Background(), b.box, "all"))
	wantError(t, events.Unregister(context.Background(), b.box, "nobody"), events.ErrUnknownSubscriber)
}

// The start from snapshots goes together with transactions, with batches, and with the policies.
func TestBootstrapWithEveryHandler(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const entities = 250
	b := newBed(t)
	b.publishMany(entities)
	b.publishMany(entities)
	b.exec(`CREATE TABLE public.states (id text, version bigint)`)
	var batches record
	f := failing{bad: "e7"}
	from := events.From(events.FromSnapshots)
	b.run(
		orders.SubscriberInTx("tx", func(ctx context.Context, tx *outbox.OwnedTx, e events.Event[order]) error {
			_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.states VALUES ($1, $2)`, e.EntityID, e.Version)
			return err
		}, from, events.PollInterval(testPoll)),
		orders.BatchSubscriber("batch", func(ctx context.Context, es []events.Event[order]) error {
			for _, e := range es {
				_ = batches.handle(ctx, e)
			}
			return nil
		}, from, events.PollInterval(testPoll)),
		orders.Subscriber("park", f.handle, from, events.OnFailure(events.Park), events.MaxAttempts(1),
			events.PollInterval(testPoll)))
	b.publishMany(entities)
	for _, name := range []string{"tx", "batch", "park"} {
		eventually(t, name+" has caught up", func() (string, bool) {
			s := b.stats(name)
			return fmt.Sprintf("%+v", s), !s.Bootstrapping && s.Name != ""
		})
		b.reachHead(name)
	}
	if n := value[int](b, `SELECT count(*) FROM (SELECT id FROM public.states GROUP BY id HAVING
		max(version) = 3 AND count(*) = count(DISTINCT version)) x`); n != entities {
		t.Errorf("%d entities were written to their last version, each version once; want all %d", n, entities)
	}
	for id, versions := range batches.versions() {
		if versions[len(versions)-1] != 3 || !slices.IsSorted(versions) {
			t.Errorf("entity %s: arrived %v in batches", id, versions)
		}
	}
	for _, p := range b.parked("park") {
		if !strings.HasPrefix(p.EntityID, "e7") {
			t.Errorf("parked: %+v", p)
		}
	}
	for _, p := range b.parked("park") {
		f.mended.Store(p.EntityID, true)
	}
	_, err := events.RetryAllParked(ctx, b.box, "park")
	noError(t, err)
	b.awaitNothingParked("park")
	for id, versions := range f.versions() {
		if versions[len(versions)-1] != 3 || !slices.IsSorted(versions) {
			t.Errorf("entity %s: arrived %v", id, versions)
		}
	}
}
