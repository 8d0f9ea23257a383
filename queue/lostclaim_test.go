package queue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// fewHeartbeats is within how many heartbeats the tasks of a lost claim must be with a handler.
const fewHeartbeats = 4

// lostClaim is a worker behind a proxy, with two tasks for it.
type lostClaim struct {
	*bed
	far   *bed // the same database, behind the proxy
	proxy *faults.Proxy
	q     *queue.Queue[note]
	ids   []int64
	began chan queue.Task[note]
	done  chan struct{} // lets handlers end
}

func newLostClaim(t *testing.T) *lostClaim {
	t.Helper()
	b := newBed(t)
	proxy := faults.NewProxy(t, outboxtest.DSN(b.pool))
	dsn, err := proxy.DSN(outboxtest.DSN(b.pool))
	if err != nil {
		t.Fatal(err)
	}
	l := &lostClaim{bed: b, far: bedOn(t, dial(t, dsn), outbox.Config{}), proxy: proxy,
		q:     queue.Define[note]("lost", queue.Config{}),
		began: make(chan queue.Task[note], 10), done: make(chan struct{})}
	l.ids = putMany(b, l.q, 2)
	return l
}

func (l *lostClaim) start(concurrency int) {
	l.far.run(l.q.Worker(func(_ context.Context, task queue.Task[note]) error {
		l.began <- task
		<-l.done
		return nil
	}, queue.Concurrency(concurrency), queue.VisibilityTimeout(12*time.Second)))
}

// lease returns the one worker and its heartbeat.
func (l *lostClaim) lease() (id, heartbeat int64) {
	l.t.Helper()
	err := l.pool.QueryRow(context.Background(), `SELECT id, heartbeat
		FROM public.strunk_workers`).Scan(&id, &heartbeat)
	if err != nil {
		l.t.Fatal(err)
	}
	return id, heartbeat
}

// comeBack checks that both tasks reach a handler of the same worker, their attempts unspent, within a few heartbeats.
func (l *lostClaim) comeBack(worker, heartbeat int64) {
	l.t.Helper()
	for range l.ids {
		task := receive(l.t, "the tasks of the lost claim come back", l.began)
		if task.Attempt != 1 {
			l.t.Errorf("task %d came back as attempt %d; want 1, an answer that was lost spends none", task.ID,
				task.Attempt)
		}
	}
	same, now := l.lease()
	if same != worker || now-heartbeat > fewHeartbeats {
		l.t.Errorf("worker %d, %d heartbeats later; want worker %d and at most %d", same, now-heartbeat, worker,
			fewHeartbeats)
	}
	close(l.done)
	for _, id := range l.ids {
		reach(l.bed, l.q, id, queue.StatusDelivered)
	}
}

func TestLostClaimAnswerIsGivenBack(t *testing.T) {
	t.Parallel()
	t.Run("the connection breaks before the answer", func(t *testing.T) {
		t.Parallel()
		l := newLostClaim(t)
		trap := l.proxy.Set("strunk_claim(", faults.CutBeforeAnswer)
		l.start(2)
		receive(t, "the server has answered", trap.Answered())
		worker, heartbeat := l.lease()
		l.comeBack(worker, heartbeat)
	})
	t.Run("the claim is cancelled while its answer is under way", func(t *testing.T) {
		t.Parallel()
		l := newLostClaim(t)
		trap := l.proxy.Set("strunk_claim(", faults.HoldAnswer)
		l.start(2)
		receive(t, "the server has answered", trap.Answered())
		eventually(t, "the worker gives the claim up", func() (string, bool) {
			s := l.far.logs.String()
			return s, strings.Contains(s, "a claim failed")
		})
		worker, heartbeat := l.lease()
		l.comeBack(worker, heartbeat)
		trap.Release()
	})
	t.Run("the connection breaks while the server commits", func(t *testing.T) {
		t.Parallel()
		l := newLostClaim(t)
		release := l.slowCommits()
		trap := l.proxy.Set("strunk_claim(", faults.CutClient)
		l.start(2)
		receive(t, "the claim is sent", trap.Sprung())
		l.awaitCommitting()
		// The claim being committed delays what voids it, but no heartbeat.
		worker, heartbeat := l.lease()
		eventually(t, "heartbeats go on", func() (string, bool) {
			_, now := l.lease()
			return fmt.Sprint(now), now >= heartbeat+2
		})
		_, heartbeat = l.lease()
		release()
		l.comeBack(worker, heartbeat)
	})
	t.Run("the server cancels the commit", func(t *testing.T) {
		t.Parallel()
		l := newLostClaim(t)
		release := l.slowCommits()
		l.start(2)
		l.awaitCommitting()
		l.exec(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event = 'advisory' AND query = 'COMMIT'`)
		worker, heartbeat := l.lease()
		release()
		l.comeBack(worker, heartbeat)
	})
	t.Run("the claim reaches the server after it was given up", func(t *testing.T) {
		t.Parallel()
		l := newLostClaim(t)
		trap := l.proxy.Set("strunk_claim(", faults.CutThenDeliver)
		l.start(1)
		first := receive(t, "the next claim brings a task", l.began)
		eventually(t, "the lost claim is void", func() (string, bool) {
			floor := value[int64](l.bed, `SELECT claim_floor FROM public.strunk_workers`)
			return fmt.Sprint(floor), floor > 0
		})
		trap.Release()
		receive(t, "the server has answered the late claim", trap.Answered())
		eventually(t, "its transaction has ended", func() (string, bool) {
			n := value[int](l.bed, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
				AND state <> 'idle' AND query LIKE '%strunk_claim(%' AND pid <> pg_backend_pid()`)
			return fmt.Sprint(n), n == 0
		})
		if rec := get(l.bed, l.q, l.ids[1]); rec.Status != queue.StatusPending || rec.Attempt != 0 {
			t.Errorf("a late claim took task %d: %s, attempt %d; want pending and 0", rec.ID, rec.Status, rec.Attempt)
		}
		close(l.done)
		if second := receive(t, "the other task", l.began); first.ID == second.ID || second.Attempt != 1 {
			t.Errorf("task %d, attempt %d after task %d; want the other one, attempt 1", second.ID, second.Attempt,
				first.ID)
		}
		for _, id := range l.ids {
			reach(l.bed, l.q, id, queue.StatusDelivered)
		}
	})
}

// slowCommits keeps claims waiting in their COMMIT until the returned function is called.
func (l *lostClaim) slowCommits() (release func()) {
	l.t.Helper()
	l.exec(`CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$`)
	l.exec(`CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON public.strunk_outbox_tasks DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.status = 'claimed' AND OLD.status = 'pending') EXECUTE FUNCTION public.wait()`)
	conn, err := l.pool.Acquire(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := conn.Exec(context.Background(), `SELECT pg_advisory_lock(4711)`); err != nil {
		l.t.Fatal(err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			_ = conn.Conn().Close(context.Background())
			conn.Release()
		}
	}
	l.t.Cleanup(release)
	return release
}

func (l *lostClaim) awaitCommitting() {
	l.t.Helper()
	eventually(l.t, "the server commits the claim", func() (string, bool) {
		n := value[int](l.bed, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event = 'advisory' AND query = 'COMMIT'`)
		return fmt.Sprint(n), n == 1
	})
}
