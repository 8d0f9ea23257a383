package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// A task that has not begun by its deadline is discarded, or dead, and never begins; one that has
// begun is worked to its end, whatever it takes.
func TestBeginBefore(t *testing.T) {
	t.Parallel()
	t.Run("in three boxes that lose their leases", deadlinesUnderLostLeases)
	t.Run("in three processes that are killed", deadlinesUnderKills)
	t.Run("wherever the task waits", lateWhereverItWaits)
	t.Run("a claimed task that is late does not begin", lateOnceClaimed)
	t.Run("a task that has begun has no deadline any more", begunIsNeverLate)
	t.Run("what cannot be kept is refused", deadlinesAreChecked)
}

// makeLate has the deadlines of a queue pass.
func (b *bed) makeLate(queue string) {
	b.t.Helper()
	b.exec(`UPDATE public.strunk_outbox_tasks SET begin_before = clock_timestamp() - interval '1 second'
		WHERE key = $1 AND begin_before IS NOT NULL`, queue)
}

// deadlinesUnderLostLeases has deadlines pass while tasks are claimed, run, fail and come back.
func deadlinesUnderLostLeases(t *testing.T) {
	t.Parallel()
	const tasks = 100
	b := newBed(t)
	b.exec(`CREATE TABLE public.begun (task bigint NOT NULL)`)
	q := queue.Define[note]("deadlines", queue.Config{Retry: atOnce, MaxAttempts: 1000})
	handler := func(ctx context.Context, task queue.Task[note]) error {
		_, err := b.pool.Exec(context.WithoutCancel(ctx), `INSERT INTO public.begun VALUES ($1)`, task.ID)
		if err != nil {
			return err
		}
		time.Sleep(rand.N(20 * time.Millisecond))
		if rand.IntN(3) == 0 {
			return errors.New("at random")
		}
		return nil
	}
	for range 3 {
		box := bedOn(t, b.pool, outbox.Config{})
		box.run(q.Worker(handler, queue.Concurrency(2)))
	}
	for range tasks {
		put(b, q, note{}, queue.BeginWithin(time.Millisecond+rand.N(time.Second)))
		if rand.IntN(tasks/4) == 0 {
			b.expireLeases()
		}
	}
	eventually(t, "all have ended", func() (string, bool) {
		c := b.counts(q.Name())
		return fmt.Sprint(c), c[queue.StatusDelivered]+c[queue.StatusDiscarded] == tasks
	})
	wantBegunOrLate(b, q)
}

// wantBegunOrLate checks that each task of the queue was discarded or has begun, and none did both.
func wantBegunOrLate(b *bed, q *queue.Queue[note]) {
	b.t.Helper()
	wrong := value[int](b, `SELECT count(*) FROM public.strunk_outbox o WHERE o.key = $1
		AND (o.status = 'discarded') = (o.id IN (SELECT task FROM public.begun))`, q.Name())
	if wrong > 0 {
		b.t.Errorf("%d of %v were discarded though they had begun, or done without; want none", wrong,
			b.counts(q.Name()))
	}
}

func lateWhereverItWaits(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	heard := map[int64]queue.Status{}
	hook := queue.Middleware{Late: func(_ context.Context, letter queue.DeadLetter) {
		mu.Lock()
		defer mu.Unlock()
		heard[letter.ID] = letter.Status
	}}
	b := newBed(t)
	b = bedOn(t, b.pool, outbox.Config{Extensions: []outbox.Extension{hook}})
	ctx := t.Context()
	handle := func(context.Context, queue.Task[note]) error { return nil }
	paused := queue.Define[note]("late-paused", queue.Config{BeginWithin: time.Hour, DeadIfLate: true})
	keyed := queue.Define[note]("late-keyed", queue.Config{Limits: queue.Limits{RunningPerKey: 1}})
	alone := queue.Define[note]("late-alone", queue.Config{Dedup: queue.DedupByPayload()})
	noError(t, paused.Pause(ctx, b.box, "a test"))
	finish, began := make(chan struct{}), make(chan int64, 10)
	b.run(paused.Worker(handle), keyed.Worker(func(_ context.Context, task queue.Task[note]) error {
		began <- task.ID
		<-finish
		return nil
	}))
	running := put(b, keyed, note{}, queue.CustomerKey("c"), queue.BeginWithin(time.Hour))
	receive(t, "the key's slot is taken", began)
	hour := queue.BeginWithin(time.Hour)
	want := map[int64]queue.Status{put(b, paused, note{}): queue.StatusDead}
	for _, id := range []int64{
		put(b, keyed, note{}, queue.CustomerKey("c"), queue.BeginBefore(time.Now().Add(time.Hour))),
		put(b, alone, note{}, queue.Delay(24*time.Hour), hour),
		put(b, alone, note{"x"}, hour),
	} {
		want[id] = queue.StatusDiscarded
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox_tasks WHERE id = ANY ($1)
		AND begin_before BETWEEN due_at + interval '59 minutes' AND due_at + interval '61 minutes'
		OR begin_before - created_at BETWEEN interval '59 minutes' AND interval '61 minutes'`, keysOf(want)); n < 4 {
		t.Errorf("%d of the tasks wait with the deadlines that they were given; want all", n)
	}
	if dup := put(b, alone, note{"x"}, queue.BeginWithin(time.Minute)); want[dup] == "" {
		t.Errorf("task %d was added though it is a duplicate", dup)
	}
	for _, name := range []string{"late-paused", "late-keyed", "late-alone"} {
		b.makeLate(name)
	}
	for id, status := range want {
		var rec queue.Record[note]
		for _, q := range []*queue.Queue[note]{paused, keyed, alone} {
			if r, err := q.Get(ctx, b.box, id); err == nil {
				rec = reach(b, q, r.ID, status)
			}
		}
		if says := "late: the task had not begun by "; !strings.HasPrefix(rec.LastError, says) {
			t.Errorf("task %d: last error %q; want %s and a time", id, rec.LastError, says)
		}
	}
	eventually(t, "the hook is told of each", func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprint(heard), fmt.Sprint(heard) == fmt.Sprint(want)
	})
	if n := value[int](b, `SELECT coalesce(sum(failures), 0) FROM public.strunk_error_groups(NULL,
		'1 hour', false, 100) WHERE example LIKE 'late: %'`); n != 4 {
		t.Errorf("%d late tasks are counted among the failures; want 4", n)
	}
	close(finish)
	reach(b, keyed, running, queue.StatusDelivered)
	put(b, keyed, note{}, queue.CustomerKey("c"))
	receive(t, "the key's next task begins", began)
}

func keysOf(m map[int64]queue.Status) (ids []int64) {
	for id := range m {
		ids = append(ids, id)
	}
	return ids
}

// lateOnceClaimed has no loop that ends late tasks: what claims them must.
func lateOnceClaimed(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b = bedOn(t, b.pool, outbox.Config{Disable: []outbox.Loop{outbox.LoopPromoter}})
	q := queue.Define[note]("late-claimed", queue.Config{})
	first := put(b, q, note{}, queue.BeginWithin(time.Hour))
	b.makeLate(q.Name())
	c, err := q.Claim(t.Context(), b.box, 5)
	noError(t, err)
	if len(c.Tasks) != 0 || get(b, q, first).Status != queue.StatusDiscarded {
		t.Errorf("a claim by hand has %d tasks, and the late one is %s; want none, and discarded", len(c.Tasks),
			get(b, q, first).Status)
	}
	second := put(b, q, note{}, queue.BeginWithin(time.Hour))
	b.makeLate(q.Name())
	third := put(b, q, note{}, queue.BeginWithin(time.Hour))
	began := make(chan int64, 10)
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { began <- task.ID; return nil }))
	reach(b, q, second, queue.StatusDiscarded)
	reach(b, q, third, queue.StatusDelivered)
	if id := receive(t, "the task in time begins", began); id != third || len(began) > 0 {
		t.Errorf("task %d began, and %d more; want %d alone", id, len(began), third)
	}
}

func begunIsNeverLate(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b = bedOn(t, b.pool, outbox.Config{Disable: []outbox.Loop{outbox.LoopPromoter}})
	q := queue.Define[note]("late-begun", queue.Config{BeginWithin: time.Hour, Retry: atOnce})
	deadline := func(id int64) bool {
		return value[bool](b, `SELECT begin_before IS NOT NULL FROM public.strunk_outbox WHERE id = $1`, id)
	}
	id := put(b, q, note{})
	for _, way := range []struct {
		name string
		back func(c *queue.Claim[note]) error
		has  bool
	}{
		{"was given back", func(c *queue.Claim[note]) error { return c.Release(t.Context()) }, true},
		{"was snoozed", func(c *queue.Claim[note]) error { return c.Fail(t.Context(), id, queue.Snooze(0)) }, false},
	} {
		c, err := q.Claim(t.Context(), b.box, 1)
		noError(t, err)
		noError(t, way.back(c))
		if has := deadline(id); has != way.has {
			t.Errorf("a task that %s has a deadline: %v; want %v", way.name, has, way.has)
		}
	}
	lost := put(b, q, note{})
	b.exec(`UPDATE public.strunk_outbox SET due_at = now() + interval '1 day', status = 'scheduled' WHERE id = $1`, id)
	c, err := q.Claim(t.Context(), b.box, 1)
	noError(t, err)
	if len(c.Tasks) != 1 || c.Tasks[0].ID != lost {
		t.Fatalf("claimed %v; want task %d", c.Tasks, lost)
	}
	b.run()
	b.expireLeases()
	reach(b, q, lost, queue.StatusPending)
	if deadline(lost) {
		t.Error("a task whose worker was lost after it had begun has a deadline; want none")
	}
	b.exec(`UPDATE public.strunk_outbox SET status = 'dead' WHERE id = $1`, lost)
	b.exec(`SELECT public.strunk_retry_ended(ARRAY[$1::bigint])`, lost)
	if deadline(lost) {
		t.Error("a dead letter that is retried has a deadline; want none")
	}
}

func deadlinesAreChecked(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("late-checked", queue.Config{})
	soonest := time.Now().Add(time.Hour)
	for says, opts := range map[string][]queue.EnqueueOption{
		"BeginWithin":  {queue.BeginWithin(0)},
		"year":         {queue.BeginBefore(time.Time{}.AddDate(-1, 0, 0))},
		"never begin":  {queue.DueAt(soonest), queue.BeginBefore(soonest)},
		"BeginWithin:": {queue.BeginWithin(-time.Second)},
	} {
		wantError(t, b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			_, err := q.Enqueue(t.Context(), tx, note{}, opts...)
			return err
		}), queue.ErrInvalid, says)
	}
}
