package events_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/events"
)

// An event begins only when the database knows that it may have begun, however long that takes to store: or else the
// attempt of an event that ends its process would count for nothing.
func TestNoEventBeginsBeforeThatIsStored(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.publishMany(200)
	locked := make(chan pgx.Tx, 1)
	var early []string
	handled := 0
	handle := func(ctx context.Context, e events.Event[order]) error {
		if handled++; handled == 1 {
			tx, err := b.pool.Begin(ctx)
			failOn(t, err)
			_, err = tx.Exec(ctx, `SELECT FROM public.strunk_subscribers WHERE name = 'ahead' FOR UPDATE`)
			failOn(t, err)
			locked <- tx
		}
		var started int64
		failOn(t, b.pool.QueryRow(ctx, `SELECT started FROM public.strunk_subscribers
			WHERE name = 'ahead'`).Scan(&started))
		if e.Position > started {
			early = append(early, fmt.Sprintf("%d began, and up to %d was stored", e.Position, started))
		}
		return nil
	}
	stop := b.run(orders.Subscriber("ahead", handle, events.Concurrency(1)))
	lock := receive(t, "the first event", locked)
	t.Cleanup(func() { _ = lock.Rollback(context.Background()) })
	b.waiting("how far events may begin is stored", "strunk_start_events", nil)
	noError(t, lock.Rollback(context.Background()))
	b.reachHead("ahead")
	stop()
	if handled != 200 || len(early) > 0 {
		t.Errorf("%d of 200 events were handled; too early: %v", handled, early)
	}
}

// failOn is noError for a goroutine that is not the test's own.
func failOn(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
