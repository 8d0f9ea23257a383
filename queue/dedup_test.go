package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// blocked waits until a transaction waits for a lock.
func blocked(b *bed, tx *outbox.OwnedTx) {
	b.t.Helper()
	eventually(b.t, "the transaction waits for the other one", func() (string, bool) {
		waits := value[bool](b, `SELECT cardinality(pg_blocking_pids($1)) > 0`, tx.Pgx().Conn().PgConn().PID())
		return fmt.Sprint(waits), waits
	})
}

func begin(b *bed, level pgx.TxIsoLevel) *outbox.OwnedTx {
	b.t.Helper()
	tx, err := b.box.Begin(context.Background(), outbox.WithTxOptions(pgx.TxOptions{IsoLevel: level}))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// usable checks that a transaction goes on after an error of ours, and commits.
func usable(t testing.TB, tx *outbox.OwnedTx) {
	t.Helper()
	var one int
	if err := tx.Pgx().QueryRow(context.Background(), `SELECT 1`).Scan(&one); err != nil {
		t.Errorf("the caller's transaction is broken: %v", err)
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Errorf("the caller's transaction cannot be committed: %v", err)
	}
}

type enqueueResult struct {
	done queue.Enqueued
	err  error
}

// enqueueAside enqueues in another goroutine, for it may have to wait; UntilDone, or in a mode.
func enqueueAside(tx outbox.Tx, q *queue.Queue[note], key string, mode ...queue.DedupMode) <-chan enqueueResult {
	ch := make(chan enqueueResult, 1)
	go func() {
		done, err := q.Enqueue(context.Background(), tx, note{key},
			queue.Dedup(key, append(mode, queue.UntilDone)[0]))
		ch <- enqueueResult{done, err}
	}()
	return ch
}

func mustEnqueue(b *bed, tx outbox.Tx, q *queue.Queue[note], key string) int64 {
	b.t.Helper()
	r := receive(b.t, "the enqueue returns", enqueueAside(tx, q, key))
	if r.err != nil || r.done.Duplicate {
		b.t.Fatalf("enqueue %q: %+v, %v; want a new task", key, r.done, r.err)
	}
	return r.done.ID
}

func TestDedupNeverAbortsCallerTx(t *testing.T) {
	t.Parallel()
	t.Run("the holder is committed", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("dedup", queue.Config{})
		first := put(b, q, note{"first"}, queue.DedupKey("k"))
		tx := begin(b, pgx.ReadCommitted)
		if r := receive(t, "answer", enqueueAside(tx, q, "k")); r.err != nil || !r.done.Duplicate ||
			r.done.ID != first {
			t.Errorf("%+v, %v; want a duplicate of %d", r.done, r.err, first)
		}
		usable(t, tx)
		if counts := b.counts(q.Name()); counts[queue.StatusPending] != 1 {
			t.Errorf("%v; want one pending task", counts)
		}
	})
	t.Run("the holder commits while the second waits", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("dedup", queue.Config{})
		one, two := begin(b, pgx.ReadCommitted), begin(b, pgx.ReadCommitted)
		first := mustEnqueue(b, one, q, "k")
		answer := enqueueAside(two, q, "k")
		blocked(b, two)
		if err := one.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := receive(t, "answer", answer); r.err != nil || !r.done.Duplicate || r.done.ID != first {
			t.Errorf("%+v, %v; want a duplicate of %d", r.done, r.err, first)
		}
		usable(t, two)
	})
	t.Run("the holder rolls back while the second waits", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("dedup", queue.Config{})
		one, two := begin(b, pgx.ReadCommitted), begin(b, pgx.ReadCommitted)
		mustEnqueue(b, one, q, "k")
		answer := enqueueAside(two, q, "k")
		blocked(b, two)
		if err := one.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := receive(t, "answer", answer); r.err != nil || r.done.Duplicate {
			t.Errorf("%+v, %v; want a new task", r.done, r.err)
		}
		usable(t, two)
	})
	t.Run("two transactions wait for each other", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("dedup", queue.Config{})
		one, two := begin(b, pgx.ReadCommitted), begin(b, pgx.ReadCommitted)
		mustEnqueue(b, one, q, "a")
		mustEnqueue(b, two, q, "b")
		answers := map[*outbox.OwnedTx]<-chan enqueueResult{one: enqueueAside(one, q, "b")}
		blocked(b, one)
		answers[two] = enqueueAside(two, q, "a")
		victim, other := one, two
		var r enqueueResult
		select {
		case r = <-answers[one]:
		case r = <-answers[two]:
			victim, other = two, one
		case <-time.After(soon):
			t.Fatal("the deadlock was not broken")
		}
		wantError(t, r.err, queue.ErrDedupBusy, "strunk/queue: enqueue")
		usable(t, victim)
		if r := receive(t, "the other one's answer", answers[other]); r.err != nil || !r.done.Duplicate {
			t.Errorf("%+v, %v; want a duplicate of the victim's first task", r.done, r.err)
		}
		usable(t, other)
		if n := b.counts(q.Name())[queue.StatusPending]; n != 2 {
			t.Errorf("%d tasks; want the two that were enqueued first", n)
		}
	})
	t.Run("a victim in its second round keeps nothing of the call", func(t *testing.T) {
		t.Parallel()
		secondRoundVictim(t)
	})
	t.Run("the caller's lock_timeout runs out", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("dedup", queue.Config{})
		one, two := begin(b, pgx.ReadCommitted), begin(b, pgx.ReadCommitted)
		mustEnqueue(b, one, q, "k")
		if _, err := two.Pgx().Exec(t.Context(), `SET LOCAL lock_timeout = '20ms'`); err != nil {
			t.Fatal(err)
		}
		wantError(t, receive(t, "answer", enqueueAside(two, q, "k")).err, queue.ErrDedupBusy)
		wantError(t, receive(t, "answer", enqueueAside(two, q, "k", queue.WhileWaiting)).err, queue.ErrDedupBusy)
		usable(t, two)
	})
	t.Run("stricter isolation", func(t *testing.T) {
		t.Parallel()
		for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
			b := newBed(t)
			q := queue.Define[note]("dedup", queue.Config{})
			tx := begin(b, level)
			if _, err := tx.Pgx().Exec(t.Context(), `SELECT 1`); err != nil { // takes the snapshot
				t.Fatal(err)
			}
			first := put(b, q, note{"first"}, queue.DedupKey("k"))
			r := receive(t, "answer", enqueueAside(tx, q, "k"))
			var pgErr *pgconn.PgError
			if !errors.As(r.err, &pgErr) || pgErr.Code != pgerrcode.SerializationFailure {
				t.Errorf("%s: %+v, %v; want PostgreSQL's own 40001, for a retry", level, r.done, r.err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			again := begin(b, level)
			if r := receive(t, "answer", enqueueAside(again, q, "k")); r.err != nil || r.done.ID != first {
				t.Errorf("%s, tried again: %+v, %v; want a duplicate of %d", level, r.done, r.err, first)
			}
			usable(t, again)
		}
	})
}

// secondRoundVictim: the first round of a call inserts one task and finds the other's key held; the
// holder is gone when it looks for it; and in the second round the call becomes a deadlock's
// victim. Nothing of the call may be left.
func secondRoundVictim(t *testing.T) {
	b := newBed(t)
	q := queue.Define[note]("dedup", queue.Config{})
	// Between the rounds the victim waits for the test.
	b.exec(`CREATE FUNCTION public.pause() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$`)
	b.exec(`CREATE TRIGGER pause AFTER INSERT ON public.strunk_outbox_tasks FOR EACH STATEMENT
		WHEN (current_setting('test.pause', true) = 'on') EXECUTE FUNCTION public.pause()`)
	gate := begin(b, pgx.ReadCommitted)
	if _, err := gate.Pgx().Exec(t.Context(), `SELECT pg_advisory_xact_lock(1)`); err != nil {
		t.Fatal(err)
	}
	holder := put(b, q, note{"k"}, queue.DedupKey("k"))
	victim, rival := begin(b, pgx.ReadCommitted), begin(b, pgx.ReadCommitted)
	// Whoever looks for a deadlock when the other waits already is its victim. Each looks once.
	looksAfter(t, victim, "10s")
	looksAfter(t, rival, "1h")
	mustEnqueue(b, victim, q, "mine")
	if _, err := victim.Pgx().Exec(t.Context(), `SET LOCAL test.pause = 'on'`); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := queue.EnqueueAll(context.Background(), victim, q.Item(note{"a"}, queue.DedupKey("a")),
			q.Item(note{"k"}, queue.DedupKey("k")))
		answer <- err
	}()
	blocked(b, victim)
	b.exec(`DELETE FROM public.strunk_outbox_tasks WHERE id = $1`, holder)
	mustEnqueue(b, rival, q, "k")
	if err := gate.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the victim waits for the rival", func() (string, bool) {
		waits := value[bool](b, `SELECT
			$2 = ANY (pg_blocking_pids($1))`, victim.Pgx().Conn().PgConn().PID(), rival.Pgx().Conn().PgConn().PID())
		return fmt.Sprint(waits), waits
	})
	last := enqueueAside(rival, q, "mine")
	wantError(t, receive(t, "the victim's answer", answer), queue.ErrDedupBusy, "strunk/queue: enqueue all")
	usable(t, victim)
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE dedup_key = 'a'`); n != 0 {
		t.Errorf("%d tasks of the first round are left; want 0, the call was undone", n)
	}
	if r := receive(t, "the rival's answer", last); r.err != nil || !r.done.Duplicate {
		t.Errorf("%+v, %v; want a duplicate", r.done, r.err)
	}
	usable(t, rival)
}

// looksAfter sets how long a transaction waits before its server process looks for a deadlock: without a superuser's
// rights that is as the server has it.
func looksAfter(t *testing.T, tx *outbox.OwnedTx, wait string) {
	t.Helper()
	_, err := tx.Pgx().Exec(t.Context(), `SELECT set_config('deadlock_timeout', $1, true)
		FROM pg_catalog.pg_roles WHERE rolname = session_user AND rolsuper`, wait)
	noError(t, err)
}

// The key holds while its task is scheduled, pending or claimed, and no longer.
func TestDedupKeyHoldsUntilTheTaskEnds(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("holds", queue.Config{Retry: atOnce})
	enqueue := func(key string, opts ...queue.EnqueueOption) (done queue.Enqueued) {
		t.Helper()
		b.in(func(tx *outbox.OwnedTx) (err error) {
			done, err = q.Enqueue(t.Context(), tx, note{key}, append(opts, queue.DedupKey(key))...)
			return err
		})
		return done
	}
	release, began := make(chan error), make(chan int64, 10)
	scheduled := enqueue("scheduled", queue.Delay(time.Hour))
	pending := enqueue("pending", queue.MaxAttempts(1))
	for _, want := range []queue.Enqueued{scheduled, pending} {
		key := map[int64]string{scheduled.ID: "scheduled", pending.ID: "pending"}[want.ID]
		if got := enqueue(key); !got.Duplicate || got.ID != want.ID {
			t.Errorf("%s: %+v; want a duplicate of %d", key, got, want.ID)
		}
	}
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { began <- task.ID; return <-release },
		queue.Concurrency(1)))
	receive(t, "the pending task is claimed", began)
	if got := enqueue("pending"); !got.Duplicate || got.ID != pending.ID {
		t.Errorf("claimed: %+v; want a duplicate of %d", got, pending.ID)
	}
	release <- nil
	reach(b, q, pending.ID, queue.StatusDelivered)
	next := enqueue("pending", queue.MaxAttempts(1))
	if next.Duplicate {
		t.Error("the key of a delivered task still held")
	}
	receive(t, "the next task is claimed", began)
	release <- errors.New("no")
	reach(b, q, next.ID, queue.StatusDead)
	if last := enqueue("pending"); last.Duplicate {
		t.Error("the key of a dead letter still held")
	}
	receive(t, "the last task is claimed", began)
	release <- nil
}

func TestDedupInBatches(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q, other := queue.Define[note]("batch-a", queue.Config{}), queue.Define[note]("batch-b", queue.Config{})
	held := put(b, q, note{"held"}, queue.DedupKey("held"))
	key := queue.DedupKey
	var done []queue.Enqueued
	b.in(func(tx *outbox.OwnedTx) (err error) {
		done, err = queue.EnqueueAll(t.Context(), tx,
			q.Item(note{"0"}, key("z")), q.Item(note{"1"}, key("held")), q.Item(note{"2"}), q.Item(note{"3"}, key("z")),
			other.Item(note{"4"}, key("z")), q.Item(note{"5"}, key("a")), other.Item(note{"6"}, key("held")),
			q.Item(note{"7"}))
		return err
	})
	for i, want := range []struct {
		of     int // the item or, at -1, the held task that it is a duplicate of; itself where it is new
		reason string
	}{
		{0, "new"}, {-1, "held before"}, {2, "no key"}, {0, "the same key twice in a batch"},
		{4, "another queue has keys of its own"}, {5, "new"}, {6, "another queue"}, {7, "no key"},
	} {
		id := held
		if want.of >= 0 {
			id = done[want.of].ID
		}
		if got := done[i]; got.ID != id || got.Duplicate != (want.of != i) {
			t.Errorf("item %d (%s): %+v; want id %d, duplicate %v", i, want.reason, got, id, want.of != i)
		}
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox`); n != 7 {
		t.Errorf("%d rows; want the held one and six new ones", n)
	}
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := q.EnqueueBatch(t.Context(), tx, []note{{"a"}, {"b"}}, key("shared"))
		wantError(t, err, queue.ErrInvalid, "EnqueueAll")
		return nil
	})
}

// A batch takes its keys in one order, by queue and then by key, whatever order it is given in:
// while it waits for one, it has taken none behind that.
func TestBatchTakesDedupKeysInOrder(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]queue.DedupMode{"until done": queue.UntilDone,
		"while waiting": queue.WhileWaiting, "replace": queue.ReplaceWaiting, "for a period": queue.ForPeriod(never)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q, second := queue.Define[note]("first", queue.Config{}), queue.Define[note]("second", queue.Config{})
			one, two := begin(b, pgx.ReadCommitted), begin(b, pgx.ReadCommitted)
			mustEnqueue(b, one, q, "b")
			answer := make(chan error, 1)
			go func() {
				_, err := queue.EnqueueAll(context.Background(), two, second.Item(note{}, queue.Dedup("a", mode)),
					q.Item(note{}, queue.Dedup("c", mode)), q.Item(note{}, queue.Dedup("b", mode)),
					q.Item(note{}, queue.Dedup("a", mode)))
				answer <- err
			}()
			blocked(b, two)
			mustEnqueue(b, one, q, "c")
			mustEnqueue(b, one, second, "a")
			usable(t, one)
			if err := receive(t, "the batch goes on", answer); err != nil {
				t.Error(err)
			}
			usable(t, two)
			if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox`); n != 4 {
				t.Errorf("%d tasks; want 4, one for each key", n)
			}
		})
	}
}

// Batches whose keys overlap, in whatever order they are given, lock them in one order: none is a deadlock's victim.
func TestOverlappingBatchesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("overlap", queue.Config{})
	const writers, keys, rounds = 4, 20, 5
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			errs <- func() error {
				for round := range rounds {
					var items []queue.Item
					for k := range keys {
						name := fmt.Sprintf("%d-%d", round, (k*7+w*3)%keys)
						items = append(items, q.Item(note{name}, queue.DedupKey(name)))
					}
					if w%2 == 1 {
						slices.Reverse(items)
					}
					err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
						_, err := queue.EnqueueAll(context.Background(), tx, items...)
						return err
					})
					if err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range writers {
		if err := receive(t, "the writers end", errs); err != nil {
			t.Error(err)
		}
	}
	if n := b.counts(q.Name())[queue.StatusPending]; n != keys*rounds {
		t.Errorf("%d tasks; want %d, one for each key", n, keys*rounds)
	}
}
