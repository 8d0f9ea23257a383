package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/queue"
)

// claimKeys claims n tasks by hand, and returns their keys in the order of the claim.
func claimKeys(b *bed, q *queue.Queue[note], n int) (keys []string) {
	b.t.Helper()
	c, err := q.Claim(context.Background(), b.box, n)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, task := range c.Tasks {
		keys = append(keys, task.CustomerKey)
		if err := c.Complete(context.Background(), task.ID); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := c.Release(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	return keys
}

func wantKeys(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if strings.Join(got, " ") != want {
		t.Fatalf("%s: claimed %v; want %s", what, got, want)
	}
}

// fairQueue sets fair limits without a worker that declares them.
func fairQueue(b *bed, name, more string) *queue.Queue[note] {
	b.exec(`SELECT public.strunk_set_limits('` + name + `', fair => true` + more + `)`)
	return queue.Define[note](name, queue.Config{})
}

func TestFairTurns(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	t.Run("in turn", func(t *testing.T) {
		q := fairQueue(b, "turns", "")
		putKeys(b, q, slices.Concat(repeated("big", 20), repeated("a", 2), []string{"b"})...)
		wantKeys(t, "the first", claimKeys(b, q, 7), "a b big a big big big")
		wantKeys(t, "one at a time", slices.Concat(claimKeys(b, q, 1), claimKeys(b, q, 1)), "big big")
		putKeys(b, q, "late", "late", "late")
		wantKeys(t, "a key that came later", slices.Concat(claimKeys(b, q, 1), claimKeys(b, q, 1), claimKeys(b, q, 3)),
			"big late big late big")
		wantKeys(t, "the rest", claimKeys(b, q, 100), "late"+strings.Repeat(" big", 11))
		wantKeys(t, "nothing", claimKeys(b, q, 100), "")
	})
	t.Run("by weight", func(t *testing.T) {
		q := fairQueue(b, "weights", "")
		if err := q.SetKeyLimits(t.Context(), b.box, queue.KeyLimits{Weight: 3}, "gold", "other"); err != nil {
			t.Fatal(err)
		}
		putKeys(b, q, slices.Concat(repeated("plain", 100), repeated("gold", 100))...)
		var got []string
		for _, n := range []int{40, 1, 1, 1, 1, 36} {
			got = append(got, claimKeys(b, q, n)...)
		}
		if n := count(got, "gold"); n != 60 {
			t.Errorf("%d of 80 are of the key of weight 3; want 60: %v", n, got)
		}
		for i := range len(got) - 3 {
			if n := count(got[i:i+4], "gold"); n != 3 {
				t.Errorf("%d of the four from %d are of the key of weight 3; want 3: %v", n, i, got)
			}
		}
	})
	t.Run("whatever a claim takes", func(t *testing.T) {
		var first []string
		for _, size := range []int{100, 3} {
			name := fmt.Sprint("sizes-", size)
			q := fairQueue(b, name, "")
			b.exec(`SELECT public.strunk_set_key_limits($1, 'key-' || n, weight => n)
				FROM generate_series(1, 3) n`, name)
			var keys []string
			for i := range 12 {
				keys = append(keys, repeated(fmt.Sprint("key-", i), 3+2*(i%6))...)
			}
			putKeys(b, q, keys...)
			var got []string
			for len(got) < len(keys) {
				got = append(got, claimKeys(b, q, size)...)
			}
			if first == nil {
				first = got
			}
			if !slices.Equal(got, first) {
				t.Errorf("claims of %d begin tasks in another order than one of all:\n%v\n%v", size, got, first)
			}
		}
	})
	t.Run("under a limit of each key", func(t *testing.T) {
		q := fairQueue(b, "fair-limited", ", key_running => 2")
		if err := q.SetKeyLimits(t.Context(), b.box, queue.KeyLimits{Running: 3}, "a"); err != nil {
			t.Fatal(err)
		}
		putKeys(b, q, slices.Concat(repeated("big", 10), repeated("a", 10))...)
		c, err := q.Claim(t.Context(), b.box, 20)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, task := range c.Tasks {
			got = append(got, task.CustomerKey)
		}
		wantKeys(t, "as many as may run", got, "a big a big a")
		if l, err := q.KeyLimits(t.Context(), b.box, "a"); err != nil || l != (queue.KeyLimits{Running: 3}) {
			t.Errorf("KeyLimits: %+v, %v; want what was set", l, err)
		}
		if err := q.SetKeyLimits(t.Context(), b.box, queue.KeyLimits{}, "a"); err != nil {
			t.Fatal(err)
		}
		for _, task := range c.Tasks[:3] {
			if err := c.Complete(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
		}
		wantKeys(t, "under what all have", claimKeys(b, q, 20), "a big")
	})
	t.Run("no more than the claim takes", func(t *testing.T) {
		q := fairQueue(b, "window", "")
		putKeys(b, q, repeated("big", 20)...)
		admit := func(want int) int {
			return value[int](b, `SELECT admitted FROM public.strunk_admit('window', (SELECT version
				FROM public.strunk_limits WHERE queue = 'window'), '{big}', 0, NULL, 10, 0, 0, 0, $1,
				array_fill(0::bigint, '{10}'))`, want)
		}
		if got := []int{admit(4), admit(4), admit(8)}; !slices.Equal(got, []int{4, 1, 3}) {
			t.Errorf("admitted %v; want 4, one beyond what is admitted already, and what is missing to 8", got)
		}
	})
	t.Run("set and taken away while tasks wait", func(t *testing.T) {
		q := queue.Define[note]("switched", queue.Config{})
		putKeys(b, q, slices.Concat(repeated("big", 6), repeated("a", 3))...)
		wantKeys(t, "as they were admitted", claimKeys(b, q, 1), "a")
		b.exec(`SELECT public.strunk_set_limits('switched', fair => true)`)
		wantKeys(t, "in turn", claimKeys(b, q, 3), "a big a")
		b.exec(`SELECT public.strunk_set_limits('switched')`)
		if n := value[int](b, `SELECT count(*) FROM public.strunk_turns WHERE queue = 'switched'`); n != 0 {
			t.Errorf("%d keys have turns without fair limits", n)
		}
		wantKeys(t, "as they were admitted again", claimKeys(b, q, 100), "big big big big big")
	})
}

func count(all []string, key string) (n int) {
	for _, k := range all {
		if k == key {
			n++
		}
	}
	return n
}

// A customer with many tasks waiting, all older, delays none of the others, in a worker that does one at a time.
func TestFairWorkerTakesTurns(t *testing.T) {
	t.Parallel()
	const keys, each = 20, 3
	b := newBed(t)
	q := queue.Define[note]("fair", queue.Config{Limits: queue.Limits{Fair: true}})
	all := repeated("big", 5000)
	for i := range keys * each {
		all = append(all, fmt.Sprint("key-", i%keys))
	}
	putKeys(b, q, all...)
	began := make(chan string, len(all))
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		began <- task.CustomerKey
		return nil
	}, queue.Concurrency(1)))
	small, big := 0, 0
	for small < keys*each {
		select {
		case key := <-began:
			if key == "big" {
				big++
			} else {
				small++
			}
		case <-time.After(soon):
			t.Fatalf("%d and %d have begun, and nothing more does", small, big)
		}
	}
	t.Logf("the big customer began %d before all of the others had", big)
	if big > 3000 { // the worker sees the others a thousand arrivals, or a sweep, later
		t.Errorf("%d of the big customer's began before the others had", big)
	}
}

// What a claim reads does not grow with the tasks that wait of one key, nor with those that wait behind them.
func TestFairClaimIsBounded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	touched := func(name string, waiting int) (n int) {
		q := fairQueue(b, name, "")
		b.exec(`INSERT INTO public.strunk_outbox_tasks (id, seq, created_at, status, kind, key, customer_key, payload,
				admitted)
			SELECT i, i, now(), 'pending', 'task', $1, 'big', '{}', false FROM (
				SELECT nextval('public.strunk_outbox_id_seq') AS i FROM generate_series(1, $2)) x`, name, waiting)
		for i := range 3 {
			putKeys(b, q, fmt.Sprint("small-", i), fmt.Sprint("small-", i))
		}
		b.exec(`SELECT public.strunk_sweep_backlog($1, NULL, 500)`, name)
		var doc []struct{ Plan planNode }
		admit := func() {
			err := conn.QueryRow(t.Context(), fmt.Sprintf(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
				SELECT public.strunk_admit('%s', (SELECT version FROM public.strunk_limits WHERE queue = '%[1]s'), NULL,
					0, NULL, 100, 0, 0, 0, 50, array_fill(0::bigint, '{10}'))`, name)).Scan(&doc)
			if err != nil {
				t.Fatal(err)
			}
		}
		// One that is rolled back reads the catalogue before: what a session knew of it is void after an autovacuum.
		tx, err := conn.Begin(t.Context())
		noError(t, err)
		admit()
		noError(t, tx.Rollback(t.Context()))
		admit()
		wantKeys(t, name, claimKeys(b, q, 6), "big small-0 small-1 small-2 big small-0")
		return doc[0].Plan.Hit + doc[0].Plan.Read
	}
	few, many := touched("few", 2000), touched("many", 15_000)
	t.Logf("an admission touches %d pages with 2,000 waiting, %d with 15,000", few, many)
	if many > few+few/2 {
		t.Errorf("an admission touches %d pages with 15,000 of a key waiting, %d with 2,000", many, few)
	}
}

func TestKeyLimitsBadInput(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("bad-keys", queue.Config{})
	for _, c := range []struct {
		name   string
		limits queue.KeyLimits
		key    string
	}{
		{"a weight below 1", queue.KeyLimits{Weight: -1}, "acme"},
		{"a weight beyond the highest", queue.KeyLimits{Weight: queue.MaxWeight + 1}, "acme"},
		{"more than may run", queue.KeyLimits{Running: queue.MaxRunningPerKey + 1}, "acme"},
		{"a rate without a time", queue.KeyLimits{Rate: queue.Rate{Count: 1}}, "acme"},
		{"no key", queue.KeyLimits{Weight: 2}, ""},
		{"a key that is too long", queue.KeyLimits{Weight: 2}, strings.Repeat("a", 501)},
		{"a key that is no text", queue.KeyLimits{Weight: 2}, "a\x00"},
	} {
		if err := q.SetKeyLimits(t.Context(), b.box, c.limits, "fine", c.key); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", c.name, err)
		}
	}
	for _, sql := range []string{`'', 'acme'`, `'bad-keys', ''`, `'bad-keys', NULL`, `'bad-keys', 'acme', weight => 0`,
		`'bad-keys', 'acme', weight => 101`, `'bad-keys', 'acme', running => 0`} {
		_, err := b.pool.Exec(t.Context(), `SELECT public.strunk_set_key_limits(`+sql+`)`)
		if err == nil || !strings.Contains(err.Error(), "strunk_set_key_limits: ") {
			t.Errorf("strunk_set_key_limits(%s): %v; want an error of its own", sql, err)
		}
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_key_limits`); n != 0 {
		t.Errorf("%d keys have something of their own", n)
	}
}
