package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

const (
	sharedSlots = 6
	keptSlots   = 2
)

// slotQueues are the queues of each process: most tasks are of the first, in which customers take turns, slots are kept
// for the second, and the third has limits over all processes.
var slotQueues = []string{"slots-flood", "slots-kept", "slots-heavy", "slots-small"}

// slotLimits are the limits of slotQueues.
var slotLimits = []queue.Limits{{Fair: true}, {}, {Running: 5, RunningPerKey: 2}, {}}

// childSlotted is a process that works the queues with slots that they share.
func childSlotted() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("CHILD_DSN"))
	must(err)
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	must(err)
	handler := func(_ context.Context, task queue.Task[note]) error {
		var n int64
		err := pool.QueryRow(ctx, `INSERT INTO public.runs (pid, task, key) VALUES ($1, $2, $3) RETURNING n`,
			os.Getpid(), task.ID, strings.TrimSuffix(task.Queue+"/"+task.CustomerKey, "/")).Scan(&n)
		must(err)
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
		_, err = pool.Exec(ctx, `UPDATE public.runs SET ended = clock_timestamp() WHERE n = $1`, n)
		must(err)
		switch rand.IntN(10) {
		case 0:
			return errors.New("at random")
		case 1:
			panic("at random")
		}
		return nil
	}
	slots := queue.Slots(sharedSlots)
	own := [][]queue.WorkerOption{{}, {queue.MinSlots(keptSlots)}, {queue.SlotWeight(3)}, {queue.Concurrency(2)}}
	var bindings []outbox.Binding
	for i, name := range slotQueues {
		q := queue.Define[note](name, queue.Config{Retry: atOnce, MaxAttempts: 100, Limits: slotLimits[i]})
		bindings = append(bindings, q.Worker(handler, append(own[i], slots, queue.VisibilityTimeout(toTheKill))...))
	}
	fmt.Println("up")
	must(box.Run(ctx, bindings...))
}

// putSlotted enqueues the tasks of slotQueues: of the flood, most are of one customer.
func putSlotted(b *bed, tasks []int) {
	for i, name := range slotQueues {
		q, keys := queue.Define[note](name, queue.Config{}), make([]string, tasks[i])
		for j := range keys {
			if keys[j] = fmt.Sprint("key-", j%10); i == 0 && j >= tasks[i]/2 {
				keys[j] = "big"
			}
		}
		if (slotLimits[i] == queue.Limits{}) {
			putMany(b, q, tasks[i])
			continue
		}
		putKeys(b, q, keys...)
	}
}

// Three processes work four queues, each with slots of its own, while some are killed and one is frozen and wakes
// again. No process ever runs more handlers than it has slots, nor the flood any in the slots that are kept for
// another queue; the customers of the flood take turns, the limits of another queue hold over all processes; and all is
// done in the end.
func TestSlotsAreShared(t *testing.T) {
	t.Parallel()
	l := newLimited(t, queue.Limits{}, 0)
	l.role = "slotted"
	logAdmissions(l.bed, slotQueues[0])
	for range 3 {
		l.spawn()
	}
	want := []int{160, 40, 60, 40}
	putSlotted(l.bed, want)
	frozen := l.children[0]
	l.children = l.children[1:]
	eventually(t, "the first process works", func() (string, bool) {
		n := value[int](l.bed, `SELECT count(*) FROM public.runs WHERE pid = $1`, frozen.PID())
		return fmt.Sprint(n), n > 10
	})
	if err := frozen.Freeze(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	takeLease(l.bed, frozen)
	l.killSome(2)
	if err := frozen.Wake(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	done := func() {
		eventually(t, "all tasks are done", func() (string, bool) {
			all := true
			var counts [4]int
			for i, name := range slotQueues {
				counts[i] = l.counts(name)[queue.StatusDelivered]
				all = all && counts[i] == want[i]
			}
			return fmt.Sprint(counts), all
		})
	}
	done()
	if most := l.maxAtOnce("pid"); most > sharedSlots {
		t.Errorf("%d ran at once in one process; want at most %d", most, sharedSlots)
	}
	if most := l.maxAtOnceOf("pid", "key <> 'slots-kept'"); most > sharedSlots-keptSlots {
		t.Errorf("%d ran at once beside the queue with a minimum of %d; want at most %d", most, keptSlots,
			sharedSlots-keptSlots)
	}
	checkTurns(t, admissions(l.bed), func(string) int { return 1 })
	// What the frozen process ran on after it had lost its lease, no limit counts.
	ofHeavy := fmt.Sprintf("key LIKE 'slots-heavy/%%' AND pid <> %d", frozen.PID())
	if most, ofKey := l.maxAtOnceOf("0", ofHeavy), l.maxAtOnceOf("key", ofHeavy); most > 5 || ofKey > 2 {
		t.Errorf("of the queue with limits %d ran at once, of a key %d; want at most 5 and 2", most, ofKey)
	}
	// Without faults and limits all slots are used. Two of them are for the queue that has few tasks: which process has
	// them at the same time as tasks of others is chance.
	l.exec(`SELECT public.strunk_set_limits(name) FROM unnest(ARRAY['slots-flood', 'slots-heavy']) name`)
	for times := 2; ; times++ {
		l.exec(`DELETE FROM public.runs`)
		for i, n := range []int{300, 40, 100, 40} {
			putMany(l.bed, queue.Define[note](slotQueues[i], queue.Config{}), n)
			want[i] += n
		}
		done()
		most := l.maxAtOnce("pid")
		if most == sharedSlots {
			return
		}
		if most > sharedSlots || times == 10 {
			t.Fatalf("after the faults %d ran at once in one process; want the %d slots, used again", most, sharedSlots)
		}
	}
}
