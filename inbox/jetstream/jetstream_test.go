package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events"
	eventsjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
	inboxjs "github.com/strunk-go/strunk/inbox/jetstream"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

const soon = testkit.Soon

type order struct {
	ID string `json:"id"`
	N  int    `json:"n"`
}

var (
	orders   = events.Define("order", func(o order) string { return o.ID }, events.Config{})
	incoming = queue.Define[order]("incoming", queue.Config{MaxAttempts: 2,
		Retry: queue.Backoff{First: time.Millisecond}})
)

func newBox(t *testing.T) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), outboxtest.New(t),
		outbox.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Grace: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func run(t *testing.T, box *outbox.Box, bindings ...outbox.Binding) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx, bindings...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// eventually waits for a condition that something else brings about.
var eventually = testkit.Eventually

func consumer(t *testing.T, js jetstream.JetStream, stream string) jetstream.Consumer {
	t.Helper()
	c, err := js.CreateOrUpdateConsumer(t.Context(), stream,
		jetstream.ConsumerConfig{Durable: "in", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// got collects the tasks that a handler has seen.
type got struct {
	mu    sync.Mutex
	tasks []queue.Task[order]
}

func (g *got) handle(_ context.Context, t queue.Task[order]) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tasks = append(g.tasks, t)
	return nil
}

func (g *got) all() []queue.Task[order] {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tasks
}

// Events of one database go through JetStream and become tasks of another: each once, though the stream has them twice.
func TestFromDatabaseToDatabase(t *testing.T) {
	t.Parallel()
	const n = 30
	here, there := newBox(t), newBox(t)
	js := natstest.Connect(t, natstest.Address(t))
	stream := natstest.Stream(t, js)
	cfg := eventsjs.Config{Stream: stream, SubjectPrefix: stream, Create: &jetstream.StreamConfig{
		Storage: jetstream.MemoryStorage, Duplicates: 100 * time.Millisecond}}
	run(t, here, eventsjs.Forward(orders, js, cfg))
	err := here.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		for i := range n {
			if _, err := orders.Publish(t.Context(), tx, order{ID: fmt.Sprint("e", i), N: i}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := func() uint64 {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			return 0
		}
		return s.CachedInfo().State.Msgs
	}
	eventually(t, "all are sent", func() bool { return sent() >= n })
	time.Sleep(300 * time.Millisecond) // past the duplicate window
	if err := events.Replay(t.Context(), here, "jetstream:"+stream+":order", 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are sent again", func() bool { return sent() >= 2*n })

	var seen got
	c := consumer(t, js, stream)
	run(t, there, inboxjs.Receive(incoming, "billing", c), incoming.Worker(seen.handle))
	eventually(t, "all are acknowledged", func() bool {
		info, err := c.Info(t.Context())
		return err == nil && info.NumPending == 0 && info.NumAckPending == 0
	})
	eventually(t, "all are handled", func() bool { return len(seen.all()) >= n })
	time.Sleep(200 * time.Millisecond)
	tasks := seen.all()
	if len(tasks) != n {
		t.Fatalf("%d tasks, want %d", len(tasks), n)
	}
	for _, task := range tasks {
		if id := task.Payload.ID; task.Metadata["ce-subject"] != id || task.Metadata["ce-version"] != "1" ||
			task.Metadata["key"] != id {
			t.Errorf("%+v", task)
		}
	}
}

// Plain messages are known by their place; what cannot be decoded is a dead letter with what it held.
func TestPlainAndPoison(t *testing.T) {
	t.Parallel()
	box, js := newBox(t), natstest.Connect(t, natstest.Address(t))
	stream := natstest.Stream(t, js)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{stream},
		Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"id":"a"}`, "no json\x00", "\xff\xfe", `[1]`, "", `{"id":"b"}`} {
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: stream, Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	var seen got
	run(t, box, inboxjs.Receive(incoming, "plain", consumer(t, js, stream)), incoming.Worker(seen.handle))
	var letters int
	eventually(t, "three are handled and three are dead", func() bool {
		row := `SELECT count(*) FROM public.strunk_outbox WHERE status = 'dead' AND key = 'incoming'`
		err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			return tx.Pgx().QueryRow(t.Context(),
				row).Scan(&letters)
		})
		return err == nil && letters == 3 && len(seen.all()) == 3
	})
	if m := seen.all()[0].Metadata["message"]; m != stream+"/1" && m != stream+"/5" && m != stream+"/6" {
		t.Errorf("known as %q", m)
	}
}

// A transaction that fails takes nothing in and acknowledges nothing; the messages come again.
func TestFailedTransactionTakesNothingIn(t *testing.T) {
	t.Parallel()
	box, js := newBox(t), natstest.Connect(t, natstest.Address(t))
	stream := natstest.Stream(t, js)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{stream},
		Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := js.Publish(t.Context(), stream, fmt.Appendf(nil, `{"id":"x","n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	failures := 3
	failing := queue.Define[order]("failing", queue.Config{Middleware: []queue.Middleware{{
		Enqueue: func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
			if string(tasks[0].Payload()) == `{"id":"x","n":5}` && failures > 0 {
				failures--
				return errors.New("refused for the test")
			}
			return next(ctx)
		}}}})
	var seen got
	run(t, box, inboxjs.Receive(failing, "failing", consumer(t, js, stream)), failing.Worker(seen.handle))
	eventually(t, "all are handled", func() bool { return len(seen.all()) >= 10 })
	time.Sleep(1500 * time.Millisecond) // longer than AckWait: nothing comes again
	if n := len(seen.all()); n != 10 {
		t.Errorf("%d tasks", n)
	}
}
