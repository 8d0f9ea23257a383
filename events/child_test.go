package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

const (
	// childLease is a lease that is not lost to a machine that is busy.
	childLease = 8 * time.Second
	// toTheKill is the lease of subscribers whose process a test ends or freezes: nobody takes them over
	// before endLease.
	toTheKill = time.Minute
)

// spawnSubscriber starts a process that runs a subscriber of orders with the lease toTheKill. What it does
// with an event, mode says: "print" handles it at once, "hang" waits for the end of its context
// first, "die" ends the process. It prints "got <id> <version> <attempt>" when a handler begins.
func spawnSubscriber(b *bed, name, mode string) *faults.Child {
	b.t.Helper()
	return spawnLeased(b, name, mode, toTheKill)
}

func spawnLeased(b *bed, name, mode string, lease time.Duration) *faults.Child {
	b.t.Helper()
	c := faults.Spawn(b.t, "subscriber", "CHILD_DSN="+outboxtest.DSN(b.pool), "CHILD_NAME="+name, "CHILD_MODE="+mode,
		"CHILD_LEASE="+lease.String())
	c.Await(b.t, "up", soon)
	return c
}

// endLease has the lease of a subscriber's owner, which is silent from now on, end soon.
func (b *bed) endLease(name string) {
	b.t.Helper()
	b.exec(`UPDATE public.strunk_subscribers SET lease_ms = 1000 WHERE name = $1`, name)
}

func childBox() *outbox.Box {
	pool, err := pgxpool.New(context.Background(), os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(context.Background(), pool,
		outbox.Config{Logger: slog.Default(), PollInterval: 50 * time.Millisecond})
	must(err)
	return box
}

func childSubscriber() {
	box, mode := childBox(), os.Getenv("CHILD_MODE")
	handle := func(ctx context.Context, e events.Event[order]) error {
		fmt.Println("got", e.EntityID, e.Version, e.Attempt)
		switch {
		case mode == "hang":
			<-ctx.Done()
			fmt.Println("ended", e.EntityID, context.Cause(ctx))
		case mode == "die" && e.EntityID == "deadly":
			os.Exit(7)
		}
		return nil
	}
	lease, err := time.ParseDuration(os.Getenv("CHILD_LEASE"))
	must(err)
	opts := []events.SubscribeOption{events.VisibilityTimeout(lease), events.Retry(atOnce), events.Concurrency(4)}
	if mode == "die" {
		opts = append(opts, events.OnFailure(events.DeadLetter), events.MaxAttempts(3))
	}
	fmt.Println("up")
	must(box.Run(context.Background(), orders.Subscriber(os.Getenv("CHILD_NAME"), handle, opts...)))
}

// spawnRelay starts a process that does nothing but the maintenance, the relay among it.
func spawnRelay(b *bed) *faults.Child {
	b.t.Helper()
	c := faults.Spawn(b.t, "relay", "CHILD_DSN="+outboxtest.DSN(b.pool))
	c.Await(b.t, "up", soon)
	return c
}

func childRelay() {
	box := childBox()
	fmt.Println("up")
	must(box.Run(context.Background()))
}

func must(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}
