package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// newReapedBed is a bed whose events are past their retention at once, whose reaper runs all the
// time, and whose feed begins with partitions of ten events.
func newReapedBed(t *testing.T, lagCap time.Duration) *bed {
	t.Helper()
	b := bedOn(t, outboxtest.New(t), outbox.Config{EventRetention: time.Millisecond, EventLagCap: lagCap,
		Retention: outbox.Retention{Every: 20 * time.Millisecond}, PollInterval: testPoll})
	b.smallPartitions()
	return b
}

// smallPartitions makes the feed begin with partitions of ten events.
func (b *bed) smallPartitions() {
	b.t.Helper()
	b.exec(`DROP TABLE public.strunk_outbox_delivered_events_1`)
	b.exec(`DELETE FROM public.strunk_feed_partitions`)
	for first := 1; first < 40; first += 10 {
		partition := fmt.Sprintf("strunk_outbox_delivered_events_%d", first)
		b.exec(fmt.Sprintf(`CREATE TABLE public.%s (LIKE public.strunk_outbox_delivered_events INCLUDING
			DEFAULTS)`, partition))
		b.exec(fmt.Sprintf(`CREATE UNIQUE INDEX ON public.%s (key, position)`, partition))
		b.exec(fmt.Sprintf(`ALTER TABLE public.strunk_outbox_delivered_events ATTACH PARTITION public.%s FOR
			VALUES FROM (%d) TO (%d)`, partition, first, first+10))
		b.exec(`INSERT INTO public.strunk_feed_partitions (first, past, name) VALUES ($1, $2,
			$3)`, first, first+10, partition)
	}
}

// awaitFloor waits until the floor has risen to a position, and the partitions behind it have gone.
func awaitFloor(b *bed, want int64) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("the floor is %d", want), func() (string, bool) {
		floor := value[int64](b, `SELECT floor FROM public.strunk_feed_floor`)
		partitions := value[string](b, `SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_catalog.pg_class
			WHERE relname ~ '^strunk_outbox_delivered_events_[0-9]+$' AND relkind = 'r'`)
		gone := value[bool](b, `SELECT NOT EXISTS (SELECT 1 FROM public.strunk_feed_partitions WHERE past -
			1 <= $1)`, want)
		return fmt.Sprintf("%d: %s", floor, partitions), floor == want && gone
	})
}

func TestRetentionWaitsForSlowSubscriber(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newReapedBed(t, 0)
	release := make(chan struct{})
	var fast, slow, late record
	b.run(
		orders.Subscriber("fast", fast.handle),
		orders.Subscriber("slow", func(ctx context.Context, e events.Event[order]) error {
			if e.Position > 15 {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return slow.handle(ctx, e)
		}, events.Concurrency(1)))
	b.registered("fast", "slow")
	for i := range 60 {
		b.publish(order{ID: "a", N: i})
	}
	fast.await(t, 60)
	awaitFloor(b, 10) // the slow one is at 15, in the second partition
	err := events.Replay(ctx, b.box, "fast", 5)
	wantError(t, err, events.ErrInvalid, "11 to 60")
	noError(t, events.Replay(ctx, b.box, "fast", 0))
	all := fast.await(t, 110)
	if e := all[60]; e.Position != 11 {
		t.Errorf("the earliest that is kept is %d; want 11", e.Position)
	}
	close(release)
	b.reachHead("slow")
	slow.inOrder(t)
	if n := slow.len(); n != 60 {
		t.Errorf("the slow subscriber was given %d events; want all 60", n)
	}
	awaitFloor(b, 40)
	b.run(orders.Subscriber("late", late.handle))
	if e := late.await(t, 1)[0]; e.Position <= 40 {
		t.Errorf("a new subscriber starts at %d; want it behind the floor", e.Position)
	}
}

// An installation that is younger than its retention keeps everything, also what every subscriber has passed.
func TestRetentionKeepsWhatIsYoung(t *testing.T) {
	t.Parallel()
	b := bedOn(t, outboxtest.New(t), outbox.Config{PollInterval: testPoll, Disable: []outbox.Loop{outbox.LoopReaper}})
	b.smallPartitions()
	var got record
	stop := b.run(orders.Subscriber("all", got.handle))
	for i := range 60 {
		b.publish(order{ID: "a", N: i})
	}
	b.reachHead("all")
	stop()
	for _, retention := range []time.Duration{time.Hour, outbox.KeepForever} {
		if n := value[int](b, `SELECT count(*) FROM public.strunk_raise_floor($1, NULL)
			WHERE marked IS NULL`, retention.Milliseconds()); n != 0 {
			t.Errorf("with a retention of %v %d partitions are given up; want none", retention, n)
		}
	}
}

// With a lag cap a subscriber that is too far behind loses events, loudly, and stands still until a person acts.
func TestLagCapMarksSubscriber(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newReapedBed(t, time.Millisecond)
	var got record
	sub := func() outbox.Binding { return orders.Subscriber("behind", got.handle, events.Concurrency(1)) }
	stop := b.run(sub())
	b.publish(order{ID: "a", N: 0})
	got.await(t, 1)
	noError(t, events.Pause(ctx, b.box, "behind"))
	for i := range 49 {
		b.publish(order{ID: "a", N: i})
	}
	awaitFloor(b, 40)
	eventually(t, "it is marked", func() (string, bool) {
		s := b.stats("behind")
		return fmt.Sprintf("%+v", s),
			s.NeedsRestart
	})
	noError(t, events.Resume(ctx, b.box, "behind"))
	eventually(t, "it says that it stands still", func() (string, bool) {
		return "",
			strings.Contains(b.logs.String(), "stands still")
	})
	stop()
	b.run(sub())
	n := got.len()
	if n > 2 { // the second may have been read when the pause came
		t.Errorf("it was given %d events; want none that came after the pause", n)
	}
	noError(t, events.Reset(ctx, b.box, "behind"))
	all := got.await(t, n+1)
	if all[n].Position != 41 {
		t.Errorf("after the reset it goes on at %d; want 41", all[n].Position)
	}
	b.reachHead("behind")
}

// An open report on the feed keeps its partitions, and holds up nothing else, nor the rise of the floor.
func TestRetentionBehindAnOpenReport(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newReapedBed(t, 0)
	report := b.begin(pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	_, err := report.Exec(ctx, `SELECT count(*) FROM public.strunk_outbox`)
	noError(t, err)
	var got record
	b.run(orders.Subscriber("flows", got.handle))
	b.registered("flows")
	publish := func(n, all int) {
		for i := range n {
			b.publish(order{ID: "a", N: i})
		}
		got.await(t, all)
		b.reachHead("flows")
	}
	publish(10, 10)
	eventually(t, "a detaching waits for the report", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM pg_catalog.pg_inherits WHERE inhdetachpending`)
		return fmt.Sprint(n), n > 0
	})
	publish(20, 30)
	eventually(t, "the floor is raised", func() (string, bool) {
		floor := value[int64](b, `SELECT floor FROM public.strunk_feed_floor`)
		return fmt.Sprint(floor), floor == 30
	})
	publish(20, 50)
	noError(t, report.Rollback(ctx))
	awaitFloor(b, 40)
	got.inOrder(t)
}

// Retention, registering and rewinding lock one row: whichever comes first, no subscriber stands behind the floor.
func TestRegisterAndRewindAgainstRetention(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	// Without a reaper: it would drop the partitions that retention is to find here.
	b := bedOn(t, outboxtest.New(t), outbox.Config{PollInterval: testPoll, Disable: []outbox.Loop{outbox.LoopReaper}})
	b.smallPartitions()
	stop := b.run()
	for i := range 35 {
		b.publish(order{ID: "a", N: i})
	}
	eventually(t, "all are relayed", func() (string, bool) { head := b.head(); return fmt.Sprint(head), head == 35 })
	stop()
	b.exec(`UPDATE public.strunk_feed_floor SET floor = 0`)
	register := b.begin(pgx.TxOptions{})
	_, err := register.Exec(ctx, `SELECT public.strunk_register('new', 'order', 'beginning', 30000)`)
	noError(t, err)
	// It waits for the registration, and finds it.
	raised := make(chan error, 1)
	go func() {
		_, err := b.pool.Exec(ctx, `SELECT * FROM public.strunk_raise_floor(0, NULL)`)
		raised <- err
	}()
	eventually(t, "retention waits", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock'
			AND query LIKE '%raise_floor(0%'`)
		return fmt.Sprint(n), n > 0
	})
	noError(t, register.Commit(ctx))
	noError(t, receive(t, "retention ends", raised))
	if floor, cursor := value[int64](b, `SELECT floor
		FROM public.strunk_feed_floor`), b.stats("new").Cursor; floor > cursor {
		t.Errorf("the floor is %d, and the subscriber at %d", floor, cursor)
	}
	var r *events.RangeError
	noError(t, events.Replay(ctx, b.box, "new", 30))
	b.exec(`SELECT * FROM public.strunk_raise_floor(0, NULL)`)
	if err := events.Replay(ctx, b.box, "new", 3); !errors.As(err, &r) || r.Earliest != 21 {
		t.Errorf("replay of what is dropped: %v; want a RangeError from 21", err)
	}
}

// A backlog that does not fit into the partitions that are there stops nothing: the relay has more made.
func TestBacklogLargerThanThePartitionsAhead(t *testing.T) {
	t.Parallel()
	b := newReapedBed(t, 0)
	var got record
	sub := func() outbox.Binding { return orders.Subscriber("all", got.handle) }
	stop := b.run(sub())
	b.registered("all")
	stop()
	b.publishMany(60)
	b.run(sub())
	got.await(t, 60)
	b.reachHead("all")
}
