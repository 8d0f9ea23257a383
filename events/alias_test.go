package events_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// purchases are the orders under their new name; older processes know them as orders.
var purchases = events.Define("purchase", orderID, events.Config{Aliases: []string{"sale", "order"}})

// publishTo publishes a state of a stream and returns its version.
func (b *bed) publishTo(s *events.Stream[order], o order) int64 {
	b.t.Helper()
	var p events.Published
	b.in(func(tx *outbox.OwnedTx) (err error) {
		p, err = s.Publish(context.Background(), tx, o)
		return err
	})
	return p.Version
}

// Old and new processes publish the same entities side by side, in every way there is: each entity
// has one line of versions, and they come in its order.
func TestRenamedEntityKeepsItsOrder(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	sales := events.Define("sale", orderID, events.Config{})
	renamedOnce := events.Define("order", orderID, events.Config{Aliases: []string{"sale"}})
	var got record
	b.run(purchases.Subscriber("all", got.handle, events.Concurrency(4), events.From(events.FromBeginning)))
	const rounds = 40
	var wg sync.WaitGroup
	publish := func(fn func(tx *outbox.OwnedTx, i int) error) {
		wg.Go(func() {
			for i := range rounds {
				if err := b.box.InTx(ctx, func(tx *outbox.OwnedTx) error { return fn(tx, i) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n, s := range []*events.Stream[order]{sales, renamedOnce, purchases, purchases} {
		publish(func(tx *outbox.OwnedTx, i int) error {
			_, err := s.Publish(ctx, tx, order{ID: fmt.Sprint("e", i%3), N: n})
			return err
		})
		publish(func(tx *outbox.OwnedTx, i int) error {
			_, err := s.PublishBatch(ctx, tx, []order{{ID: "e2", N: n}, {ID: "e0", N: n}, {ID: "e2", N: n},
				{ID: fmt.Sprint("f", i), N: n}})
			return err
		})
		publish(func(tx *outbox.OwnedTx, i int) error {
			_, err := s.Delete(ctx, tx, fmt.Sprint("e", i%3))
			return err
		})
	}
	wg.Wait()
	all := got.await(t, 4*rounds*(1+4+1))
	last := got.inOrder(t)
	for id, version := range last {
		i := slices.IndexFunc(all, func(e events.Event[order]) bool { return e.EntityID == id && e.Version == version })
		if i < 0 {
			continue // inOrder has said so
		}
		snap, err := purchases.Snapshot(ctx, b.box, id)
		if all[i].Deleted != errors.Is(err, events.ErrNotFound) || !all[i].Deleted &&
			(err != nil || snap.Version != version || snap.State != all[i].State) {
			t.Errorf("%s: the snapshot is %+v, %v; the last event was %+v", id, snap, err, all[i])
		}
		if all[i].EntityType != "purchase" {
			t.Errorf("an event of %q", all[i].EntityType)
		}
	}
}

// A subscriber goes on from where it was: its owner under the previous name ends, and its process lives on.
func TestSubscriberFollowsTheRename(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var before, after record
	stopOld := b.run(orders.Subscriber("indexer", before.handle))
	b.publishMany(20)
	before.await(t, 20)
	newer := bedOn(t, b.pool, outbox.Config{})
	stopNew := newer.run(purchases.Subscriber("indexer", after.handle))
	eventually(t, "the subscriber is taken over", func() (string, bool) {
		s := b.stats("indexer")
		return fmt.Sprintf("%+v", s), s.EntityType == "purchase" && s.Owner != ""
	})
	b.publishTo(purchases, order{ID: "e1", N: 100})
	b.publish(order{ID: "e1", N: 101})
	b.publishTo(purchases, order{ID: "e1", N: 102})
	eventually(t, "all that came after", func() (string, bool) {
		v := after.versions()["e1"]
		return fmt.Sprint(v), len(v) > 0 && v[len(v)-1] == 4
	})
	if v := after.versions()["e1"]; !slices.Equal(v[len(v)-3:], []int64{2, 3, 4}) {
		t.Errorf("versions of e1 came as %v", v)
	}
	eventually(t, "the old process says why it stands by", func() (string, bool) {
		return b.logs.String(), strings.Contains(b.logs.String(), "entity type was renamed")
	})
	stopOld() // checks that Run has not failed
	again := bedOn(t, b.pool, outbox.Config{})
	stopAgain := again.run(orders.Subscriber("indexer", before.handle))
	eventually(t, "nor when it is started again", func() (string, bool) {
		return again.logs.String(), strings.Contains(again.logs.String(), "entity type was renamed")
	})
	stopAgain()
	if n := before.len(); n != 20 {
		t.Errorf("the old process had %d events; want 20", n)
	}
	stopNew()
	const own = `SELECT count(*) FROM public.strunk_own('indexer', 7, 0, -1, 1, 'host', 30000, $1)`
	if n := value[int](b, own, "order"); n != 0 {
		t.Error("one that has not looked since the rename may own the subscriber")
	}
	if n := value[int](b, own, "purchase"); n != 1 {
		t.Error("nobody may own it")
	}
}

// The snapshots are delivered from the first on again: some under the new name lie behind the mark.
func TestRenameWhileSnapshotsAreDelivered(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.publish(order{ID: "a", N: 1}, order{ID: "c", N: 1}, order{ID: "d", N: 1})
	b.publishTo(purchases, order{ID: "b", N: 1})
	relayed := b.run()
	eventually(t, "all is in the feed, before the subscriber begins at its head", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'pending'`)
		return fmt.Sprint(n), n == 0
	})
	relayed()
	start := []events.SubscribeOption{events.From(events.FromSnapshots), events.Concurrency(1)}
	stop := b.run(orders.Subscriber("indexer", func(ctx context.Context, e events.Event[order]) error {
		if e.EntityID == "d" {
			<-ctx.Done()
		}
		return ctx.Err()
	}, append(start, events.Timeout(time.Hour))...))
	eventually(t, "the mark is behind b", func() (string, bool) {
		mark := value[string](b, `SELECT coalesce(max(bootstrap_mark), '') FROM public.strunk_subscribers`)
		return mark, mark == "c"
	})
	var got record
	newer := bedOn(t, b.pool, outbox.Config{})
	newer.run(purchases.Subscriber("indexer", got.handle, start...)) // which cancels the handler
	eventually(t, "what lies under the new name", func() (string, bool) {
		v := got.versions()
		return fmt.Sprint(v), slices.Contains(v["b"], 1) && slices.Contains(v["d"], 1)
	})
	stop()
}

// What was published under the new name before any subscriber knew it has been passed, and comes again.
func TestSubscriberThatLearnsTheNameLate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		start        events.Start
	}{
		{"from the beginning", "it reads the feed", events.FromBeginning},
		{"from snapshots", "it has read those of the previous name", events.FromSnapshots},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.publish(order{ID: "a", N: 1}, order{ID: "b", N: 1})
			var before, after record
			stopOld := b.run(orders.Subscriber("indexer", before.handle, events.From(c.start)))
			before.await(t, 2)
			b.publishTo(purchases, order{ID: "a", N: 2})
			b.publishTo(purchases, order{ID: "c", N: 1})
			b.publish(order{ID: "b", N: 2})
			before.await(t, 3)
			b.reachHead("indexer")
			stopOld()
			b.run(purchases.Subscriber("indexer", after.handle, events.From(c.start)))
			eventually(t, c.reason, func() (string, bool) {
				v := after.versions()
				return fmt.Sprint(v), slices.Contains(v["a"], 2) && slices.Contains(v["c"], 1)
			})
		})
	}
}

// Copies that wait are of the new name then, and what comes later waits behind them.
func TestParkedEntityFollowsTheRename(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	f := failing{bad: "bad"}
	opts := []events.SubscribeOption{events.OnFailure(events.Park), events.MaxAttempts(1), events.Retry(atOnce)}
	stop := b.run(orders.Subscriber("parks", f.handle, opts...))
	b.publish(order{ID: "bad", N: 1}, order{ID: "bad", N: 2}, order{ID: "good", N: 1})
	f.await(t, 2)
	b.awaitWaiting("parks")
	b.reachHead("parks")
	stop()
	b.run(purchases.Subscriber("parks", f.handle, opts...))
	b.publishTo(purchases, order{ID: "bad", N: 3})
	b.publishTo(purchases, order{ID: "good", N: 2})
	f.await(t, 3)
	eventually(t, "the later event is held behind", func() (string, bool) {
		p := b.parked("parks")
		return fmt.Sprintf("%+v", p), len(p) == 1 && p[0].EntityType == "purchase" && p[0].Events == 2
	})
	f.mended.Store("bad", true)
	noError(t, events.RetryParked(t.Context(), b.box, "parks", "bad"))
	f.await(t, 5)
	f.inOrder(t)
}

func TestSnapshotsUnderAllNames(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newBed(t)
	sales := events.Define("sale", orderID, events.Config{})
	// of each three: published under a previous name alone, under the new one, and under a previous one
	// since
	for i := range 30 {
		s := order{ID: fmt.Sprintf("e%02d", i), N: 1}
		b.publishTo(sales, s)
		if s.N = 2; i%3 > 0 {
			b.publishTo(purchases, s)
		}
		if s.N = 3; i%3 > 1 {
			b.publish(s)
		}
	}
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := purchases.Delete(ctx, tx, "e00")
		return err
	})
	b.publishTo(purchases, order{ID: "only", N: 1})
	want := func(when string) {
		t.Helper()
		n := 0
		for snap, err := range purchases.Snapshots(ctx, b.box) {
			noError(t, err)
			var i int
			if _, err := fmt.Sscanf(snap.EntityID, "e%d", &i); err != nil {
				i = 0
			}
			one, err := purchases.Snapshot(ctx, b.box, snap.EntityID)
			if snap.State.N != i%3+1 || snap.Version != int64(i%3+1) || err != nil || one != snap {
				t.Errorf("%s: %+v; alone %+v, %v", when, snap, one, err)
			}
			n++
		}
		if n != 30 {
			t.Errorf("%s: %d snapshots; want 30", when, n)
		}
	}
	want("under three names")
	var got record
	b.run(purchases.Subscriber("new", got.handle, events.From(events.FromSnapshots)))
	for _, e := range got.await(t, 30) {
		if e.EntityID == "e00" || !e.FromSnapshot {
			t.Errorf("a new subscriber was given %+v", e)
		}
	}
	// The end of the renaming: nothing is lost, and the versions go on.
	for _, previous := range []string{"sale", "order"} {
		if _, err := events.AdoptSnapshots(ctx, b.box, previous, "purchase"); err != nil {
			t.Fatal(err)
		}
	}
	want("adopted")
	if n := value[int](b, `SELECT count(*) FROM public.strunk_snapshots WHERE entity_type <> 'purchase'`); n != 0 {
		t.Errorf("%d snapshots are left under previous names", n)
	}
	alone := events.Define("purchase", orderID, events.Config{})
	for id, version := range map[string]int64{"e00": 3, "e01": 3, "e02": 4} {
		if v := b.publishTo(alone, order{ID: id}); v != version {
			t.Errorf("%s goes on with version %d; want %d", id, v, version)
		}
	}
	if n, err := events.AdoptSnapshots(ctx, b.box, "sale", "purchase"); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// A renamed type is published through database/sql as well, and beside other types.
func TestRenamedTypeThroughDatabaseSQL(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newBed(t)
	b.publish(order{ID: "a", N: 1})
	other := events.Define("other", orderID, events.Config{})
	twin := events.Define("purchase", orderID, events.Config{Aliases: []string{"sale", "order"}})
	for i, driver := range []string{"pgx", "postgres"} {
		db, err := sql.Open(driver, outboxtest.DSN(b.pool))
		noError(t, err)
		tx, err := db.BeginTx(ctx, nil)
		noError(t, err)
		done, err := events.PublishAll(ctx, b.box.SQLTx(tx), other.Item(order{ID: "a"}),
			purchases.Item(order{ID: "a"}), twin.Tombstone("b"))
		noError(t, err)
		noError(t, tx.Commit())
		noError(t, db.Close())
		if n := int64(i + 1); done[0].Version != n || done[1].Version != n+1 || done[2].Version != n {
			t.Errorf("%s: %+v", driver, done)
		}
	}
}

func TestBadAliases(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	sub := func(entityType string, aliases ...string) outbox.Binding {
		return events.Define(entityType, orderID, events.Config{Aliases: aliases}).Subscriber("s-"+entityType,
			(&record{}).handle)
	}
	for _, c := range []struct {
		name, reason string
		bindings     []outbox.Binding
		want         string
	}{
		{"itself", "it says nothing", []outbox.Binding{sub("a", "a")},
			`define "a": Config.Aliases: "a": it is the entity type itself`},
		{"twice", "one of them is a slip", []outbox.Binding{sub("a", "b", "b")},
			`Config.Aliases: "b": it is there twice`},
		{"no name", "it can be no entity type's", []outbox.Binding{sub("a", "")}, `Config.Aliases: "": the name`},
		{"another's", "its subscriber would miss what comes under the new " +
			"name", []outbox.Binding{sub("a", "b"), sub("b")},
			`the entity type "a" has the alias "b", which another binding has as its name`},
		{"shared", "it can have become but " +
			"one", []outbox.Binding{sub("a", "c"), sub("b", "c")},
			`the entity type "a" and "b" both have the alias "c"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := b.box.Run(t.Context(), c.bindings...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run: %v; want %q: %s", err, c.want, c.reason)
			}
		})
	}
	bad := events.Define("a", orderID, events.Config{Aliases: []string{"a"}})
	err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := bad.Publish(t.Context(), tx, order{ID: "x"})
		return err
	})
	wantError(t, err, events.ErrInvalid, "Aliases")
	_, err = events.AdoptSnapshots(t.Context(), b.box, "a", "a")
	wantError(t, err, events.ErrInvalid, "one")
	_, err = events.AdoptSnapshots(t.Context(), nil, "a", "b")
	wantError(t, err, events.ErrInvalid, "box")
	_, err = events.AdoptSnapshots(t.Context(), b.box, "", "b")
	wantError(t, err, events.ErrInvalid, "name")
}
