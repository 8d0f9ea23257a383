package jetstream_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	strunkjs "github.com/strunk-go/strunk/queue/jetstream"
)

func TestMain(m *testing.M) {
	faults.Main(faults.Roles{"forwarder": childForwarder, "worker": childWorker,
		"bench worker": childBenchWorker})
	testkit.Main(m)
}

// soon bounds every wait for something that must happen.
const soon = testkit.Soon

type email struct {
	To string `json:"to"`
	N  int    `json:"n"`
}

// bed is a database with a box, a server with JetStream, and the name of a stream of the test's own.
type bed struct {
	t      testing.TB
	pool   *pgxpool.Pool
	box    *outbox.Box
	url    string
	js     jetstream.JetStream
	stream string
}

// newBed uses the server of STRUNK_NATS_URL, or one inside the test.
func newBed(t testing.TB) *bed { return bedAt(t, natstest.Address(t)) }

func bedAt(t testing.TB, url string) *bed {
	t.Helper()
	b := &bed{t: t, pool: outboxtest.New(t), url: url, js: natstest.Connect(t, url)}
	b.stream = natstest.Stream(t, b.js)
	b.box = openBox(t, b.pool)
	return b
}

func openBox(t testing.TB, pool *pgxpool.Pool) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: testLogger(t), Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func testLogger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// config makes the stream where it is missing.
func (b *bed) config() strunkjs.Config {
	return strunkjs.Config{Stream: b.stream, Prefix: b.stream, Logger: testLogger(b.t), AckTimeout: time.Second,
		Grace: 5 * time.Second, Create: &jetstream.StreamConfig{Storage: jetstream.FileStorage}}
}

// forward drives a forwarder of the queue until the returned function is called, or the test ends.
func (b *bed) forward(q *queue.Queue[email]) (stop func()) {
	return b.until(func(ctx context.Context) error {
		return b.box.Run(ctx, strunkjs.ForwardTasks(q, b.js, b.config()))
	})
}

// work drives a worker likewise.
func (b *bed) work(q *queue.Queue[email], handle queue.Handler[email], opts ...queue.WorkerOption) (stop func()) {
	return b.until(strunkjs.Worker(q, b.js, handle, b.config(), opts...).Run)
}

func (b *bed) until(run func(context.Context) error) (stop func()) { return testkit.Run(b.t, run) }

// enqueue adds tasks numbered from 0, and returns their ids.
func (b *bed) enqueue(q *queue.Queue[email], n int, opts ...queue.EnqueueOption) (ids []int64) {
	b.t.Helper()
	payloads := make([]email, n)
	for i := range payloads {
		payloads[i] = email{To: "a@b.c", N: i}
	}
	err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
		done, err := q.EnqueueBatch(context.Background(), tx, payloads, opts...)
		for _, d := range done {
			ids = append(ids, d.ID)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return ids
}

func (b *bed) count(where string) (n int) {
	b.t.Helper()
	err := b.pool.QueryRow(context.Background(), "SELECT count(*) FROM public.strunk_outbox WHERE "+where).Scan(&n)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// inStream is how many messages the stream holds.
func (b *bed) inStream() uint64 {
	stream, err := b.js.Stream(context.Background(), b.stream)
	if err != nil {
		return 0
	}
	return stream.CachedInfo().State.Msgs
}

// eventually waits for a condition that something else brings about.
var eventually = testkit.Eventually

// seen counts how often each number was handled.
type seen struct {
	mu sync.Mutex
	n  map[int]int
}

func (s *seen) handle(_ context.Context, task queue.Task[email]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == nil {
		s.n = map[int]int{}
	}
	s.n[task.Payload.N]++
	return nil
}

func (s *seen) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.n)
}
