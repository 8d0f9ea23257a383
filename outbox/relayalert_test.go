package outbox_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// awakeRelay returns a relay that has said that it is awake.
func awakeRelay(t *testing.T, pool *pgxpool.Pool) outbox.TestRelay {
	t.Helper()
	r, err := outbox.NewTestRelay(t.Context(), openBox(t, pool, outbox.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the relay wakes up", func() bool { return r.StayAlert(t.Context(), 1000) })
	return r
}

// relayMaySleep asks what publishers ask.
func relayMaySleep(t *testing.T, pool *pgxpool.Pool) bool {
	t.Helper()
	return query[bool](t, pool, `SELECT public.strunk_relay_may_sleep()`)
}

// Every order of a publisher that publishes (p) and commits (c), and a relay that falls asleep (s) and looks once (l):
// the event is announced, or the look after the commit finds it. From when the relay fell asleep, each pause before a
// look is as long as all before it together, or 10 ms. So an event that nobody announced is found late by 10 ms, or by
// as long as its transaction took after it was published.
func TestRelayNotifyBound(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, c := range []struct {
		order           string
		notifies, looks bool // whether the look finds the event
	}{
		{"pcsl", false, true}, {"pscl", false, true}, {"pslc", false, false},
		{"spcl", true, true}, {"splc", true, false}, {"slpc", true, false},
	} {
		t.Run(c.order, func(t *testing.T) {
			t.Parallel()
			pool := outboxtest.New(t)
			heard := testkit.Listen(t, pool, "strunk:public")
			r := awakeRelay(t, pool)
			tx, err := pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			look := func() (moved int) {
				if moved, err = r.Look(ctx); err != nil {
					t.Fatal(err)
				}
				return moved
			}
			found := 0
			for _, step := range c.order {
				var err error
				switch step {
				case 'p':
					_, err = tx.Exec(ctx, `SELECT public.strunk_publish('tick', 'one', '1')`)
				case 'c':
					err = tx.Commit(ctx)
				case 's':
					relayFallsAsleep(t, r)
				case 'l':
					found = look()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if (found == 1) != c.looks {
				t.Errorf("the look has found %d events; want one: %v", found, c.looks)
			}
			if found == 0 && look() != 1 {
				t.Error("a look after the commit did not find the event")
			}
			if got := slices.Contains(heard(), core.TopicRelay); got != c.notifies {
				t.Errorf("notified: %v; want %v", got, c.notifies)
			}
		})
	}
}

// relayFallsAsleep lets the time pass in which the relay would stay awake, and checks its pauses from then on.
func relayFallsAsleep(t *testing.T, r outbox.TestRelay) {
	t.Helper()
	time.Sleep(core.AwakeFor)
	if r.StayAlert(t.Context(), 0) {
		t.Fatal("the relay did not fall asleep")
	}
	for since := time.Duration(0); since < time.Hour; {
		pause := r.Pause(time.Hour)
		if pause > since+core.FirstPause {
			t.Fatalf("a pause of %v %v after the relay fell asleep", pause, since)
		}
		since += pause
	}
}

// What a relay has said does not outlive its process, holds for ten seconds at most where the process was killed, and
// for none where the clock was an hour ahead.
func TestRelayThatIsGoneIsNotBelieved(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	if !relayMaySleep(t, pool) {
		t.Error("publishers take a relay for awake that has never run")
	}
	r := awakeRelay(t, pool)
	if relayMaySleep(t, pool) {
		t.Error("the relay has said that it is awake, and is notified")
	}
	for _, c := range []struct{ until, why string }{
		{"clock_timestamp() + interval '1 hour'", "the clock was ahead"},
		{"clock_timestamp() - interval '1 ms'", "its process was killed"},
	} {
		mustExec(t, pool, `UPDATE public.strunk_relay_awake SET until = `+c.until)
		if !relayMaySleep(t, pool) {
			t.Errorf("publishers take a relay for awake although %s", c.why)
		}
	}
	mustExec(t, pool, `UPDATE public.strunk_relay_awake SET until = clock_timestamp() + interval '9 s'`)
	if r.End(t.Context()); !relayMaySleep(t, pool) {
		t.Error("publishers take a relay for awake that has ended")
	}
}

// An event that was published while the relay was awake, and committed after it fell asleep, comes, although nobody is
// notified of it and the poll interval is far away.
func TestEventCommittedAfterTheRelayFellAsleepComes(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool, outbox.Config{PollInterval: time.Hour})
	seen := make(chan struct{})
	start(t, box, ticks.Subscriber("watcher", func(_ context.Context, e events.Event[int]) error {
		if e.State == 7 {
			close(seen)
		}
		return nil
	}))
	testkit.Eventually(t, "the relay wakes up", func() bool {
		mustExec(t, pool, `SELECT public.strunk_publish('tick', 'one', '1') FROM generate_series(1, 50)`)
		return !relayMaySleep(t, pool)
	})
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT * FROM public.strunk_publish_many('{tick}', '{late}', '{7}', NULL, NULL,
		NULL, false)`); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the relay falls asleep", func() bool { return relayMaySleep(t, pool) })
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
	case <-time.After(soon):
		t.Fatalf("the late event has not come within %v", soon)
	}
}

// A relay that sleeps for long relies on the promoter of its process, which looks in its place. Where that does not
// run, or nothing but looks finds events, the relay looks itself in each poll interval.
func TestPromoterLooksForTheRelay(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := outboxtest.New(t)
	box := openBox(t, pool, outbox.Config{})
	wakes := func() bool {
		t.Helper()
		woken, err := outbox.PromoterWakesRelay(ctx, box)
		if err != nil {
			t.Fatal(err)
		}
		return woken
	}
	if wakes() {
		t.Error("without an event the promoter has woken the relay")
	}
	if _, err := pool.Exec(ctx, `SELECT public.strunk_publish('tick', 'one', '1')`); err != nil {
		t.Fatal(err)
	}
	if !wakes() {
		t.Error("an event waits, and the promoter has not woken the relay")
	}
	if _, err := outbox.NewTestRelay(ctx, box); err != nil { // which has looked, and moved it
		t.Fatal(err)
	}
	if wakes() {
		t.Error("the event was moved, and the promoter has woken the relay")
	}
	for _, c := range []struct {
		name  string
		cfg   outbox.Config
		polls int
	}{
		{"with a promoter", outbox.Config{}, 5},
		{"no promoter", outbox.Config{Disable: []outbox.Loop{outbox.LoopPromoter}}, 1},
		{"nothing is announced", outbox.Config{PollOnly: true}, 1},
	} {
		if got := outbox.LongestRelayPause(openBox(t, pool, c.cfg)); got != c.polls {
			t.Errorf("%s: the relay sleeps for %d poll intervals; want %d", c.name, got, c.polls)
		}
	}
}
