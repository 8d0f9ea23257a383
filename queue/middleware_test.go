package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// track is a middleware that writes down what it is called for.
func track(name string, to func(string)) queue.Middleware {
	return queue.Middleware{
		Enqueue: func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
			to(fmt.Sprintf("enqueue %s (%d", name, len(tasks)))
			err := next(ctx)
			to(fmt.Sprintf("%s) %v", name, tasks[0].Enqueued().ID > 0))
			return err
		},
		Work: func(ctx context.Context, task *queue.Incoming, next func(context.Context) error) error {
			to("work " + name + " (")
			err := next(ctx)
			to(name + ")")
			return err
		},
	}
}

func TestMiddlewareOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	to := func(s string) { mu.Lock(); defer mu.Unlock(); seen = append(seen, s) }
	b := bedOn(t, outboxtest.New(t), outbox.Config{Extensions: []outbox.Extension{track("box1", to),
		track("box2", to)}})
	q := queue.Define[note]("q", queue.Config{Middleware: []queue.Middleware{track("queue", to)}})
	other := queue.Define[note]("other", queue.Config{})
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := queue.EnqueueAll(context.Background(), tx, q.Item(note{"x"}),
			other.Item(note{"y"}, queue.Delay(1<<40)))
		return err
	})
	done := make(chan struct{})
	stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { to("handler"); close(done); return nil },
		track("worker", to)))
	receive(t, "the handler", done)
	stop()
	want := "enqueue queue (1|enqueue box2 (2|enqueue box1 (2|box1) true|box2) true|queue) true|" +
		"work box1 (|work box2 (|work queue (|work worker (|handler|worker)|queue)|box2)|box1)"
	if got := strings.Join(seen, "|"); got != want {
		t.Errorf("order\n%s\nwant\n%s", got, want)
	}
}

func TestMiddlewareChangesPayloadAndMetadata(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	shout := queue.Middleware{
		Enqueue: func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
			for _, task := range tasks {
				task.SetPayload(bytes.ToUpper(task.Payload()))
				task.SetMetadata("shouted", "yes")
			}
			return next(ctx)
		},
		Work: func(ctx context.Context, task *queue.Incoming, next func(context.Context) error) error {
			if meta, err := task.Metadata(); err != nil || meta["shouted"] != "yes" || meta["mine"] != "kept" {
				t.Errorf("metadata %v, %v", meta, err)
			}
			task.SetPayload(append([]byte(nil), bytes.ReplaceAll(task.Payload(), []byte("HELLO"), []byte("WORLD"))...))
			return next(ctx)
		},
	}
	q := queue.Define[note]("q", queue.Config{Middleware: []queue.Middleware{shout}})
	got := make(chan string, 1)
	id := put(b, q, note{"hello"}, queue.Metadata(map[string]string{"mine": "kept"}))
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { got <- task.Payload.Text; return nil }))
	if text := receive(t, "the handler", got); text != "WORLD" {
		t.Errorf("the handler saw %q", text)
	}
	if rec := get(b, q, id); string(rec.Raw) != `{"TEXT":"HELLO"}` {
		t.Errorf("stored as %s", rec.Raw)
	}
}

func TestMiddlewareMistakesAreReported(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	boom := errors.New("boom")
	for _, c := range []struct {
		name, reason string
		enqueue      func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error
		want         error
	}{
		{"no next", "the caller would believe in a task that is not there",
			func(context.Context, []*queue.Outgoing, func(context.Context) error) error { return nil },
			queue.ErrInvalid},
		{"next twice", "the tasks would be there twice", func(ctx context.Context, _ []*queue.Outgoing,
			next func(context.Context) error) error {
			return errors.Join(next(ctx), next(ctx))
		}, queue.ErrInvalid},
		{"no JSON", "PostgreSQL would abort the transaction",
			func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
				tasks[0].SetPayload([]byte("{"))
				return next(ctx)
			}, queue.ErrInvalid},
		{"an error", "it is the caller's", func(context.Context, []*queue.Outgoing,
			func(context.Context) error) error {
			return boom
		}, boom},
	} {
		q := queue.Define[note]("q", queue.Config{Middleware: []queue.Middleware{{Enqueue: c.enqueue}}})
		err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			_, err := q.Enqueue(t.Context(), tx, note{})
			if _, e := tx.Pgx().Exec(t.Context(), `SELECT 1`); e != nil {
				t.Errorf("%s: the transaction is broken: %v", c.name, e)
			}
			return err
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v: %s", c.name, err, c.want, c.reason)
		}
	}
	if n := len(b.counts("q")); n != 0 {
		t.Error("something was enqueued")
	}
}

func TestLoggingAndRecovery(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	out := &logs{}
	logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	q := queue.Define[note]("q", queue.Config{MaxAttempts: 1,
		Middleware: []queue.Middleware{queue.Logging(logger), queue.Recovery()}})
	good, bad := put(b, q, note{"good"}), put(b, q, note{"bad"})
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		if task.Payload.Text == "bad" {
			panic("oh")
		}
		return nil
	}))
	reach(b, q, good, queue.StatusDelivered)
	if rec := reach(b, q, bad, queue.StatusDead); !strings.Contains(rec.Attempts[0].Stack, "TestLoggingAndRecovery") {
		t.Errorf("the panic's stack is %q", rec.Attempts[0].Stack)
	}
	for _, want := range []string{"attempt done", "attempt failed", "the handler panicked: oh",
		fmt.Sprintf("task=%d", good)} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, out)
		}
	}
}

// A failure stands once in the log of the box, with queue.Logging and without.
func TestFailuresAreLoggedOnce(t *testing.T) {
	t.Parallel()
	for _, middleware := range [][]queue.Middleware{nil, {queue.Logging(nil)}} {
		b := newBed(t)
		q := queue.Define[note]("q", queue.Config{MaxAttempts: 2, Retry: atOnce, Middleware: middleware})
		id := put(b, q, note{"bad"})
		attempt := 0
		b.run(q.Worker(func(context.Context, queue.Task[note]) error {
			attempt++
			return fmt.Errorf("failure %d", attempt)
		}))
		reach(b, q, id, queue.StatusDead)
		eventually(t, "the dead letter is logged", func() (string, bool) {
			return b.logs.String(), strings.Contains(b.logs.String(), "became a dead letter")
		})
		for _, text := range []string{"failure 1", "failure 2"} {
			if n := strings.Count(b.logs.String(), text); n != 1 {
				t.Errorf("with %d middlewares %q is logged %d times; want once:\n%s", len(middleware), text, n, b.logs)
			}
		}
	}
}

func TestInboxSkipsHandledTasks(t *testing.T) {
	t.Parallel()
	for _, inTx := range []bool{false, true} {
		t.Run(fmt.Sprintf("in a transaction %v", inTx), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			q := queue.Define[note]("payments", queue.Config{Retry: atOnce})
			var mu sync.Mutex
			runs := map[string]int{}
			handle := func(_ context.Context, task queue.Task[note]) error {
				mu.Lock()
				defer mu.Unlock()
				if runs[task.Payload.Text]++; task.Payload.Text == "fails once" && runs[task.Payload.Text] == 1 {
					return errors.New("no")
				}
				return nil
			}
			worker := q.Worker(handle, queue.Inbox("card-charger"))
			if inTx {
				worker = q.WorkerInTx(func(ctx context.Context, _ *outbox.OwnedTx,
					task queue.Task[note]) error {
					return handle(ctx, task)
				},
					queue.Inbox("card-charger"))
			}
			ids := []int64{put(b, q, note{"handled before"}), put(b, q, note{"new"}), put(b, q, note{"fails once"})}
			b.exec(`SELECT public.strunk_inbox_mark('card-charger', 'task:' || $1::bigint, $1)`, ids[0])
			b.run(worker)
			for _, id := range ids {
				reach(b, q, id, queue.StatusDelivered)
			}
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(runs) != "map[fails once:2 new:1]" {
				t.Errorf("runs %v; want none of what was handled before, and one more of what failed", runs)
			}
			if n := value[int](b, `SELECT count(*) FROM public.strunk_inbox WHERE task_id = ANY ($1)`, ids); n != 3 {
				t.Errorf("%d marks; want 3", n)
			}
		})
	}
}
