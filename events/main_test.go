package events_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func TestMain(m *testing.M) {
	faults.Main(faults.Roles{"subscriber": childSubscriber, "relay": childRelay})
	must(flag.Set("rapid.checks", "20"))
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = parallel.Value.Set("8") // they wait for leases and heartbeats more than they compute
	}
	testkit.Main(m)
}

// testPoll is the poll interval of tests that wait for one.
const testPoll = 50 * time.Millisecond

// soon bounds every wait for something that must happen: no test waits this long unless it fails.
const soon = testkit.Soon

// order is the entity of most tests.
type order struct {
	ID string `json:"id"`
	N  int    `json:"n"`
}

func orderID(o order) string { return o.ID }

var (
	orders = events.Define("order", orderID, events.Config{})
	// atOnce is a retry policy for tests that are not about the wait.
	atOnce = events.Backoff{First: time.Millisecond, Max: 5 * time.Millisecond}
	quiet  = slog.New(slog.NewTextHandler(io.Discard, nil))
)

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
	return bedWith(t, pool, cfg, true)
}

// bedWith is bedOn; calm says that the log must not tell of anything that only a fault brings about.
func bedWith(t testing.TB, pool *pgxpool.Pool, cfg outbox.Config, calm bool) *bed {
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
		for line := range strings.Lines(b.logs.String()) {
			if !calm {
				break
			}
			for _, bad := range []string{"where none ought to be", "the relay failed", "loop panicked",
				"reaper failed"} {
				// A partition that is in use is left for the next run, and that is said.
				if strings.Contains(line, bad) && !strings.Contains(line, "something reads it") {
					t.Errorf("the log says %q: %s", bad, line)
				}
			}
		}
	})
	return b
}

// run drives bindings until the returned function is called, which waits for Run and checks that it
// ended cleanly. It is called at the end of the test at the latest.
func (b *bed) run(bindings ...outbox.Binding) (stop func()) {
	return testkit.Run(b.t, func(ctx context.Context) error { return b.box.Run(ctx, bindings...) })
}

// in runs fn in a transaction that must succeed.
func (b *bed) in(fn func(tx *outbox.OwnedTx) error) {
	b.t.Helper()
	if err := b.box.InTx(context.Background(), fn); err != nil {
		b.t.Fatal(err)
	}
}

// publish publishes states, each in a transaction of its own.
func (b *bed) publish(states ...order) {
	b.t.Helper()
	for _, o := range states {
		b.in(func(tx *outbox.OwnedTx) error {
			_, err := orders.Publish(context.Background(), tx, o)
			return err
		})
	}
}

// publishMany publishes the states 1 to n of one entity each, e1 to en, in one batch.
func (b *bed) publishMany(n int) {
	b.t.Helper()
	states := make([]order, n)
	for i := range states {
		states[i] = order{ID: fmt.Sprintf("e%d", i+1), N: i + 1}
	}
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := orders.PublishBatch(context.Background(), tx, states)
		return err
	})
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

// begin opens a transaction of a caller of its own.
func (b *bed) begin(opts pgx.TxOptions) pgx.Tx {
	b.t.Helper()
	tx, err := b.pool.BeginTx(context.Background(), opts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func (b *bed) stats(name string) ops.Subscriber {
	b.t.Helper()
	s, err := ops.SubscriberStats(context.Background(), b.box, name)
	if err != nil && !errors.Is(err, ops.ErrNotFound) { // that is one who is about to be registered
		b.t.Fatal(err)
	}
	return s
}

// registered waits until subscribers are: retention does not wait for one that is not there yet.
func (b *bed) registered(names ...string) {
	b.t.Helper()
	for _, name := range names {
		eventually(b.t, name+" is registered", func() (string, bool) { return "", b.stats(name).Name == name })
	}
}

// reachHead waits until a subscriber's cursor is at the head of a feed in which nothing waits for the relay.
func (b *bed) reachHead(name string) {
	b.t.Helper()
	eventually(b.t, name+" reaches the head", func() (string, bool) {
		waiting := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE kind = 'event'
			AND status = 'pending'`)
		s := b.stats(name)
		return fmt.Sprintf("%+v, %d wait", s, waiting), waiting == 0 && s.Cursor == s.Head && s.Name != ""
	})
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
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// record is what a subscriber was given.
type record struct {
	mu     sync.Mutex
	events []events.Event[order]
}

// handle is a handler that remembers its events.
func (r *record) handle(_ context.Context, e events.Event[order]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return nil
}

func (r *record) all() []events.Event[order] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]events.Event[order](nil), r.events...)
}

func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// await waits until n events have come.
func (r *record) await(t testing.TB, n int) []events.Event[order] {
	t.Helper()
	eventually(t, fmt.Sprintf("%d events", n), func() (string, bool) {
		got := r.len()
		return fmt.Sprint(got),
			got >= n
	})
	return r.all()
}

// versions are those of each entity, in the order in which they came.
func (r *record) versions() map[string][]int64 {
	versions := map[string][]int64{}
	for _, e := range r.all() {
		versions[e.EntityID] = append(versions[e.EntityID], e.Version)
	}
	return versions
}

// inOrder checks that each entity's versions came as 1, 2, 3 and so on without a gap, and returns the last of each.
func (r *record) inOrder(t testing.TB) map[string]int64 {
	t.Helper()
	last := map[string]int64{}
	for id, versions := range r.versions() {
		for i, v := range versions {
			if v != int64(i+1) {
				t.Errorf("entity %q: versions came as %v; want 1, 2, 3 ... without a gap", id, versions)
				break
			}
		}
		last[id] = int64(len(versions))
	}
	return last
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
