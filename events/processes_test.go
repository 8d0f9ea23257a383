package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/faults"
)

// awaitOwner waits until a process owns a subscriber.
func awaitOwner(b *bed, name string, pid int) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("process %d owns %s", pid, name), func() (string, bool) {
		s := b.stats(name)
		return s.Owner, strings.HasSuffix(s.Owner, fmt.Sprintf("/%d", pid))
	})
}

// awaitGot collects what a child was given: "<id> <version> <attempt>".
func awaitGot(t *testing.T, c *faults.Child, n int) []string {
	t.Helper()
	got := make([]string, n)
	for i := range got {
		got[i] = c.Await(t, "got", soon)
	}
	return got
}

// Two processes run one subscriber: one has it, in order and each event once, and when it leaves
// the other goes on where it stopped.
func TestTwoProcessesOneSubscriber(t *testing.T) {
	t.Parallel()
	const n = 60
	b := newBed(t)
	child := spawnLeased(b, "shared", "print", childLease)
	awaitOwner(b, "shared", child.PID())
	var got record
	b.run(orders.Subscriber("shared", got.handle))
	// The other process watches for more than a lease.
	const row = `SELECT jsonb_build_array(epoch, heartbeat) FROM public.strunk_subscribers WHERE name = 'shared'`
	before := value[[]int64](b, row)
	eventually(t, "the owner's heartbeat goes on", func() (string, bool) {
		now := value[[]int64](b, row)
		return fmt.Sprint(now), now[0] != before[0] || now[1] >= before[1]+10
	})
	if now := value[[]int64](b, row); now[0] != before[0] {
		t.Errorf("the epoch went from %d to %d: the subscriber was taken from an owner that lives", before[0], now[0])
	}
	b.publishMany(n)
	theirs := awaitGot(t, child, n)
	b.reachHead("shared")
	if got.len() != 0 {
		t.Errorf("the process that does not own the subscriber was given %d events", got.len())
	}
	slices.Sort(theirs)
	if each := slices.Compact(theirs); len(each) != n {
		t.Errorf("the owner was given %d different events; want %d, each once", len(each), n)
	}
	child.Kill()
	b.endLease("shared")
	b.publishMany(n)
	got.await(t, n)
	b.reachHead("shared")
	for id, versions := range got.versions() {
		if !slices.Equal(versions, []int64{2}) {
			t.Errorf("entity %s: the second process was given versions %v; want 2 alone", id, versions)
		}
	}
}

// The owner is killed with events in hand: another process takes over after the lease, and nothing is missing.
func TestOwnerKilledAnotherTakesOver(t *testing.T) {
	t.Parallel()
	const n = 20
	b := newBed(t)
	child := spawnLeased(b, "killed", "hang", childLease)
	awaitOwner(b, "killed", child.PID())
	b.publishMany(n)
	begun := awaitGot(t, child, 1)
	var got record
	began := time.Now()
	b.run(orders.Subscriber("killed", got.handle))
	heartbeat := value[time.Time](b, `SELECT heartbeat_at FROM public.strunk_subscribers WHERE name = 'killed'`)
	child.Kill()
	got.await(t, n)
	if watched := time.Since(began); watched < childLease {
		t.Errorf("taken over when the owner had been watched for %v; want its lease of %v", watched, childLease)
	}
	if silent := time.Duration(value[float64](b, `SELECT extract(epoch FROM clock_timestamp() -
		$1::timestamptz)::float8`, heartbeat) * float64(time.Second)); silent < childLease {
		t.Errorf("taken over %v after the owner's last heartbeat; want its lease of %v", silent, childLease)
	}
	b.reachHead("killed")
	last := got.inOrder(t)
	if len(last) != n {
		t.Errorf("%d entities arrived; want all %d", len(last), n)
	}
	again := 0
	for _, e := range got.all() {
		for _, line := range begun {
			if strings.HasPrefix(line, e.EntityID+" ") {
				again++
				if e.Attempt < 2 {
					t.Errorf("%s was begun by the process that was lost, and comes as attempt %d", e.EntityID,
						e.Attempt)
				}
			}
		}
	}
	if again != len(begun) {
		t.Errorf("%d of the %d events that were under way came again", again, len(begun))
	}
}

// A frozen owner wakes up after another has taken over: its handlers are cancelled, and it changes nothing.
func TestStaleOwnerCannotMoveCursor(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	child := spawnSubscriber(b, "stale", "hang")
	awaitOwner(b, "stale", child.PID())
	b.publish(order{ID: "a"}, order{ID: "a"})
	awaitGot(t, child, 1)
	stale := b.stats("stale")
	epoch := value[int64](b, `SELECT epoch FROM public.strunk_subscribers WHERE name = 'stale'`)
	if err := child.Freeze(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("processes cannot be frozen here")
	} else {
		noError(t, err)
	}
	b.endLease("stale")
	begun, finish := make(chan string, 10), make(chan struct{})
	stop := b.run(orders.Subscriber("stale", func(_ context.Context, e events.Event[order]) error {
		begun <- e.EntityID
		<-finish
		return nil
	}))
	receive(t, "the events are taken over", begun)
	const row = `SELECT to_jsonb(s) - 'heartbeat' - 'heartbeat_at' FROM public.strunk_subscribers s
		WHERE name = 'stale'`
	before := value[string](b, `SELECT (`+row+`)::text`)
	noError(t, child.Wake())
	if line := child.Await(t, "ended", soon); !strings.Contains(line, events.ErrLeaseLost.Error()) {
		t.Errorf("the stale handler's context ended with %q; want ErrLeaseLost", line)
	}
	// What the stale owner would write, with its epoch, at the latest moment.
	for _, sql := range []string{
		`SELECT public.strunk_move_cursor('stale', $1, 0, 2, true)`,
		`SELECT public.strunk_start_events('stale', $1, 99)`,
		`SELECT coalesce(public.strunk_attempt_failed('stale', $1, 1, '', 1, 'no', NULL, 'x'), false)`,
		`SELECT public.strunk_add_delivery('stale', $1, 'order', 'a', 1, 1, 1, now(), NULL, '{}', NULL, NULL, 1,
			1, 'no', NULL, 'x', 'parked', NULL) <> 'epoch_over'`,
	} {
		if value[bool](b, sql, epoch) {
			t.Errorf("%s was let through with an epoch that is over", sql)
		}
	}
	if after := value[string](b, `SELECT (`+row+`)::text`); after != before {
		t.Errorf("the stale owner changed the subscriber:\nbefore %s\nafter  %s", before, after)
	}
	if stale.Cursor != 0 {
		t.Errorf("the cursor moved to %d before anything was handled", stale.Cursor)
	}
	child.Kill()
	close(finish)
	b.reachHead("stale")
	stop()
}

// A process ends in the middle of an event, again and again: its attempts were stored before, so the policy applies, to
// that event alone.
func TestCrashesCountAsAttempts(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i := range 5 {
		b.publish(order{ID: fmt.Sprintf("before-%d", i)})
	}
	b.publish(order{ID: "deadly"}, order{ID: "after"})
	for range 3 { // attempts
		child := spawnSubscriber(b, "crash", "die")
		for {
			line := child.Await(t, "got", soon)
			if strings.HasPrefix(line, "deadly") {
				break
			}
		}
		child.Kill()
		b.endLease("crash")
	}
	child := spawnSubscriber(b, "crash", "die")
	b.reachHead("crash")
	dead, err := events.Dead(context.Background(), b.box, "crash", 10)
	noError(t, err)
	if len(dead) != 1 || dead[0].EntityID != "deadly" {
		for _, d := range dead {
			t.Errorf("dead letter: %s, %d attempts, %s, %s; want the event that ended the process, alone",
				d.EntityID, d.Attempts, d.LastError, d.Errors)
		}
	}
	child.Kill()
}

// The relay's process is killed under load; another goes on, and nothing is lost, doubled or out of order.
func TestRelayKilledAnotherGoesOn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var got record
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; !isClosed(stop); n++ {
			b.publish(order{ID: fmt.Sprintf("e%d", n%7), N: n})
		}
		done <- n
	}()
	for range 3 {
		before, child := b.head(), spawnRelay(b)
		eventually(t, "the relay has moved something", func() (string, bool) {
			head := b.head()
			return fmt.Sprint(head), head > before
		})
		child.Kill()
	}
	close(stop)
	n := <-done
	b.run(orders.Subscriber("kept", got.handle))
	got.await(t, n)
	b.reachHead("kept")
	got.inOrder(t)
	if arrived := got.len(); arrived != n {
		t.Errorf("%d events arrived; want %d", arrived, n)
	}
	if head := b.head(); head != int64(n) {
		t.Errorf("the head is at %d; want %d: positions have neither gaps nor doubles", head, n)
	}
}

func (b *bed) head() int64 {
	b.t.Helper()
	return value[int64](b, `SELECT head FROM public.strunk_feed ORDER BY slot DESC LIMIT 1`)
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
