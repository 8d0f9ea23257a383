package queue_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

func TestMain(m *testing.M) {
	faults.Main(faults.Roles{"worker": childWorker, "mover": childMover, "limited": childLimited, "exact": childExact,
		"starter": childStarter, "batched": childBatched, "killed": childKilled, "slotted": childSlotted})
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = parallel.Value.Set("8") // they wait for leases and heartbeats more than they compute
	}
	testkit.Main(m)
}

// soon bounds every wait for something that must happen: no test waits this long unless it fails.
const soon = testkit.Soon

type note struct {
	Text string `json:"text"`
}

// at once is a retry policy for tests that are not about the wait.
var atOnce = queue.Backoff{First: time.Millisecond}

// bed is a database with a box, and whatever a test runs in it.
type bed struct {
	t    testing.TB
	pool *pgxpool.Pool
	box  *outbox.Box
	logs *logs
}

func newBed(t testing.TB, opts ...outboxtest.Option) *bed {
	t.Helper()
	return bedOn(t, outboxtest.New(t, opts...), outbox.Config{})
}

func bedOn(t testing.TB, pool *pgxpool.Pool, cfg outbox.Config) *bed {
	t.Helper()
	b := &bed{t: t, pool: pool, logs: &logs{}}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(b.logs, nil))
	}
	box, err := outbox.Open(t.Context(), pool, cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.box = box
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the box's log:\n%s", b.logs)
		}
	})
	return b
}

// dial opens a pool that ends with the test.
func dial(t testing.TB, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// run drives bindings until the returned function is called, which waits for Run and checks that it
// ended cleanly. It is called at the end of the test at the latest.
func (b *bed) run(bindings ...outbox.Binding) (stop func()) {
	return testkit.Run(b.t, func(ctx context.Context) error { return b.box.Run(ctx, bindings...) })
}

// runUntil is run for a test that stops by cancel itself, and waits by stop.
func (b *bed) runUntil(ctx context.Context, cancel func(), bindings ...outbox.Binding) (stop func()) {
	return testkit.RunUntil(b.t, ctx, cancel, func(ctx context.Context) error { return b.box.Run(ctx, bindings...) })
}

// in runs fn in a transaction that must succeed.
func (b *bed) in(fn func(tx *outbox.OwnedTx) error) {
	b.t.Helper()
	if err := b.box.InTx(context.Background(), fn); err != nil {
		b.t.Fatal(err)
	}
}

// put enqueues one task and returns its id.
func put[T any](b *bed, q *queue.Queue[T], payload T, opts ...queue.EnqueueOption) int64 {
	b.t.Helper()
	var done queue.Enqueued
	b.in(func(tx *outbox.OwnedTx) (err error) {
		done, err = q.Enqueue(context.Background(), tx, payload, opts...)
		return err
	})
	return done.ID
}

// putMany enqueues n notes, called 1 to n, in one batch.
func putMany(b *bed, q *queue.Queue[note], n int, opts ...queue.EnqueueOption) []int64 {
	b.t.Helper()
	notes := make([]note, n)
	for i := range notes {
		notes[i].Text = fmt.Sprint(i + 1)
	}
	ids := make([]int64, n)
	b.in(func(tx *outbox.OwnedTx) error {
		done, err := q.EnqueueBatch(context.Background(), tx, notes, opts...)
		for i, d := range done {
			ids[i] = d.ID
		}
		return err
	})
	return ids
}

func get[T any](b *bed, q *queue.Queue[T], id int64) queue.Record[T] {
	b.t.Helper()
	rec, err := q.Get(context.Background(), b.box, id)
	if err != nil {
		b.t.Fatal(err)
	}
	return rec
}

// reach waits until a task has a status.
func reach[T any](b *bed, q *queue.Queue[T], id int64, want queue.Status) queue.Record[T] {
	b.t.Helper()
	var rec queue.Record[T]
	eventually(b.t, fmt.Sprintf("task %d is %s", id, want), func() (string, bool) {
		rec = get(b, q, id)
		return fmt.Sprintf("%s, last error %q", rec.Status, rec.LastError), rec.Status == want
	})
	return rec
}

// exec runs SQL that must succeed.
func (b *bed) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(context.Background(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

// value reads one value.
func value[V any](b *bed, sql string, args ...any) V {
	b.t.Helper()
	var v V
	if err := b.pool.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// counts says how many tasks stand where.
func (b *bed) counts(q string) map[queue.Status]int {
	b.t.Helper()
	rows, err := b.pool.Query(context.Background(), `SELECT status, count(*) FROM public.strunk_outbox WHERE key
		= $1 GROUP BY status`, q)
	if err != nil {
		b.t.Fatal(err)
	}
	counts := map[queue.Status]int{}
	var status queue.Status
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&status, &n}, func() error { counts[status] = n; return nil }); err != nil {
		b.t.Fatal(err)
	}
	return counts
}

// eventually waits for a condition that something else brings about.
var eventually = testkit.EventuallyState

// receive waits for a signal.
func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(soon):
		t.Fatalf("not within %v: %s", soon, what)
		panic("unreachable")
	}
}

// wantError checks that an error is of a kind and reads well.
func wantError(t testing.TB, err, kind error, texts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v is not %v", err, kind)
		return
	}
	for _, text := range texts {
		if !bytes.Contains([]byte(err.Error()), []byte(text)) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

// logs collects what the box logs.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
