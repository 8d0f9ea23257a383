package ops_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Failures of tasks that are tried again and of those that die are counted, by what their errors
// have in common: as they come, and when they were taken together.
func TestErrorGroups(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	failTasks(t, pool)
	want := []string{"? is no address: 10 of [dying retried]", "dial tcp ?: connection refused: 10 of [dying retried]",
		"order ?: timeout after ?: 10 of [dying retried]"}
	groups := errorGroups(t, box, ops.ErrorFilter{})
	checkGroups(t, "as they came", groups, want)
	for _, g := range groups {
		if g.LastHour != 10 || g.HourBefore != 0 || g.Example == "" || g.FirstAt.After(g.LastAt) {
			t.Errorf("%+v", g)
		}
	}
	checkGroups(t, "of one queue", errorGroups(t, box, ops.ErrorFilter{Name: "dying"}),
		[]string{"? is no address: 5 of [dying]", "dial tcp ?: connection refused: 5 of [dying]",
			"order ?: timeout after ?: 5 of [dying]"})

	compactFailures(t, pool)
	checkGroups(t, "counted", errorGroups(t, box, ops.ErrorFilter{}), want)
	shiftFailures(t, pool, "26 hours")
	compactFailures(t, pool)
	checkGroups(t, "of yesterday", errorGroups(t, box, ops.ErrorFilter{Since: 48 * time.Hour}), want)
	exec(t, pool, `SELECT public.strunk_note_failure('event', 'indexer', e)
		FROM unnest(ARRAY['order 7: timeout after 1s', 'the index is full']) e`)
	for _, what := range []string{"as they came", "counted"} {
		checkGroups(t, "of today, "+what, errorGroups(t, box, ops.ErrorFilter{}),
			[]string{"order ?: timeout after ?: 1 of [dying retried indexer]", "the index is full: 1 of [indexer]"})
		checkGroups(t, "new today, "+what, errorGroups(t, box, ops.ErrorFilter{New: true}),
			[]string{"the index is full: 1 of [indexer]"})
		checkGroups(t, "over HTTP, "+what,
			get[ops.ErrorList](t, h, "/v1/errors?of=indexer&since_seconds=3600&new=true").Errors,
			[]string{"order ?: timeout after ?: 1 of [indexer]", "the index is full: 1 of [indexer]"})
		compactFailures(t, pool)
	}
	shiftFailures(t, pool, "31 days")
	compactFailures(t, pool)
	if n := queryOne[int](t, pool, `SELECT (SELECT count(*) FROM public.strunk_failure_groups)
		+ (SELECT count(*) FROM public.strunk_failure_counts)`); n != 0 {
		t.Errorf("%d rows are kept beyond 30 days", n)
	}
	if _, err := ops.ErrorGroups(t.Context(), box, ops.ErrorFilter{Since: -1}); !errors.Is(err, ops.ErrInvalid) {
		t.Error(err)
	}
}

// failTasks has 30 tasks fail once, in three ways: 15 die of it, 15 are to be tried again. Nothing is taken together.
func failTasks(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Disable: []outbox.Loop{outbox.LoopCounter},
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	handler := func(_ context.Context, task queue.Task[int]) error {
		switch n := task.Payload; n % 3 {
		case 0:
			return fmt.Errorf("dial tcp 10.0.0.%d:5432: connection refused", n)
		case 1:
			return fmt.Errorf("%q is no address", fmt.Sprint("user-", n))
		default:
			return fmt.Errorf("order %d: timeout after %d.5s", 1000+n, n)
		}
	}
	dying := queue.Define[int]("dying", queue.Config{MaxAttempts: 1})
	retried := queue.Define[int]("retried", queue.Config{Retry: queue.Backoff{First: time.Hour, Max: time.Hour}})
	err = box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		payloads := make([]int, 15)
		for i := range payloads {
			payloads[i] = i
		}
		_, dyingErr := dying.EnqueueBatch(t.Context(), tx, payloads)
		_, retriedErr := retried.EnqueueBatch(t.Context(), tx, payloads)
		return errors.Join(dyingErr, retriedErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx, dying.Worker(handler), retried.Worker(handler)) }()
	testkit.Eventually(t, "all have failed", func() bool {
		return queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_outbox
			WHERE last_error IS NOT NULL AND status IN ('dead', 'scheduled')`) == 30
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func errorGroups(t *testing.T, box *outbox.Box, f ops.ErrorFilter) []ops.ErrorGroup {
	t.Helper()
	groups, err := ops.ErrorGroups(t.Context(), box, f)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

func checkGroups(t *testing.T, what string, groups []ops.ErrorGroup, want []string) {
	t.Helper()
	got := []string{}
	for _, g := range groups {
		got = append(got, fmt.Sprintf("%s: %d of %v", g.Fingerprint, g.Failures, append(g.Queues, g.Subscribers...)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// shiftFailures has all that has failed have failed earlier, by whole hours.
func shiftFailures(t *testing.T, pool *pgxpool.Pool, by string) {
	t.Helper()
	exec(t, pool, `UPDATE public.strunk_failures SET failed_at = failed_at - $1::interval`, by)
	exec(t, pool, `UPDATE public.strunk_failure_groups SET first_at = first_at - $1::interval,
		last_at = last_at - $1::interval`, by)
	exec(t, pool, `UPDATE public.strunk_failure_counts SET counted_at = counted_at - $1::interval`, by)
}

// compactFailures has all failures counted: none is left.
func compactFailures(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	exec(t, pool, `SELECT public.strunk_compact_failures('30 days', 1000)`)
	if n := queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_failures`); n != 0 {
		t.Errorf("%d failures are not counted", n)
	}
}

// A window has the failures within it and no other, whether they are counted yet or not, and however often some were
// counted before the others.
func TestErrorGroupsCountEachFailureOnce(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	const every, last = 13 * time.Minute, 130 // the oldest is 28 hours old, but for one that is 36
	ages := []time.Duration{36 * time.Hour}
	for m := range last {
		ages = append(ages, time.Duration(m)*every+5*time.Second)
	}
	check := func(what string) {
		t.Helper()
		for _, f := range []ops.ErrorFilter{{Since: 2 * time.Minute}, {Since: time.Hour}, {Since: 150 * time.Minute},
			{Since: 24 * time.Hour}, {Since: 24 * time.Hour, Name: "q-1"}, {Since: 30 * time.Hour},
			{Since: 24 * time.Hour, New: true}, {Since: 48 * time.Hour, New: true}} {
			want := [3]int64{}
			for i, age := range ages {
				if f.Name != "" && fmt.Sprint("q-", i%3) != f.Name || f.New && f.Since < 36*time.Hour {
					continue
				}
				for k, in := range []bool{age < f.Since, age < time.Hour, age >= time.Hour && age < 2*time.Hour} {
					if in {
						want[k] += int64(3 * (i + 1))
					}
				}
			}
			got := [3]int64{}
			for _, g := range errorGroups(t, box, f) {
				got[0], got[1], got[2] = got[0]+g.Failures, got[1]+g.LastHour, got[2]+g.HourBefore
			}
			if got != want {
				t.Errorf("%s, %+v: %v within it, of the last hour and of the hour before; want %v", what, f, got, want)
			}
		}
	}
	for range 3 {
		exec(t, pool, `INSERT INTO public.strunk_failures (failed_at, n, kind, name, fingerprint, error)
			SELECT now() - a.age, a.i, 'task', 'q-' || (a.i - 1) % 3, 'broken', 'broken'
			FROM unnest($1::interval[]) WITH ORDINALITY a (age, i)`, ages)
		exec(t, pool, `SELECT public.strunk_compact_failures('30 days', 100)`) // of 131
	}
	check("some counted")
	exec(t, pool, `SELECT public.strunk_compact_failures('30 days', 1000)`)
	check("all counted")
}

// What differs from failure to failure goes, and nothing else.
func TestFingerprints(t *testing.T) {
	t.Parallel()
	_, pool := open(t)
	for _, c := range []struct{ reason, text, want string }{
		{"a number", "order 4711 is unknown", "order ? is unknown"},
		{"a decimal number with a unit", "took 3.5s", "took ?"},
		{"an address with a port", "dial tcp 10.1.2.3:5432: refused", "dial tcp ?: refused"},
		{"an IPv6 address", "dial tcp [2001:db8::1]:5432: refused", "dial tcp ?: refused"},
		{"a UUID", "user 6ba7b810-9dad-11d1-80b4-00c04fd430c8 is gone", "user ? is gone"},
		{"a hexadecimal number", "at 0xc000123abc", "at ?"},
		{"double quotes", `key "a b" exists`, "key ? exists"},
		{"single quotes", "key 'a' exists", "key ? exists"},
		{"an e-mail address", "to ann@example.com: full", "to ? full"},
		{"a URL", "get https://example.com/a?b=1 failed", "get ? failed"},
		{"nothing that differs", "the index is full", "the index is full"},
		{"space", "a  b\n\tc", "a b c"},
	} {
		if got := queryOne[string](t, pool, `SELECT public.strunk_fingerprint($1)`, c.text); got != c.want {
			t.Errorf("%s: %q becomes %q, want %q", c.reason, c.text, got, c.want)
		}
	}
}
