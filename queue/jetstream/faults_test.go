package jetstream_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	strunkjs "github.com/strunk-go/strunk/queue/jetstream"
)

func must(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// atBroker are the variables of a child process that uses the bed's stream.
func (b *bed) atBroker(more ...string) []string {
	return append(more, "NATS="+b.url, "STREAM="+b.stream)
}

// childConfig is the configuration of a child process.
func childConfig() strunkjs.Config {
	return strunkjs.Config{Stream: os.Getenv("STREAM"), Prefix: os.Getenv("STREAM"),
		Create: &jetstream.StreamConfig{}}
}

func childJS() jetstream.JetStream {
	nc, err := nats.Connect(os.Getenv("NATS"))
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	return js
}

// childForwarder forwards; after some acknowledgements none reaches it any more, so that it never
// completes those tasks.
func childForwarder() {
	var last int
	fmt.Sscan(os.Getenv("ACKS"), &last)
	pool, err := pgxpool.New(context.Background(), os.Getenv("DSN"))
	must(err)
	box, err := outbox.Open(context.Background(), pool, outbox.Config{})
	must(err)
	js := &deafened{JetStream: childJS(), left: last}
	must(box.Run(context.Background(), strunkjs.ForwardTasks(define("mails", queue.Config{MaxAttempts: 1}), js,
		childConfig())))
}

type deafened struct {
	jetstream.JetStream
	left  int
	acked atomic.Int64
}

func (d *deafened) PublishMsgAsync(m *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	future, err := d.JetStream.PublishMsgAsync(m, opts...)
	if err != nil {
		return nil, err
	}
	passed := &deaf{PubAckFuture: future, ok: make(chan *jetstream.PubAck, 1)}
	go func() {
		ack := <-future.Ok()
		switch n := d.acked.Add(1); {
		case n < int64(d.left):
			passed.ok <- ack
		case n == int64(d.left):
			fmt.Println("acknowledged")
		}
	}()
	return passed, nil
}

type deaf struct {
	jetstream.PubAckFuture
	ok chan *jetstream.PubAck
}

func (d *deaf) Ok() <-chan *jetstream.PubAck { return d.ok }

// A forwarder that is killed between the stream's acknowledgement and the completion loses nothing,
// spends no attempt, and what is still in the stream is not sent twice.
func TestForwarderKilledBeforeCompletion(t *testing.T) {
	t.Parallel()
	const n = 300
	b, q := newBed(t), define("mails", queue.Config{MaxAttempts: 1})
	b.enqueue(q, n)
	child := faults.Spawn(t, "forwarder", b.atBroker("DSN="+outboxtest.DSN(b.pool), "ACKS=100")...)
	child.Await(t, "acknowledged", soon)
	child.Kill()
	b.expireLeases()
	b.forward(q)
	eventually(t, "all are delivered", func() bool { return b.count("status = 'delivered'") == n })
	eventually(t, "the stream holds a message for each", func() bool { return b.inStream() == n })
	var s seen
	b.work(q, s.handle)
	eventually(t, "all are handled", func() bool { return s.distinct() == n })
}

// expireLeases has the leases of killed processes end at the next look instead of after 30 s.
func (b *bed) expireLeases() {
	if _, err := b.pool.Exec(b.t.Context(), `UPDATE public.strunk_workers SET lease_ms = 1000`); err != nil {
		b.t.Fatal(err)
	}
}

// childWorker begins a task and never ends it.
func childWorker() {
	worker := strunkjs.Worker(define("mails", queue.Config{MaxAttempts: 2}), childJS(),
		func(ctx context.Context, task queue.Task[email]) error {
			fmt.Println("began", task.Attempt)
			select {}
		}, childConfig(), queue.VisibilityTimeout(6*time.Second), queue.Concurrency(1))
	must(worker.Run(context.Background()))
}

// A killed worker costs an attempt. When all are spent so, the task is a dead letter.
func TestKilledWorkersSpendAttempts(t *testing.T) {
	t.Parallel()
	b, q := newBed(t), define("mails", queue.Config{MaxAttempts: 2})
	b.forward(q)
	id := b.enqueue(q, 1)[0]
	eventually(t, "the stream is there", func() bool { return b.inStream() == 1 })
	for attempt := 1; attempt <= 2; attempt++ {
		child := faults.Spawn(t, "worker", b.atBroker()...)
		child.Await(t, fmt.Sprint("began ", attempt), soon)
		child.Kill()
	}
	var s seen
	b.work(q, s.handle, queue.VisibilityTimeout(6*time.Second))
	eventually(t, "a dead letter", func() bool { return b.count("status = 'dead'") == 1 })
	rec, err := q.Get(t.Context(), b.box, id)
	if err != nil || rec.LastError != "the worker was lost" || rec.Attempt != 2 {
		t.Errorf("%+v, %v", rec, err)
	}
	if s.distinct() != 0 {
		t.Error("the task was handled a third time")
	}
}

// A stop gives back what its handlers have not finished; no attempt is spent. A handler that runs
// for longer than the ack wait keeps its task.
func TestStoppedWorkerGivesBack(t *testing.T) {
	t.Parallel()
	b, q := newBed(t), define("mails", queue.Config{MaxAttempts: 1})
	var calls atomic.Int64
	b.forward(q)
	cfg := b.config()
	cfg.Grace = 100 * time.Millisecond
	stop := b.until(strunkjs.Worker(q, b.js, func(ctx context.Context, _ queue.Task[email]) error {
		calls.Add(1)
		<-ctx.Done()
		return context.Cause(ctx)
	}, cfg, queue.Concurrency(2), queue.VisibilityTimeout(6*time.Second)).Run)
	b.enqueue(q, 6)
	eventually(t, "two have begun", func() bool { return calls.Load() == 2 })
	time.Sleep(13 * time.Second) // two ack waits
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls: a task was given to somebody else while its handler ran", n)
	}
	stop()
	var s seen
	b.work(q, s.handle)
	eventually(t, "all are handled", func() bool { return s.distinct() == 6 })
	eventually(t, "the stream is empty", func() bool { return b.inStream() == 0 })
	if n := b.count("status = 'dead'"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// The broker goes away twice while tasks are enqueued: each is handled. What was on its way to a worker then comes once
// more, and has spent an attempt (docs/brokers.md).
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	server := natstest.Own(t)
	b, q := bedAt(t, server.URL()), define("mails", queue.Config{})
	var s seen
	b.forward(q)
	b.work(q, s.handle, queue.VisibilityTimeout(5*time.Second))
	n := 0
	for round := range 12 {
		switch round {
		case 2, 7:
			server.Stop()
		case 5, 10:
			server.Start()
		}
		payloads := make([]email, 50)
		for i := range payloads {
			payloads[i].N = n + i
		}
		n += len(payloads)
		err := b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			_, err := q.EnqueueBatch(t.Context(), tx, payloads)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	eventually(t, "all are handled", func() bool { return s.distinct() == n })
	eventually(t, "all are delivered", func() bool { return b.count("status = 'delivered'") == n })
	if dead := b.count("status = 'dead'"); dead != 0 {
		t.Errorf("%d dead letters", dead)
	}
}
