package queue_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// workCost is what a piece of work costs, in numbers that do not depend on the machine. Those of the database are of
// the statements that the work is made of: the maintenance beside it depends on the time.
type workCost struct {
	statements, trips int
	buffers           int // pages that were looked at
	writes            int // WAL records: about one for each row version and each index entry
	bytes             int // of WAL
}

// costBed is a bed of which every statement is counted.
type costBed struct {
	*bed
	sent  *wireLog
	plans *plans
}

// newCostBed returns a bed that measures with auto_explain, which a superuser alone may load.
func newCostBed(t *testing.T) *costBed {
	t.Helper()
	b := &costBed{sent: &wireLog{}, plans: &plans{}}
	cfg, err := pgxpool.ParseConfig(outboxtest.DSN(outboxtest.New(t)))
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns, cfg.ConnConfig.Tracer, cfg.ConnConfig.OnNotice = 4, b.sent, b.plans.notice
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0;
			SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off; SET auto_explain.log_buffers = on;
			SET auto_explain.log_wal = on; SET auto_explain.log_format = json; SET auto_explain.log_level = notice`)
		return err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := pool.Ping(t.Context()); err != nil {
		t.Skipf("what statements cost cannot be read on this server (auto_explain, as a superuser): %v", err)
	}
	b.bed = bedOn(t, pool, outbox.Config{PollOnly: true})
	return b
}

// cost measures what the named statements of some work cost.
func (b *costBed) cost(work func(), names ...string) (c workCost) {
	b.t.Helper()
	b.plans.take()
	b.sent.restart()
	work()
	trips := map[int]bool{}
	all, _ := b.sent.all()
	for _, s := range all {
		if slices.Contains(names, s.name()) {
			c.statements++
			trips[s.trip] = true
		}
	}
	c.trips = len(trips)
	for _, p := range b.plans.take() {
		if slices.Contains(names, sentStatement{sql: p.Query}.name()) {
			c.buffers += p.Root.Hit + p.Root.Read
			c.writes += p.Root.WALWrites
			if p.Root.WALImages == 0 {
				c.bytes += p.Root.WALBytes
			}
		}
	}
	return c
}

// within checks a cost against bounds.
func (c workCost) within(t *testing.T, what string, most workCost) {
	t.Helper()
	t.Logf("%s: %+v", what, c)
	for _, n := range []struct {
		name      string
		got, most int
	}{
		{"statements", c.statements, most.statements}, {"round trips", c.trips, most.trips},
		{"buffers", c.buffers, most.buffers}, {"WAL records", c.writes, most.writes},
		{"WAL bytes", c.bytes, most.bytes},
	} {
		if n.got > n.most || n.got == 0 {
			t.Errorf("%s: %d %s; want 1 to %d", what, n.got, n.name, n.most)
		}
	}
}

// What fixed work costs stays within bounds, about a third above what it was when they were set: whoever
// makes it dearer does so on purpose.
func TestWorkIsCounted(t *testing.T) {
	t.Parallel()
	b := newCostBed(t)
	tasks := queue.Define[note]("counted-work", queue.Config{})
	stream := events.Define("counted-work", func(n note) string { return n.Text }, events.Config{})
	notes := make([]note, 1000)
	for i := range notes {
		notes[i].Text = fmt.Sprint(i)
	}
	one := func() { put(b.bed, tasks, note{}) }
	for range 2 * int(b.pool.Config().MaxConns) { // what is read of the catalogue once is no cost of the work
		one()
	}
	b.cost(one, "strunk_enqueue_one").within(t, "enqueue one",
		workCost{statements: 1, trips: 1, buffers: 20, writes: 5, bytes: 420})
	b.cost(func() { putMany(b.bed, tasks, len(notes)) }, "strunk_enqueue_many").within(t, "enqueue 1,000",
		workCost{statements: 1, trips: 1, buffers: 7300, writes: 4100, bytes: 390_000})
	// A slow machine claims, completes and reads less at a time.
	b.cost(func() { b.drain(tasks, len(notes)) }, "strunk_claim", "strunk_allow_starts", "strunk_complete_at").within(t,
		"drain 1,000", workCost{statements: 700, trips: 700, buffers: 26_000, writes: 10_000, bytes: 900_000})
	publish := func() {
		b.in(func(tx *outbox.OwnedTx) error {
			_, err := stream.PublishBatch(context.Background(), tx, notes)
			return err
		})
	}
	b.cost(publish, "strunk_publish_many").within(t, "publish 1,000",
		workCost{statements: 1, trips: 1, buffers: 14_000, writes: 6800, bytes: 610_000})
	b.cost(func() { b.deliver(stream, len(notes)) }, "strunk_relay", "strunk_read_feed", "strunk_start_events",
		"strunk_move_cursor").within(t, "deliver 1,000",
		workCost{statements: 700, trips: 700, buffers: 20_000, writes: 5500, bytes: 530_000})
}

// drain has a worker do n tasks at least.
func (b *costBed) drain(q *queue.Queue[note], n int) {
	done := make(chan struct{}, 2*n)
	stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { done <- struct{}{}; return nil }))
	for range n {
		receive(b.t, "a task", done)
	}
	stop()
}

// deliver has a subscriber handle n events.
func (b *costBed) deliver(s *events.Stream[note], n int) {
	done := make(chan struct{}, 2*n)
	stop := b.run(s.Subscriber("counted-work", func(context.Context, events.Event[note]) error {
		done <- struct{}{}
		return nil
	}, events.From(events.FromBeginning)))
	for range n {
		receive(b.t, "an event", done)
	}
	stop()
}
