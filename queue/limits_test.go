package queue_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// putKeys enqueues a task for each of the keys, in one batch; its text is the key.
func putKeys(b *bed, q *queue.Queue[note], keys ...string) []int64 {
	b.t.Helper()
	items := make([]queue.Item, len(keys))
	for i, key := range keys {
		items[i] = q.Item(note{key}, queue.CustomerKey(key))
	}
	ids := make([]int64, len(keys))
	b.in(func(tx *outbox.OwnedTx) error {
		done, err := queue.EnqueueAll(context.Background(), tx, items...)
		for i, d := range done {
			ids[i] = d.ID
		}
		return err
	})
	return ids
}

func repeated(key string, n int) []string { return slices.Repeat([]string{key}, n) }

// another is a box of its own on the same database: another process, as far as strunk can tell.
func (b *bed) another(t *testing.T) *bed {
	return bedOn(t, dial(t, outboxtest.DSN(b.pool)), outbox.Config{})
}

func TestKeyLimitDoesNotStarveOthers(t *testing.T) {
	t.Parallel()
	const busy, quiet = 3000, 2000
	b := newBed(t)
	q := queue.Define[note]("starve", queue.Config{Limits: queue.Limits{RunningPerKey: 2}})
	keys := repeated("busy", busy)
	for i := range quiet {
		keys = append(keys, fmt.Sprint("quiet-", i))
	}
	putKeys(b, q, keys...) // the busy key's tasks are all older
	release := make(chan struct{})
	var atOnce, most, done atomic.Int64
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		if task.CustomerKey != "busy" {
			done.Add(1)
			return nil
		}
		n := atOnce.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		atOnce.Add(-1)
		return ctx.Err()
	}, queue.Concurrency(10)))
	eventually(t, "the quiet keys are done while the busy one holds on", func() (string, bool) {
		return fmt.Sprint(done.Load()), done.Load() == quiet
	})
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE status = 'delivered' AND customer_key
		= 'busy'`); n != 0 {
		t.Errorf("%d tasks of the busy key are done; none should be yet", n)
	}
	close(release)
	eventually(t, "the busy key is done too", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] > quiet+200
	})
	if most.Load() != 2 {
		t.Errorf("%d tasks of the busy key ran at once; want 2", most.Load())
	}
}

// began reads when tasks of a queue began, by the database's clock.
func (b *bed) began(q string) map[string][]time.Time {
	b.t.Helper()
	rows, err := b.pool.Query(context.Background(), `SELECT coalesce(customer_key, ''), claimed_at
		FROM public.strunk_outbox WHERE key = $1 AND claimed_at IS NOT NULL ORDER BY claimed_at`, q)
	if err != nil {
		b.t.Fatal(err)
	}
	all := map[string][]time.Time{}
	var key string
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&key, &at},
		func() error { all[key] = append(all[key], at); return nil }); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// checkRate checks that no span holds more than the rate lets begin.
func checkRate(t *testing.T, what string, began []time.Time, r queue.Rate) {
	t.Helper()
	most := r.Count + max(r.Burst, 1) - 1
	for i, at := range began {
		if i >= most && at.Sub(began[i-most]) < r.Per {
			t.Errorf("%s: %d began within %v; want at most %d in %v", what, most+1, at.Sub(began[i-most]), most, r.Per)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	t.Run("queue", func(t *testing.T) {
		t.Parallel()
		rate := queue.Rate{Count: 20, Per: 500 * time.Millisecond, Burst: 4}
		b := newBed(t)
		q := queue.Define[note]("rate", queue.Config{Limits: queue.Limits{Rate: rate}})
		putMany(b, q, 60)
		work := func(context.Context, queue.Task[note]) error { return nil }
		for range 3 {
			b.another(t).run(q.Worker(work, queue.Concurrency(20)))
		}
		eventually(t, "all are done", func() (string, bool) {
			c := b.counts(q.Name())
			return fmt.Sprint(c), c[queue.StatusDelivered] == 60
		})
		checkRate(t, "the queue", b.began(q.Name())[""], rate)
	})
	t.Run("key", func(t *testing.T) {
		t.Parallel()
		rate := queue.Rate{Count: 10, Per: 500 * time.Millisecond}
		b := newBed(t)
		q := queue.Define[note]("key-rate", queue.Config{Limits: queue.Limits{RatePerKey: rate}})
		var keys []string
		for i := range 60 {
			keys = append(keys, fmt.Sprint(i%3))
		}
		putKeys(b, q, keys...)
		work := func(context.Context, queue.Task[note]) error { return nil }
		for range 3 {
			b.another(t).run(q.Worker(work, queue.Concurrency(20)))
		}
		eventually(t, "all are done", func() (string, bool) {
			c := b.counts(q.Name())
			return fmt.Sprint(c), c[queue.StatusDelivered] == 60
		})
		for key, began := range b.began(q.Name()) {
			checkRate(t, "key "+key, began, rate)
		}
	})
	t.Run("one key", func(t *testing.T) {
		t.Parallel()
		own := queue.Rate{Count: 10, Per: 500 * time.Millisecond, Burst: 3}
		b := newBed(t)
		q := queue.Define[note]("own-rate", queue.Config{Limits: queue.Limits{
			RatePerKey: queue.Rate{Count: 1, Per: 24 * time.Hour}}})
		if err := q.SetKeyLimits(t.Context(), b.box, queue.KeyLimits{Rate: own}, "own"); err != nil {
			t.Fatal(err)
		}
		putKeys(b, q, slices.Concat(repeated("other", 5), repeated("own", 40))...)
		work := func(context.Context, queue.Task[note]) error { return nil }
		for range 3 {
			b.another(t).run(q.Worker(work, queue.Concurrency(20)))
		}
		eventually(t, "all of the key, and one of the other, are done", func() (string, bool) {
			c := b.counts(q.Name())
			return fmt.Sprint(c), c[queue.StatusDelivered] >= 41
		})
		began := b.began(q.Name())
		checkRate(t, "the key", began["own"], own)
		if done := b.counts(q.Name())[queue.StatusDelivered]; done != 41 || len(began["own"]) != 40 {
			t.Errorf("%d are done, %d of the key; want its 40, and one of the other", done, len(began["own"]))
		}
	})
	t.Run("with order", func(t *testing.T) {
		t.Parallel()
		rate := queue.Rate{Count: 20, Per: 500 * time.Millisecond}
		b := newBed(t)
		q := queue.Define[note]("order-rate", queue.Config{Retry: atOnce,
			Limits: queue.Limits{FIFO: true, RatePerKey: rate}})
		ids := putKeys(b, q, repeated("k", 20)...)
		var mu sync.Mutex
		var order []int64
		var began []time.Time
		b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, task.ID)
			began = append(began, value[time.Time](b, `SELECT claimed_at FROM public.strunk_outbox WHERE id = $1
				AND status = 'claimed'`, task.ID))
			if task.Attempt == 1 && len(order)%5 == 0 {
				return errors.New("again") // an attempt counts, and its task keeps the turn
			}
			return nil
		}))
		eventually(t, "all are done", func() (string, bool) {
			c := b.counts(q.Name())
			return fmt.Sprint(c), c[queue.StatusDelivered] == 20
		})
		checkRate(t, "the key, retries included", began, rate)
		if got := slices.Compact(order); !slices.Equal(got, ids) {
			t.Errorf("they ran in the order %v; want %v", got, ids)
		}
	})
}

// TestFIFOPerKey is a property test: producers that serialise on a key enqueue while others do on
// other keys, in transactions that take their numbers first and commit late, in savepoints, of
// which some are rolled back, and with priorities; the tasks of each key run in the order of the
// commits, one at a time, in whatever process.
func TestFIFOPerKey(t *testing.T) {
	t.Parallel()
	const keys, perKey, producers = 500, 4, 8
	b := newBed(t)
	b.exec(`CREATE TABLE public.committed (n bigserial, key text, id bigint)`)
	q := queue.Define[note]("fifo", queue.Config{Limits: queue.Limits{FIFO: true}})
	record := newRecord()
	for range 2 {
		b.another(t).run(q.Worker(record.handle, queue.Concurrency(20)))
	}
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() { produceOrdered(b, q, rand.New(rand.NewPCG(uint64(p), 1)), keys, keys*perKey/producers) })
	}
	wg.Wait()
	want := map[string][]int64{}
	total := 0
	rows, err := b.pool.Query(t.Context(), `SELECT key, id FROM public.committed ORDER BY key, n`)
	if err != nil {
		t.Fatal(err)
	}
	var key string
	var id int64
	if _, err := pgx.ForEachRow(rows, []any{&key, &id},
		func() error { want[key] = append(want[key], id); total++; return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all that was committed is done", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c, " of ", total), c[queue.StatusDelivered] == total
	})
	record.check(t, want)
}

// produceOrdered enqueues n tasks of random keys. Two producers of one key serialise on a lock that
// is held until the commit; what they enqueue is recorded within it.
func produceOrdered(b *bed, q *queue.Queue[note], r *rand.Rand, keys, n int) {
	for n > 0 {
		count := min(n, 1+r.IntN(5))
		n -= count
		used := map[string]bool{}
		for range count {
			used[fmt.Sprint("key-", r.IntN(keys))] = true
		}
		fail := r.IntN(10) == 0
		err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
			ctx := context.Background()
			for _, key := range slices.SortedFunc(mapKeys(used), cmp.Compare[string]) { // in one order: no deadlocks
				if _, err := tx.Pgx().Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext($1))`, key); err != nil {
					return err
				}
				save := r.IntN(3) == 0
				if save {
					if _, err := tx.Pgx().Exec(ctx, `SAVEPOINT s`); err != nil {
						return err
					}
				}
				done, err := q.Enqueue(ctx, tx, note{key}, queue.CustomerKey(key), queue.Priority(r.IntN(3)))
				if err != nil {
					return err
				}
				if _, err := tx.Pgx().Exec(ctx, `INSERT INTO public.committed (key, id) VALUES ($1,
					$2)`, key, done.ID); err != nil {
					return err
				}
				if save && r.IntN(2) == 0 {
					if _, err := tx.Pgx().Exec(ctx, `ROLLBACK TO s`); err != nil {
						return err
					}
				}
			}
			if r.IntN(4) == 0 { // commits late: others have drawn higher numbers and are done
				time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
			}
			if fail {
				return errRollback
			}
			return nil
		})
		if err != nil && !errors.Is(err, errRollback) {
			b.t.Errorf("enqueue: %v", err)
			return
		}
	}
}

var errRollback = errors.New("rolled back on purpose")

func mapKeys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// record is what handlers have seen of each key.
type record struct {
	mu      sync.Mutex
	running map[string]int
	order   map[string][]int64
	both    []string
}

func newRecord() *record {
	return &record{running: map[string]int{}, order: map[string][]int64{}}
}

func (r *record) handle(_ context.Context, task queue.Task[note]) error {
	r.begin(task.CustomerKey, task.ID)
	defer r.end(task.CustomerKey)
	return nil
}

func (r *record) begin(key string, id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[key]++; r.running[key] > 1 {
		r.both = append(r.both, key)
	}
	r.order[key] = append(r.order[key], id)
}

func (r *record) end(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[key]--
}

func (r *record) check(t *testing.T, want map[string][]int64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.both) > 0 {
		t.Errorf("two tasks of these keys ran at once: %v", r.both)
	}
	wrong := 0
	for key, ids := range want {
		if got := slices.Compact(slices.Clone(r.order[key])); !slices.Equal(got, ids) && wrong < 5 {
			wrong++
			t.Errorf("%s ran in the order %v; they were committed as %v", key, got, ids)
		}
	}
}

func TestFIFORetryHoldsTheTurn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("turn", queue.Config{Retry: queue.Backoff{First: 300 * time.Millisecond},
		Limits: queue.Limits{FIFO: true}})
	ids := putKeys(b, q, "a", "a", "b", "b")
	var mu sync.Mutex
	var order []int64
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, task.ID)
		switch {
		case task.ID == ids[0] && task.Attempt < 3:
			return errors.New("not yet")
		case task.ID == ids[0] && !slices.Contains(order, ids[3]):
			return queue.Snooze(50 * time.Millisecond)
		}
		return nil
	}))
	eventually(t, "all are done", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == 4
	})
	mu.Lock()
	defer mu.Unlock()
	of := func(key int) (got []int64) {
		for _, id := range order {
			if slices.Contains(ids[key:key+2], id) {
				got = append(got, id)
			}
		}
		return slices.Compact(got)
	}
	if got := of(0); !slices.Equal(got, ids[:2]) {
		t.Errorf("key a ran as %v; want %v: the retries hold the turn", got, ids[:2])
	}
	if i := slices.Index(order, ids[3]); i > slices.Index(order, ids[1]) {
		t.Errorf("key b waited for key a: %v", order)
	}
}

func TestFIFODeadLetters(t *testing.T) {
	t.Parallel()
	fails := func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text == "a" && task.Attempt == 1 && len(task.Metadata) > 0 {
			return fmt.Errorf("no use: %w", queue.ErrPoison)
		}
		return nil
	}
	bad := queue.Metadata(map[string]string{"bad": "yes"})
	t.Run("gives the turn up", func(t *testing.T) {
		t.Parallel()
		b := newBed(t)
		q := queue.Define[note]("dead-free", queue.Config{Limits: queue.Limits{FIFO: true}})
		first := put(b, q, note{"a"}, queue.CustomerKey("a"), bad)
		second := put(b, q, note{"a"}, queue.CustomerKey("a"))
		b.run(q.Worker(fails))
		reach(b, q, first, queue.StatusDead)
		reach(b, q, second, queue.StatusDelivered)
	})
	for _, way := range []struct {
		name, reason string
		release      func(b *bed, q *queue.Queue[note], id int64)
		first        queue.Status // what becomes of the dead letter
	}{
		{"retried", "the API gives it its attempts again", func(b *bed, q *queue.Queue[note], id int64) {
			b.exec(`UPDATE public.strunk_outbox SET metadata = NULL WHERE id = $1`, id)
			if n, err := queue.RetryDead(context.Background(), b.box,
				outbox.DeadFilter{IDs: []int64{id}}); err != nil || n != 1 {
				b.t.Fatal(n, err)
			}
		}, queue.StatusDelivered},
		{"revived by hand", "the specification's statement", func(b *bed, _ *queue.Queue[note], id int64) {
			b.exec(`UPDATE public.strunk_outbox SET metadata = NULL WHERE id = $1`, id)
			b.exec(`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`, id)
		}, queue.StatusDelivered},
		{"purged", "a row that is gone holds nothing", func(b *bed, _ *queue.Queue[note], id int64) {
			b.exec(`DELETE FROM public.strunk_outbox WHERE id = $1`, id)
		}, ""},
	} {
		t.Run("held until "+way.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("dead-hold", queue.Config{Limits: queue.Limits{FIFO: true, HoldDead: true}})
			first := put(b, q, note{"a"}, queue.CustomerKey("a"), bad)
			second := put(b, q, note{"a"}, queue.CustomerKey("a"))
			record := newRecord()
			b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
				record.begin(task.CustomerKey, task.ID)
				defer record.end(task.CustomerKey)
				return fails(ctx, task)
			}))
			reach(b, q, first, queue.StatusDead)
			other := put(b, q, note{"b"}, queue.CustomerKey("b"))
			third := put(b, q, note{"a"}, queue.CustomerKey("a"))
			reach(b, q, other, queue.StatusDelivered)
			for _, id := range []int64{second, third} {
				if rec := get(b, q, id); rec.Status == queue.StatusDelivered {
					t.Errorf("task %d ran behind a dead letter that holds the turn", id)
				}
			}
			way.release(b, q, first)
			reach(b, q, third, queue.StatusDelivered)
			want := []int64{first, second, third}
			if way.first != "" {
				reach(b, q, first, way.first)
				want = []int64{first, first, second, third}
			}
			if got := record.order["a"]; !slices.Equal(got, want) {
				t.Errorf("key a ran as %v; want %v", got, want)
			}
		})
	}
}

func TestLimitsChangeAtRunTime(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("change", queue.Config{Limits: queue.Limits{RunningPerKey: 1}})
	var running atomic.Int64
	release := make(chan struct{})
	b.run(q.Worker(func(ctx context.Context, _ queue.Task[note]) error {
		running.Add(1)
		defer running.Add(-1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}, queue.Concurrency(20)))
	putKeys(b, q, repeated("k", 12)...)
	runs := func(n int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d run", n), func() (string, bool) {
			return fmt.Sprint(running.Load()),
				running.Load() == n
		})
	}
	runs(1)
	if err := q.SetLimits(t.Context(), b.box, queue.Limits{RunningPerKey: 3}); err != nil {
		t.Fatal(err)
	}
	runs(3)
	b.exec(`SELECT public.strunk_set_limits('change', key_running => 5)`)
	runs(5)
	if got, err := q.Limits(t.Context(), b.box); err != nil || got != (queue.Limits{RunningPerKey: 5}) {
		t.Errorf("limits %+v, %v; want five a key", got, err)
	}
	b.exec(`SELECT public.strunk_set_limits('change', running => 7)`)
	runs(7)
	b.exec(`SELECT public.strunk_set_limits('change')`)
	runs(12)
	close(release)
	eventually(t, "all are done", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == 12
	})
}

func TestLimitsDeclared(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	start := func(l queue.Limits) {
		t.Helper()
		q := queue.Define[note]("declared", queue.Config{Limits: l})
		stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
		reach(b, q, put(b, q, note{}), queue.StatusDelivered)
		stop()
	}
	is := func(why string, want queue.Limits) {
		t.Helper()
		q := queue.Define[note]("declared", queue.Config{})
		if got, err := q.Limits(t.Context(), b.box); err != nil || got != want {
			t.Errorf("%s: limits %+v, %v; want %+v", why, got, err, want)
		}
	}
	start(queue.Limits{Running: 2})
	is("declared", queue.Limits{Running: 2})
	b.exec(`SELECT public.strunk_set_limits('declared', running => 3)`)
	start(queue.Limits{Running: 2})
	is("the program says what it said before", queue.Limits{Running: 3})
	start(queue.Limits{Running: 4, RatePerKey: queue.Rate{Count: 10_000, Per: time.Minute}})
	is("the program says something new", queue.Limits{Running: 4,
		RatePerKey: queue.Rate{Count: 10_000, Per: time.Minute, Burst: 1}})
	start(queue.Limits{})
	is("the program says no more", queue.Limits{})
}

func TestLimitsBadInput(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, c := range []struct {
		name, text string
		limits     queue.Limits
	}{
		{"negative", "Limits.Running: -1", queue.Limits{Running: -1}},
		{"too many a key", "Limits.RunningPerKey: 10001", queue.Limits{RunningPerKey: 10_001}},
		{"no span", "Limits.Rate.Per", queue.Limits{Rate: queue.Rate{Count: 5}}},
		{"no count", "Limits.RatePerKey.Count: 0", queue.Limits{RatePerKey: queue.Rate{Per: time.Second}}},
		{"faster than the clock", "a microsecond for each",
			queue.Limits{Rate: queue.Rate{Count: 1000, Per: time.Microsecond}}},
		{"negative burst", "Limits.Rate.Burst: -1", queue.Limits{Rate: queue.Rate{Count: 1, Per: time.Second,
			Burst: -1}}},
		{"two orders", "with FIFO one task of a key runs", queue.Limits{FIFO: true, RunningPerKey: 2}},
		{"hold without order", "Limits.HoldDead: only with FIFO", queue.Limits{HoldDead: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := queue.Define[note]("bad", queue.Config{Limits: c.limits})
			wantError(t, b.box.Run(t.Context(), q.Worker(func(context.Context,
				queue.Task[note]) error {
				return nil
			})), queue.ErrInvalid, c.text)
			wantError(t, queue.Define[note]("bad", queue.Config{}).SetLimits(t.Context(), b.box, c.limits),
				queue.ErrInvalid, c.text)
		})
	}
	for _, sql := range []string{`running => -1`, `rate => 5`, `rate_burst => 2`,
		`key_rate => 1, key_rate_per => '-1 s'`, `fifo => true, key_running => 2`, `hold_dead => true`} {
		_, err := b.pool.Exec(t.Context(), `SELECT public.strunk_set_limits('bad', `+sql+`)`)
		if err == nil || !strings.Contains(err.Error(), "strunk_set_limits: ") {
			t.Errorf("strunk_set_limits(%s): %v; want an error of its own", sql, err)
		}
	}
	for _, key := range []string{"", strings.Repeat("k", 501)} {
		_, err := b.pool.Exec(t.Context(), `SELECT public.strunk_enqueue('bad', customer_key => $1)`, key)
		if err == nil || !strings.Contains(err.Error(), "customer_key: must have 1 to 500 bytes") {
			t.Errorf("strunk_enqueue with a customer_key of %d bytes: %v", len(key), err)
		}
	}
	for _, key := range []string{"", "nul\x00", "\xff", strings.Repeat("k", 501)} {
		b.in(func(tx *outbox.OwnedTx) error {
			q := queue.Define[note]("bad", queue.Config{})
			_, err := q.Enqueue(t.Context(), tx, note{}, queue.CustomerKey(key))
			wantError(t, err, queue.ErrInvalid, "Key")
			_, err = q.Enqueue(t.Context(), tx, note{}, queue.CustomerKey("good"))
			return err
		})
	}
}
