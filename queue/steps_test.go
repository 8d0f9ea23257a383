package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// What a step has stored is what every later attempt gets, and its function does not run again:
// after failures, lost leases, handlers that do not stop, and the retry of a dead letter.
func TestStepsRunOnce(t *testing.T) {
	t.Parallel()
	t.Run("in three boxes that lose their leases", stepsOutliveLeases)
	t.Run("in three processes that are killed", stepsOutliveKills)
	t.Run("over the retry of a dead letter", stepsOutliveDeadLetters)
	t.Run("and what was declared otherwise is said", stepsAreChecked)
	t.Run("and what was renamed is said", renamedSteps)
	t.Run("in a handler's transaction", stepsInTx)
}

// stepsOutliveLeases has the first attempt of each task lose its lease after its first step. It goes
// on when the next attempt has begun, and takes no notice of its context.
func stepsOutliveLeases(t *testing.T) {
	t.Parallel()
	const tasks = 10
	b := newBed(t)
	b.exec(`CREATE TABLE public.charges (task bigint NOT NULL, step text NOT NULL, fence bigint NOT NULL)`)
	q := queue.Define[note]("steps", queue.Config{Retry: atOnce, MaxAttempts: 1000})
	attempts := overtaken{begun: map[int64][]chan struct{}{}}
	var mu sync.Mutex
	seen, fresh := map[int64]map[int64]bool{}, 0
	handler := func(ctx context.Context, task queue.Task[note]) error {
		ctx = context.WithoutCancel(ctx)
		n, later := attempts.begin(task.ID)
		first, err := queue.Step(ctx, "first", func(context.Context) (int64, error) {
			mu.Lock()
			defer mu.Unlock()
			fresh++
			return task.Fence, nil
		})
		if err != nil {
			return err
		}
		mu.Lock()
		if seen[task.ID] == nil {
			seen[task.ID] = map[int64]bool{}
		}
		seen[task.ID][first] = true
		mu.Unlock()
		if n == 1 {
			attempts.wait(later)
		}
		if n == 3 {
			err = errors.New("once more")
		}
		return errors.Join(err, charge(ctx, b, task))
	}
	attempts.loseLeases(b, q, tasks, 2*tasks, handler)
	mu.Lock()
	defer mu.Unlock()
	for id, values := range seen {
		if len(values) != 1 {
			t.Errorf("task %d: its attempts were given %d results of one step; want 1", id, len(values))
		}
	}
	if fresh != tasks {
		t.Errorf("the first steps of %d tasks ran %d times; want once each", tasks, fresh)
	}
	if n := value[int](b, `SELECT count(*) FROM public.charges`); n != 2*tasks {
		t.Errorf("%d charges of %d tasks; want 2 each", n, tasks)
	}
	if n := value[int](b, `SELECT count(*) FROM (SELECT DISTINCT task, step FROM public.charges) x`); n != 2*tasks {
		t.Errorf("%d different charges; want %d", n, 2*tasks)
	}
}

// charge makes two steps in transactions. Of a handler that has lost its task nothing is left.
func charge(ctx context.Context, b *bed, task queue.Task[note]) (err error) {
	for _, name := range []string{"charge a", "charge b"} {
		err = errors.Join(err, b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			_, err := queue.StepInTx(ctx, tx, name, func(ctx context.Context) (struct{}, error) {
				_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.charges VALUES ($1, $2, $3)`, task.ID, name,
					task.Fence)
				return struct{}{}, err
			})
			return err
		}))
	}
	return err
}

func stepsOutliveDeadLetters(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("steps-dead", queue.Config{Retry: atOnce, MaxAttempts: 2})
	var runs, failed atomic.Int64
	var fail atomic.Bool
	fail.Store(true)
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		_, err := queue.Step(ctx, "refused", func(context.Context) (int, error) { return 0, errors.New("refused") })
		if err == nil || !strings.Contains(err.Error(), "refused") {
			return fmt.Errorf("the error of a step is %w", err)
		}
		got, err := queue.Step(ctx, "charge", func(context.Context) (map[string]string, error) {
			return map[string]string{"id": fmt.Sprint("charge ", runs.Add(1))}, nil
		})
		if err == nil && got["id"] != "charge 1" {
			err = fmt.Errorf("the step's result is %v", got)
		}
		if err == nil && fail.Load() {
			failed.Add(1)
			err = errors.New("after the charge")
		}
		return err
	}))
	id := put(b, q, note{})
	reach(b, q, id, queue.StatusDead)
	const reap = `SELECT public.strunk_reap_steps(now() + interval '1 hour', 100)`
	if n := value[int](b, reap); n != 0 {
		t.Errorf("retention deleted %d steps of a dead letter; want none", n)
	}
	fail.Store(false)
	b.exec(`SELECT public.strunk_retry_ended(ARRAY[$1::bigint])`, id)
	reach(b, q, id, queue.StatusDelivered)
	if runs.Load() != 1 || failed.Load() != 2 {
		t.Errorf("the step ran %d times and %d attempts failed after it; want 1 and 2", runs.Load(), failed.Load())
	}
	if n := value[int](b, reap); n != 1 {
		t.Errorf("retention deleted %d steps of a task that is done; want 1", n)
	}
}

func stepsAreChecked(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("steps-checked", queue.Config{Retry: atOnce})
	one := func(context.Context) (int, error) { return 1, nil }
	answers := make(chan []error, 2)
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		_, first := queue.Step(ctx, "n", one)
		_, again := queue.Step(ctx, "n", one)
		_, typed := queue.Step(ctx, "text", func(context.Context) (string, error) { return "x", nil })
		if task.Attempt == 2 {
			_, typed = queue.Step(ctx, "text 2", one)
		}
		_, name := queue.Step(ctx, "", one)
		_, size := queue.Step(ctx, "large", func(context.Context) (string, error) {
			return strings.Repeat("x", queue.MaxStepResult), nil
		})
		_, json := queue.Step(ctx, "no JSON", func(context.Context) (func(), error) { return nil, nil })
		if answers <- []error{first, again, typed, name, size, json}; task.Attempt == 1 {
			b.exec(`UPDATE public.strunk_steps SET name = 'text 2' WHERE name = 'text'`)
			return errors.New("once more")
		}
		return nil
	}))
	id := put(b, q, note{})
	for range 2 {
		got := receive(t, "an attempt", answers)
		noError(t, got[0])
		wantError(t, got[1], queue.ErrInvalid, `step "n"`, "in this attempt")
		wantError(t, got[3], queue.ErrInvalid)
		wantError(t, got[4], queue.ErrInvalid, "large")
		wantError(t, got[5], queue.ErrInvalid)
		if got[2] != nil {
			wantError(t, got[2], queue.ErrStepChanged, "stored a string, and a int", "new name")
			break
		}
	}
	reach(b, q, id, queue.StatusDelivered)
	_, err := queue.Step(t.Context(), "n", one)
	wantError(t, err, queue.ErrNotInHandler)
}

// renamedSteps renames a step where steps are declared: what the first attempt has stored under the old name fails the
// second before anything runs, and the third has its old name again.
func renamedSteps(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("steps-renamed", queue.Config{Retry: atOnce, Steps: []string{"charge card", "mail *"}})
	var ran []string // in the attempt
	step := func(ctx context.Context, name string, fails bool) error {
		_, err := queue.Step(ctx, name, func(context.Context) (int, error) {
			if ran = append(ran, name); fails {
				return 0, errors.New("no route")
			}
			return 1, nil
		})
		return err
	}
	type attempt struct {
		ran    []string
		errors []error
	}
	answers := make(chan attempt, 3)
	rename := func(from, to string) {
		b.exec(`UPDATE public.strunk_steps SET name = $2 WHERE name = $1`, from, to)
	}
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		ran = nil
		errs := []error{step(ctx, "mail 1", task.Attempt == 1), step(ctx, "charge card", false),
			step(ctx, "text 1", false)}
		errs = append(errs, b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			_, err := queue.StepInTx(ctx, tx, "mail 2", func(context.Context) (int, error) {
				ran = append(ran, "mail 2")
				return 2, nil
			})
			return err
		}))
		switch task.Attempt {
		case 1:
			rename("charge card", "charge")
		case 2:
			rename("charge", "charge card")
		default:
			answers <- attempt{ran, errs}
			return nil
		}
		answers <- attempt{ran, errs}
		return errors.New("once more")
	}, queue.Concurrency(1)))
	id := put(b, q, note{})
	for i, want := range []string{"[mail 1 charge card mail 2]", "[]", "[mail 1]"} {
		got := receive(t, "an attempt", answers)
		if fmt.Sprint(got.ran) != want {
			t.Errorf("attempt %d ran %v; want %s", i+1, got.ran, want)
		}
		wantError(t, got.errors[2], queue.ErrInvalid, `step "text 1"`, "Config.Steps does not declare it")
		for _, j := range []int{0, 1, 3} {
			switch {
			case i == 1:
				wantError(t, got.errors[j], queue.ErrStepChanged, "give it its old name",
					`the step "charge", which Config.Steps does not declare`)
			case i != 0 || j != 0:
				noError(t, got.errors[j])
			}
		}
	}
	reach(b, q, id, queue.StatusDelivered)
	bad := queue.Define[note]("steps-bad", queue.Config{Steps: []string{"a", ""}})
	_, err := bad.Limits(t.Context(), b.box)
	wantError(t, err, queue.ErrInvalid, `Config.Steps: ""`)
}

// stepsInTx fails an attempt after one step in its transaction, and one outside of it.
func stepsInTx(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`CREATE TABLE public.notes (text text NOT NULL)`)
	q := queue.Define[note]("steps-tx", queue.Config{Retry: atOnce})
	var inside, outside atomic.Int64
	b.run(q.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
		_, err := queue.Step(ctx, "outside", func(context.Context) (int64, error) { return outside.Add(1), nil })
		_, inErr := queue.StepInTx(ctx, tx, "inside", func(ctx context.Context) (int64, error) {
			_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.notes VALUES ('x')`)
			return inside.Add(1), err
		})
		if err = errors.Join(err, inErr); err == nil && task.Attempt == 1 {
			err = errors.New("once more")
		}
		return err
	}))
	id := put(b, q, note{})
	reach(b, q, id, queue.StatusDelivered)
	rows := value[int](b, `SELECT count(*) FROM public.notes`)
	if inside.Load() != 2 || outside.Load() != 1 || rows != 1 {
		t.Errorf("the step in the transaction ran %d times, that outside %d times, and %d rows were written; "+
			"want 2, 1 and 1", inside.Load(), outside.Load(), rows)
	}
}
