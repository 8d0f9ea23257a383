package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// limited is a queue that processes of their own work, of which a test kills some. Each handler
// notes in the database when it begins and when it ends, by the database's clock.
type limited struct {
	*bed
	role        string // of the processes
	q           *queue.Queue[note]
	limits      queue.Limits
	concurrency int
	children    []*faults.Child
}

func newLimited(t *testing.T, limits queue.Limits, concurrency int) *limited {
	t.Helper()
	b := newBed(t)
	b.exec(`CREATE TABLE public.runs (n bigserial PRIMARY KEY, pid int NOT NULL, task bigint NOT NULL, key text
		NOT NULL,
		began timestamptz NOT NULL DEFAULT clock_timestamp(), ended timestamptz)`)
	b.run() // the rescue
	return &limited{bed: b, role: "limited", q: queue.Define[note]("limited", queue.Config{Limits: limits}),
		limits: limits, concurrency: concurrency}
}

func (l *limited) spawn() *faults.Child {
	l.t.Helper()
	doc, err := json.Marshal(l.limits)
	if err != nil {
		l.t.Fatal(err)
	}
	c := faults.Spawn(l.t, l.role, "CHILD_DSN="+outboxtest.DSN(l.pool), "CHILD_LIMITS="+string(doc),
		"CHILD_CONCURRENCY="+strconv.Itoa(l.concurrency))
	c.Await(l.t, "up", soon)
	l.children = append(l.children, c)
	return c
}

// kill ends a process of those that run, notes that its handlers have ended, no later than they do, and takes its lease
// away.
func (l *limited) kill(c *faults.Child) {
	l.t.Helper()
	l.exec(`UPDATE public.runs SET ended = clock_timestamp() WHERE ended IS NULL AND pid = $1`, c.PID())
	c.Kill()
	eventually(l.t, "its lease is taken away", func() (string, bool) {
		_, err := l.pool.Exec(context.Background(), `SELECT public.strunk_expire_lease(id, NULL)
			FROM public.strunk_workers WHERE pid = $1`, c.PID())
		return fmt.Sprint(err), err == nil // its last statement may still be running
	})
}

// killSome kills processes at random moments and starts others in their place, while tasks are being done.
func (l *limited) killSome(n int) {
	l.t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for range n {
		before := value[int](l.bed, `SELECT count(*) FROM public.runs`)
		eventually(l.t, "handlers begin", func() (string, bool) {
			now, c := value[int](l.bed, `SELECT count(*) FROM public.runs`), l.counts(l.q.Name())
			// The processes may be quicker than this one: then all is done by now.
			over := c[queue.StatusPending]+c[queue.StatusScheduled]+c[queue.StatusClaimed] == 0
			return fmt.Sprint(now, c), over || now > before+r.IntN(20)
		})
		i := r.IntN(len(l.children))
		victim := l.children[i]
		l.children = append(l.children[:i], l.children[i+1:]...)
		l.kill(victim)
		l.spawn()
	}
}

func (l *limited) awaitDone(n int) {
	l.t.Helper()
	eventually(l.t, fmt.Sprintf("%d tasks are done", n), func() (string, bool) {
		c := l.counts(l.q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered] == n
	})
}

// maxAtOnce is how many ran at once at the worst moment, within what groups of runs (an expression
// over runs) share. All that is to run has; what has not ended then was begun by a process as it
// was killed, or by its server when it was dead already.
func (l *limited) maxAtOnce(group string) int {
	l.t.Helper()
	return l.maxAtOnceOf(group, "true")
}

// maxAtOnceOf is maxAtOnce of the runs for which a condition holds.
func (l *limited) maxAtOnceOf(group, condition string) int {
	l.t.Helper()
	return value[int](l.bed, `SELECT coalesce(max(n), 0) FROM (
		SELECT sum(d) OVER (PARTITION BY g ORDER BY at, d) AS n FROM (
			SELECT `+group+` AS g, began AS at, 1 AS d FROM public.runs WHERE `+condition+` UNION ALL
			SELECT `+group+`, coalesce(ended, began), -1 FROM public.runs WHERE `+condition+`) e) s`)
}

// childLimited is a process that works the queue.
func childLimited() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	must(err)
	concurrency, err := strconv.Atoi(os.Getenv("CHILD_CONCURRENCY"))
	must(err)
	var limits queue.Limits
	must(json.Unmarshal([]byte(os.Getenv("CHILD_LIMITS")), &limits))
	q := queue.Define[note]("limited", queue.Config{Retry: atOnce, MaxAttempts: 100, Limits: limits})
	fmt.Println("up")
	must(box.Run(ctx, q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		var n int64
		err := pool.QueryRow(ctx, `INSERT INTO public.runs (pid, task, key) VALUES ($1, $2, $3) RETURNING
			n`, os.Getpid(), task.ID, task.CustomerKey).Scan(&n)
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
		fails := rand.IntN(8) == 0
		if _, err := pool.Exec(ctx, `UPDATE public.runs SET ended = clock_timestamp() WHERE n = $1`, n); err != nil {
			return err
		}
		if fails {
			return errors.New("at random")
		}
		return nil
	}, queue.VisibilityTimeout(toTheKill), queue.Concurrency(concurrency))))
}

func TestLimitHoldsAcrossProcesses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, group string
		limits      queue.Limits
		most, tasks int
	}{
		{"of a queue", "0", queue.Limits{Running: 5}, 5, 600},
		{"of a key", "key", queue.Limits{RunningPerKey: 2}, 2, 600},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLimited(t, c.limits, 6)
			for range 3 {
				l.spawn()
			}
			keys := make([]string, c.tasks)
			for i := range keys {
				keys[i] = fmt.Sprint("key-", i%7)
			}
			putKeys(l.bed, l.q, keys...)
			l.killSome(4)
			l.awaitDone(c.tasks)
			// The limit is reached again once what was killed has no lease any more.
			eventually(t, "the live processes are left", func() (string, bool) {
				n := value[int](l.bed, `SELECT count(*) FROM public.strunk_workers`)
				return fmt.Sprint(n), n == len(l.children)
			})
			if most := l.maxAtOnce(c.group); most > c.most {
				t.Errorf("%d ran at once; want at most %d", most, c.most)
			}
			l.exec(`DELETE FROM public.runs`)
			putKeys(l.bed, l.q, keys...)
			l.awaitDone(2 * c.tasks)
			if most := l.maxAtOnce(c.group); most != c.most {
				t.Errorf("after the last kill %d ran at once; want the limit of %d, reached again", most, c.most)
			}
		})
	}
}

func TestFIFOSurvivesRetriesAndKills(t *testing.T) {
	t.Parallel()
	const keys, perKey = 40, 25
	l := newLimited(t, queue.Limits{FIFO: true}, 8)
	for range 3 {
		l.spawn()
	}
	var all []string
	for i := range keys * perKey {
		all = append(all, fmt.Sprint("key-", i%keys))
	}
	putKeys(l.bed, l.q, all...)
	l.killSome(5)
	l.awaitDone(keys * perKey)
	if most := l.maxAtOnce("key"); most != 1 {
		t.Errorf("%d tasks of one key ran at once; want 1", most)
	}
	// A run repeats the task of the run before, or goes on to the next one of the key.
	wrong := value[int](l.bed, `SELECT count(*) FROM (
		SELECT task, lag(task) OVER (PARTITION BY key ORDER BY n) AS before, key FROM public.runs) r
		WHERE task <> coalesce(before, 0) AND task <> (
			SELECT min(o.id) FROM public.strunk_outbox o WHERE o.key = 'limited' AND o.customer_key = r.key
			AND o.id > coalesce(r.before, 0))`)
	if wrong != 0 {
		t.Errorf("%d runs were out of order", wrong)
	}
}
