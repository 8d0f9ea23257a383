package jetstream_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	strunkjs "github.com/strunk-go/strunk/queue/jetstream"
)

func define(name string, cfg queue.Config) *queue.Queue[email] {
	if cfg.Retry == nil {
		cfg.Retry = queue.RetryFunc(func(int, error) time.Duration { return 10 * time.Millisecond })
	}
	return queue.Define[email](name, cfg)
}

// Committed tasks go over the stream to two workers, once each, and are delivered in the database.
func TestTasksAreWorkedBeyondTheDatabase(t *testing.T) {
	t.Parallel()
	const n = 2500
	b, q := newBed(t), define("mails.out", queue.Config{})
	var s seen
	b.forward(q)
	b.work(q, s.handle)
	b.work(q, s.handle, queue.Concurrency(50))
	b.enqueue(q, n)
	eventually(t, "all tasks are handled", func() bool { return s.distinct() == n })
	eventually(t, "all tasks are delivered", func() bool { return b.count("status = 'delivered'") == n })
	eventually(t, "the stream is empty", func() bool { return b.inStream() == 0 })
	eventually(t, "the forwarder says so", func() bool {
		var sent, waiting int
		err := b.pool.QueryRow(t.Context(), `SELECT sent, waiting FROM public.strunk_forwarders
			WHERE kind = 'tasks' AND name = 'mails.out' AND failing_since IS NULL`).Scan(&sent, &waiting)
		return err == nil && sent == n && waiting == 0
	})
	for i, times := range s.n {
		if times != 1 {
			t.Errorf("task %d was handled %d times", i, times)
		}
	}
}

// A handler sees the task as a worker's of the database does, with middleware, metadata, attempts
// that a failure spends and a snooze does not.
func TestTaskAttemptsAndMiddleware(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log []string
	note := func(text string) { mu.Lock(); defer mu.Unlock(); log = append(log, text) }
	around := func(name string) queue.Middleware {
		return queue.Middleware{Work: func(ctx context.Context, _ *queue.Incoming,
			next func(context.Context) error) error {
			note(name)
			return next(ctx)
		}}
	}
	b := newBed(t)
	q := define("attempts", queue.Config{MaxAttempts: 4, Middleware: []queue.Middleware{around("queue")}})
	cfg := b.config()
	cfg.Middleware = []queue.Middleware{around("box")}
	var tasks []queue.Task[email]
	b.forward(q)
	b.until(strunkjs.Worker(q, b.js, func(ctx context.Context, task queue.Task[email]) error {
		mu.Lock()
		tasks = append(tasks, task)
		n := len(tasks)
		mu.Unlock()
		if err := queue.Report(ctx, 1, ""); !errors.Is(err, queue.ErrNoDatabase) {
			t.Errorf("Report: %v", err)
		}
		return []error{errors.New("first"), queue.Snooze(20 * time.Millisecond), queue.Snooze(0), errors.New("last"),
			nil}[n-1]
	}, cfg, around("worker")).Run)
	var id int64
	err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		done, err := q.Enqueue(t.Context(), tx, email{}, queue.Priority(3), queue.CustomerKey("c"), queue.DedupKey("d"),
			queue.Metadata(map[string]string{"k": "v\n"}))
		id = done.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "five calls", func() bool { mu.Lock(); defer mu.Unlock(); return len(tasks) == 5 })
	var attempts []int
	for _, task := range tasks {
		attempts = append(attempts, task.Attempt)
		if task.ID != id || task.Queue != "attempts" || task.MaxAttempts != 4 || task.Priority != 3 ||
			task.CustomerKey != "c" || task.DedupKey != "d" || task.Metadata["k"] != "v\n" || task.CreatedAt.IsZero() {
			t.Errorf("%+v", task)
		}
	}
	if !slices.Equal(attempts, []int{1, 2, 2, 2, 3}) {
		t.Errorf("attempts %v", attempts)
	}
	if got := strings.Join(log[:3], " "); got != "box queue worker" {
		t.Errorf("middleware: %s", got)
	}
	eventually(t, "the stream is empty", func() bool { return b.inStream() == 0 })
}

// Exhausted, discarded and undecodable tasks are dead letters of the database; set back to pending
// at psql they go out again.
func TestGivenUpTasksComeBack(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]queue.Config{
		"kept": {MaxAttempts: 2}, "discarded": {MaxAttempts: 2, DiscardDelivered: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			var died sync.Map
			cfg.Middleware = []queue.Middleware{{Dead: func(_ context.Context, l queue.DeadLetter) {
				died.Store(l.ID, l.LastError)
			}}}
			q := define("mails", cfg)
			var good sync.Map
			b.forward(q)
			b.work(q, func(_ context.Context, task queue.Task[email]) error {
				if _, ok := good.Load(task.Payload.N); ok {
					return nil
				}
				if task.Payload.N == 0 {
					return queue.Discard("no such address")
				}
				panic("broken")
			})
			ids := b.enqueue(q, 2)
			bad := b.enqueueBad(q)
			eventually(t, "three dead letters", func() bool { return b.count("status = 'dead'") == 3 })
			eventually(t, "three Dead hooks", func() bool {
				n := 0
				died.Range(func(any, any) bool { n++; return true })
				return n == 3
			})
			for id, want := range map[int64]string{ids[0]: "discarded: no such address",
				ids[1]: "the handler panicked: broken", bad: "the payload cannot be decoded"} {
				rec, err := q.Raw().Get(t.Context(), b.box, id)
				if err != nil || !strings.Contains(rec.LastError, want) || len(rec.Attempts) == 0 {
					t.Errorf("task %d: %+v, %v", id, rec, err)
				}
			}
			good.Store(1, true)
			if _, err := b.pool.Exec(t.Context(),
				`UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = $1`, ids[1]); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the retried task has left", func() bool {
				return b.count("status = 'dead'") == 2 && b.count("status IN ('pending', 'claimed')") == 0
			})
			eventually(t, "the stream is empty", func() bool { return b.inStream() == 0 })
			if n := b.count("status = 'dead'"); n != 2 {
				t.Errorf("%d dead letters after the retry", n)
			}
		})
	}
}

// enqueueBad adds a task whose payload is no email.
func (b *bed) enqueueBad(q *queue.Queue[email]) (id int64) {
	b.t.Helper()
	err := b.pool.QueryRow(b.t.Context(), `SELECT * FROM public.strunk_enqueue($1, '"text"')`, q.Name()).Scan(&id)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// What needs the database is refused by name, before anything starts.
func TestUnfitQueuesAreRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	nothing := func(context.Context, queue.Task[email]) error { return nil }
	results := queue.DefineWithResult[email, int]("r", queue.Config{})
	for name, c := range map[string]struct {
		q    *queue.Queue[email]
		opts []queue.WorkerOption
		want string
	}{
		"fifo":      {define("q", queue.Config{Limits: queue.Limits{FIFO: true}}), nil, "Limits.FIFO"},
		"limits":    {define("q", queue.Config{Limits: queue.Limits{RunningPerKey: 2}}), nil, "Limits:"},
		"results":   {results.Queue, nil, "DefineWithResult"},
		"inbox":     {define("q", queue.Config{}), []queue.WorkerOption{queue.Inbox("x")}, "Inbox"},
		"isolation": {define("q", queue.Config{}), []queue.WorkerOption{queue.Isolation("serializable")}, "Isolation"},
		"poll":      {define("q", queue.Config{}), []queue.WorkerOption{queue.PollInterval(1)}, "PollInterval"},
		"batch":     {define("q", queue.Config{}), []queue.WorkerOption{queue.BatchSize(1)}, "BatchSize"},
		"name":      {define("", queue.Config{}), nil, "the name"},
	} {
		err := strunkjs.Worker(c.q, b.js, nothing, b.config(), c.opts...).Run(t.Context())
		if !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: worker: %v", name, err)
		}
		if c.opts != nil {
			continue
		}
		err = b.box.Run(t.Context(), strunkjs.ForwardTasks(c.q, b.js, b.config()))
		if !errors.Is(err, queue.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: forwarder: %v", name, err)
		}
	}
	if err := strunkjs.Worker(define("q", queue.Config{}), nil, nothing, b.config()).Run(t.Context()); !errors.Is(err,
		strunkjs.ErrInvalid) {
		t.Errorf("no JetStream: %v", err)
	}
}

// A stream that would lose tasks is refused.
func TestUnusableStreams(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for want, cfg := range map[string]jetstream.StreamConfig{
		"retention is Limits": {}, "max_age is 1h": {Retention: jetstream.WorkQueuePolicy, MaxAge: time.Hour},
		"set discard to new": {Retention: jetstream.WorkQueuePolicy, MaxMsgs: 10},
		"do not hold":        {Retention: jetstream.WorkQueuePolicy, Subjects: []string{b.stream + ".other.>"}},
		"there is no stream": {Name: b.stream + "-none"},
	} {
		ours := b.config()
		ours.Create = nil
		if cfg.Name == "" {
			cfg.Name = b.stream
			if cfg.Subjects == nil {
				cfg.Subjects = []string{b.stream + ".>"}
			}
			if _, err := b.js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		ours.Stream = cfg.Name
		err := b.box.Run(t.Context(), strunkjs.ForwardTasks(define("q", queue.Config{}), b.js, ours))
		if !errors.Is(err, strunkjs.ErrUnusable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if cfg.Name == b.stream {
			if err := b.js.DeleteStream(t.Context(), b.stream); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A message that the stream never takes is a dead letter, and nothing waits for it.
func TestTooLargeTaskIsADeadLetter(t *testing.T) {
	t.Parallel()
	b, q := newBed(t), define("mails", queue.Config{})
	cfg := b.config()
	cfg.Create.MaxMsgSize = 32 << 10
	b.until(func(ctx context.Context) error { return b.box.Run(ctx, strunkjs.ForwardTasks(q, b.js, cfg)) })
	ids := b.enqueue(q, 3, queue.Metadata(map[string]string{"pad": strings.Repeat("x", 30<<10)}))
	b.enqueue(q, 3)
	eventually(t, "three of six are delivered", func() bool {
		return b.count("status = 'dead'") == 3 && b.count("status = 'delivered'") == 3
	})
	rec, err := q.Get(t.Context(), b.box, ids[0])
	if err != nil || !strings.Contains(rec.LastError, "max_msg_size") {
		t.Errorf("%+v, %v", rec, err)
	}
}
