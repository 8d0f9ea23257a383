package events_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

// publishIn publishes in a transaction of the test's own.
func (b *bed) publishIn(tx pgx.Tx, states ...order) {
	b.t.Helper()
	for _, o := range states {
		if _, err := orders.Publish(context.Background(), b.box.Tx(tx), o); err != nil {
			b.t.Error(err)
		}
	}
}

// The transactions that take their number first commit last, one by one, each after a later one has arrived.
func TestLateCommitIsNeverSkipped(t *testing.T) {
	t.Parallel()
	const late = 9
	ctx := context.Background()
	b := newBed(t)
	var got record
	b.run(orders.Subscriber("late", got.handle))
	open := make([]pgx.Tx, late)
	for i := range open {
		open[i] = b.begin(pgx.TxOptions{})
		b.publishIn(open[i], order{ID: fmt.Sprintf("late-%d", i)})
		inner, err := open[i].Begin(ctx) // a savepoint
		noError(t, err)
		b.publishIn(inner, order{ID: fmt.Sprintf("undone-%d", i)})
		noError(t, inner.Rollback(ctx))
		inner, err = open[i].Begin(ctx)
		noError(t, err)
		b.publishIn(inner, order{ID: fmt.Sprintf("late-%d", i)})
		noError(t, inner.Commit(ctx))
	}
	b.publish(order{ID: "first to commit"})
	got.await(t, 1)
	want := 1
	for _, i := range rand.Perm(late) {
		if i%3 == 0 {
			noError(t, open[i].Rollback(ctx))
			continue
		}
		noError(t, open[i].Commit(ctx))
		want += 2
		got.await(t, want)
	}
	want += underLoad(t, b, &got)
	got.await(t, want)
	b.reachHead("late")
	for _, e := range got.all() {
		if e.EntityID[:4] == "undo" {
			t.Errorf("an event of a rolled-back savepoint arrived: %+v", e)
		}
	}
	for i := range late {
		if n := len(got.versions()[fmt.Sprintf("late-%d", i)]); (i%3 == 0) != (n == 0) {
			t.Errorf("late-%d: %d events arrived; want them if and only if its transaction was committed", i, n)
		}
	}
	got.inOrder(t)
	if n := got.len(); n != want {
		t.Errorf("%d events arrived; want %d, each once", n, want)
	}
	eventually(t, "the numbers that were rolled back are forgotten", func() (string, bool) {
		missing := value[string](b, `SELECT missing::text FROM public.strunk_feed ORDER BY slot DESC LIMIT 1`)
		return missing, missing == "{}"
	})
}

// underLoad has several publishers commit, roll back and use savepoints at random, and returns how many events they
// committed.
func underLoad(t *testing.T, b *bed, got *record) int {
	const publishers, each = 6, 25
	var wg sync.WaitGroup
	var mu sync.Mutex
	committed := 0
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("load-%d", p)
				kept := 0
				err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
					for range 1 + rand.IntN(3) {
						b.publishIn(tx.Pgx(), order{ID: id, N: i})
						kept++
					}
					inner, err := tx.Pgx().Begin(context.Background())
					if err != nil {
						return err
					}
					b.publishIn(inner, order{ID: "undone in " + id})
					if err := inner.Rollback(context.Background()); err != nil {
						return err
					}
					if rand.IntN(3) == 0 {
						return pgx.ErrTxClosed // roll back
					}
					return nil
				})
				if err == nil {
					mu.Lock()
					committed += kept
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return committed
}

// While another session holds an open transaction that has written, and so keeps back every horizon
// of the server, events arrive, those included that follow rolled-back ones.
func TestUnrelatedLongTransactionDoesNotStall(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	b.exec(`CREATE TABLE public.unrelated (n int)`)
	long := b.begin(pgx.TxOptions{})
	_, err := long.Exec(ctx, `INSERT INTO public.unrelated VALUES (1)`)
	noError(t, err)
	var got record
	b.run(orders.Subscriber("pace", got.handle))
	const rounds = 20
	for i := range rounds {
		undone := b.begin(pgx.TxOptions{})
		b.publishIn(undone, order{ID: "undone"})
		b.publish(order{ID: "a", N: i}, order{ID: "b", N: i})
		noError(t, undone.Rollback(ctx))
		got.await(t, 2*(i+1))
	}
	got.inOrder(t)
	if missing := value[int](b, `SELECT (SELECT sum(upper(m) - lower(m)) FROM unnest(missing) m)
		FROM public.strunk_feed ORDER BY slot DESC LIMIT 1`); missing != rounds {
		t.Errorf("%d numbers are kept as missing; want the %d rolled back: the long transaction might have drawn "+
			"them", missing, rounds)
	}
	noError(t, long.Rollback(ctx))
	b.publish(order{ID: "after"})
	eventually(t, "the missing numbers are forgotten", func() (string, bool) {
		missing := value[string](b, `SELECT missing::text FROM public.strunk_feed ORDER BY slot DESC LIMIT 1`)
		return missing, missing == "{}"
	})
}

// tx is what one publisher does in one transaction of the property test.
type planned struct {
	Entities []int
	Batch    bool
	Rollback bool
	Pause    bool
}

// Whatever publishers do side by side, each entity's versions arrive as 1, 2, 3 and so on, and the
// last is the snapshot's.
func TestEntityOrderEqualsCommitOrder(t *testing.T) {
	t.Parallel()
	const publishers, entities = 8, 20
	b := newBed(t)
	var got record
	b.run(orders.Subscriber("ordered", got.handle, events.Concurrency(4)))
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		plan := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) planned {
			return planned{
				Entities: rapid.SliceOfN(rapid.IntRange(0, entities-1), 1, 4).Draw(rt, "entities"),
				Batch:    rapid.Bool().Draw(rt, "batch"),
				Rollback: rapid.IntRange(0, 4).Draw(rt, "fate") == 0,
				Pause:    rapid.Bool().Draw(rt, "pause"),
			}
		}), 1, 5), publishers, publishers).Draw(rt, "plan")
		before := got.len()
		want := b.carryOut(round, plan)
		got.await(t, before+want)
	})
	b.reachHead("ordered")
	last := got.inOrder(t)
	for snap, err := range orders.Snapshots(context.Background(), b.box) {
		noError(t, err)
		if last[snap.EntityID] != snap.Version {
			t.Errorf("entity %q: the last version that arrived is %d, the snapshot's is %d", snap.EntityID,
				last[snap.EntityID], snap.Version)
		}
		delete(last, snap.EntityID)
	}
	if len(last) > 0 {
		t.Errorf("events arrived of entities without a snapshot: %v", last)
	}
}

// carryOut has each publisher work off its plan beside the others, and returns how many events were committed.
func (b *bed) carryOut(round int, plan [][]planned) int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	committed := 0
	for _, own := range plan {
		wg.Go(func() {
			for _, p := range own {
				if b.carryOutOne(round, p) {
					mu.Lock()
					committed += len(p.Entities)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return committed
}

func (b *bed) carryOutOne(round int, p planned) bool {
	ctx := context.Background()
	states := make([]order, len(p.Entities))
	for i, n := range p.Entities {
		states[i] = order{ID: fmt.Sprintf("r%d-%02d", round, n)}
	}
	err := b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if p.Batch {
			if _, err := orders.PublishBatch(ctx, tx, states); err != nil {
				return err
			}
		} else {
			// One by one, so in one order everywhere: it is the caller who locks them here.
			slices.SortFunc(states, func(a, b order) int { return map[bool]int{true: -1, false: 1}[a.ID < b.ID] })
			for _, o := range states {
				if _, err := orders.Publish(ctx, tx, o); err != nil {
					return err
				}
			}
		}
		if p.Pause {
			if _, err := tx.Pgx().Exec(ctx, `SELECT pg_catalog.pg_sleep(0.002)`); err != nil {
				return err
			}
		}
		if p.Rollback {
			return pgx.ErrTxClosed
		}
		return nil
	})
	if err != nil && !p.Rollback {
		b.t.Errorf("publishing: %v", err)
	}
	return err == nil
}

// A subscriber of a type of which nothing is published moves to the head with the feed, and misses
// nothing of what comes.
func TestQuietSubscriberAdvancesWithoutSkipping(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	invoices := events.Define("invoice", orderID, events.Config{})
	var got record
	b.run(invoices.Subscriber("quiet", got.handle, events.PollInterval(testPoll)))
	// Invoices that are published while the feed of orders runs on, one of them late.
	late := b.begin(pgx.TxOptions{})
	_, err := invoices.Publish(ctx, b.box.Tx(late), order{ID: "late"})
	noError(t, err)
	for round := range 3 {
		b.publishMany(50)
		b.reachHead("quiet")
		if n := got.len(); n != round {
			t.Fatalf("%d invoices have come; want %d", n, round)
		}
		b.in(func(tx *outbox.OwnedTx) error { _, err := invoices.Publish(ctx, tx, order{ID: "in time"}); return err })
		got.await(t, round+1)
	}
	noError(t, late.Commit(ctx))
	all := got.await(t, 4)
	if all[3].EntityID != "late" {
		t.Errorf("the last is %+v; want the invoice that was committed last", all[3])
	}
	got.inOrder(t)
	if s := b.stats("quiet"); s.Cursor < 150 {
		t.Errorf("the cursor is at %d; want it past the 150 orders", s.Cursor)
	}
}
