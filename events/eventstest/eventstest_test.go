package eventstest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/eventstest"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue/queuetest"
)

type order struct {
	ID    string `json:"id"`
	Total int    `json:"total"`
}

var orders = events.Define("order", func(o order) string { return o.ID }, events.Config{})

func open(t *testing.T) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), outboxtest.New(t), outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func publish(t *testing.T, tx outbox.Tx, all ...order) {
	t.Helper()
	if _, err := orders.PublishBatch(t.Context(), tx, all); err != nil {
		t.Fatal(err)
	}
}

func TestPublished(t *testing.T) {
	t.Parallel()
	box := open(t)
	tx := queuetest.RollBack(t, box)
	eventstest.RequireNone(t, tx, orders)
	publish(t, tx, order{"a", 1}, order{"b", 2})
	publish(t, tx, order{"a", 3})
	if e := eventstest.RequirePublished(t, tx, orders, order{"a", 3}); e.Version != 2 || e.EntityID != "a" {
		t.Errorf("%+v", e)
	}
	if _, err := orders.Delete(t.Context(), tx, "b"); err != nil {
		t.Fatal(err)
	}
	eventstest.RequireDeleted(t, tx, orders, "b")
	var seen []string
	for _, e := range eventstest.Published(t, tx, orders) {
		seen = append(seen, fmt.Sprintf("%s%d:%d", e.EntityID, e.Version, e.State.Total))
	}
	if got := strings.Join(seen, " "); got != "a1:1 b1:2 a2:3 b2:0" {
		t.Error(got)
	}
}

// CatchUp returns when each subscriber has handled what was committed, a failed delivery among it.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	box := open(t)
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		publish(t, tx, order{"a", 1}, order{"b", 2}, order{"a", 3})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	total, failed := 0, false
	sum := orders.Subscriber("sum", func(_ context.Context, e events.Event[order]) error {
		if !failed {
			failed = true
			return errors.New("once")
		}
		total += e.State.Total
		return nil
	}, events.Concurrency(1))
	eventstest.CatchUp(t, box, sum)
	if total != 6 {
		t.Errorf("total %d", total)
	}
	eventstest.CatchUp(t, box, sum) // at once: nothing is new
	if total != 6 {
		t.Errorf("total %d after a second time", total)
	}
}

// failure is a test that has failed: Fatalf keeps the text, and ends the goroutine as a test's does.
type failure struct {
	testing.TB
	text string
}

func (f *failure) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func failureOf(t *testing.T, test func(t testing.TB)) string {
	f := &failure{TB: t}
	var ended sync.WaitGroup
	ended.Go(func() { test(f) })
	ended.Wait()
	return f.text
}

// What fails a test says what was there and what was wanted.
func TestFailuresSayWhatIsThere(t *testing.T) {
	t.Parallel()
	box := open(t)
	tx := queuetest.RollBack(t, box)
	publish(t, tx, order{"a", 1})
	for _, c := range []struct {
		test func(t testing.TB)
		says string
	}{
		{func(t testing.TB) { eventstest.RequirePublished(t, tx, orders, order{"a", 9}) }, `stream "order": 0 events ` +
			`have the state {"id":"a","total":9}; want 1. Others:` + "\n" + `  version 1 of a: {"id":"a","total":1}`},
		{func(t testing.TB) { eventstest.RequireNone(t, tx, orders) },
			`stream "order": 1 events; want none. The first, of a: {"id":"a","total":1}`},
		{func(t testing.TB) { eventstest.RequireDeleted(t, tx, orders, "a") },
			`stream "order": the last event of a: {"id":"a","total":1}; want that it is gone`},
		{func(t testing.TB) { eventstest.CatchUp(t, box, orders.Subscriber("index", nil)) },
			"eventstest.CatchUp: index is not registered yet: the run has ended\n" +
				`strunk/events: subscriber "index": the handler is nil: invalid argument`},
	} {
		if got := failureOf(t, c.test); got != c.says {
			t.Errorf("got  %s\nwant %s", got, c.says)
		}
	}
}
