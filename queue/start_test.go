package queue_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// A process that starts gets to its first claim in three round trips, and asks for nothing else before:
// the version, then in one message all that a worker needs, then the claim. They go over the connection that Open has
// left in the pool. The maintenance loops come after. They do not wait for ever, so that on a very slow machine one of
// several starts may be another.
func TestStartIsShort(t *testing.T) {
	t.Parallel()
	other := newBed(t)
	pool, sent := wired(t, outboxtest.DSN(other.pool))
	b := bedOn(t, pool, outbox.Config{})
	begun := make(chan int64, 1)
	first := queue.Define[note]("first", queue.Config{})
	var problem string
	for range 3 {
		id := put(other, first, note{})
		sent.restart()
		stop := b.run(first.Worker(func(_ context.Context, task queue.Task[note]) error {
			begun <- task.ID
			return nil
		}))
		if got := receive(t, "the first task", begun); got != id {
			t.Fatalf("task %d has begun; want %d", got, id)
		}
		all, _ := sent.all()
		connects := sent.connectsBefore(firstClaim)
		stop()
		if problem = startProblem(all); problem == "" && connects > 0 {
			problem = fmt.Sprintf("%d connections were opened before the claim; the pool has one", connects)
		}
		if problem == "" {
			return
		}
	}
	t.Error(problem)
}

// firstClaim is the number of the message that claims first.
const firstClaim = 3

// startProblem says what is wrong with what a process has sent from its start on; empty for nothing.
func startProblem(all []sentStatement) string {
	claim := slices.IndexFunc(all, func(s sentStatement) bool { return s.name() == "strunk_claim" })
	if claim < 0 {
		return fmt.Sprintf("no claim in %v", counted(all))
	}
	var before []string
	for _, s := range all[:claim] {
		before = append(before, s.name())
	}
	want := []string{"strunk_migrations", "strunk_declare_limits", "strunk_set_outcomes", "strunk_declare_dedup",
		"strunk_control", "strunk_limits", "strunk_queues_with_work", "strunk_workers", "SET LOCAL"}
	if trip := all[claim].trip; trip != firstClaim || !slices.Equal(before, want) {
		return fmt.Sprintf("the first claim is message %d, after %q; want %d, after %q", trip, before, firstClaim, want)
	}
	return ""
}
