package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// MaxStepResult bounds the JSON of a step's result, in bytes.
const MaxStepResult = 1 << 20

// Step runs fn, within a handler, and stores its result under the name of the step: a later attempt
// of the task is given the result and does not run fn again. It is for what must not be repeated
// because something after it fails. An error of fn is returned as it is, and nothing is stored.
//
// The result is stored when fn has returned, in a commit of its own, also in a handler in a
// transaction: what fn writes to this database belongs into [StepInTx]. A process that dies between
// fn and that commit leaves no result, and fn runs again: give what it calls a key that makes the
// call idempotent, such as the id of the task. An attempt that has lost its lease stores nothing.
// Results are kept as long as the task can be handled again, also as a dead letter.
//
// A name stands for one step of the task, in every attempt: in a loop, make it of the element. A step that was renamed
// is a new one and runs, unless [Config].Steps declares the names. R may be anything that encoding/json writes and
// reads. A [BatchHandler] says by [TaskContext] which task is meant. In queuetest.Work fn runs and nothing is stored.
//
// Errors: [ErrStepChanged] where the stored result is one of another type, or any is stored under a name that is not
// declared, [ErrLeaseLost], [ErrInvalid] for a name that cannot be used, is not declared or was used in this attempt,
// or a result that cannot be stored, [ErrNotInHandler], [ErrNoDatabase].
func Step[R any](ctx context.Context, name string, fn func(ctx context.Context) (R, error)) (R, error) {
	s, err := newStep[R](ctx, name)
	if err != nil {
		var none R
		return none, err
	}
	return runStep(ctx, s, nil, fn)
}

// StepInTx is [Step] for what fn writes through tx: the result is stored in that transaction, and
// both are committed together or not at all. The transaction is guarded as by [Task.Guard]. It may be
// rolled back and tried again in the same attempt. Errors: those of Step, [outbox.ErrTxDone],
// [outbox.ErrInvalidTx].
func StepInTx[R any](ctx context.Context, tx outbox.Tx, name string,
	fn func(ctx context.Context) (R, error)) (result R, err error) {
	s, err := newStep[R](ctx, name)
	if err != nil {
		return result, err
	}
	t, err := usable(ctx, tx, "step")
	if err != nil {
		return result, err
	}
	return runStep(ctx, s, t, fn)
}

// step is one call of Step, without the type of its result.
type step struct {
	job      *job
	name     string
	typeName string
}

func newStep[R any](ctx context.Context, name string) (*step, error) {
	if bt, ok := ctx.Value(contextKey{}).(*batch); ok {
		return nil, fmt.Errorf("strunk/queue: step %q: the context is that of %d tasks, call Step with "+
			"TaskContext(ctx, task.ID): %w", clip(name), len(bt.members), ErrNotInHandler)
	}
	j, ok := ctx.Value(contextKey{}).(*job)
	if !ok {
		return nil, fmt.Errorf("strunk/queue: step %q: %w", clip(name), ErrNotInHandler)
	}
	s := &step{job: j, name: name, typeName: reflect.TypeFor[R]().String()}
	if err := core.CheckName(name); err != nil {
		return nil, s.failed(fmt.Errorf("the name %w: %w", err, ErrInvalid))
	}
	if j.remote {
		return nil, s.failed(fmt.Errorf("the worker is at a broker and has no database: %w", ErrNoDatabase))
	}
	if !j.steps.declares(name) {
		return nil, s.failed(fmt.Errorf("Config.Steps does not declare it: %w", ErrInvalid))
	}
	return s, nil
}

// failed says which step an error is about.
func (s *step) failed(err error) error {
	return fmt.Errorf("strunk/queue: step %q: queue %q, task %d: %w", clip(s.name), s.job.queue, s.job.id, err)
}

// runStep returns the stored result, or runs fn and stores what it returns: in t, or (nil) at once.
func runStep[R any](ctx context.Context, s *step, t core.Tx, fn func(context.Context) (R, error)) (result R,
	err error) {
	if !s.job.steps.begin(s.name) {
		return result, s.usedTwice()
	}
	done := false
	defer func() {
		if !done || t != nil { // it may be asked for once more: it failed, or its transaction may
			s.job.steps.forget(s.name)
		}
	}()
	if err := s.checkDeclared(ctx, t); err != nil {
		return result, err
	}
	stored, err := s.stored(ctx, t)
	if err != nil {
		return result, err
	}
	if stored != nil {
		err, done = s.decode(stored, &result), true
		return result, err
	}
	if result, err = fn(ctx); err != nil {
		return result, err
	}
	if err = s.store(ctx, t, result); err == nil {
		done = true
	}
	return result, err
}

func (s *step) usedTwice() error {
	return s.failed(fmt.Errorf("a step of this name has run in this attempt: give each its own name: %w", ErrInvalid))
}

// storedStep is a row of strunk_steps.
type storedStep struct {
	fence            int64
	typeName, result string
}

// decode reads a stored result as the type that is asked for.
func (s *step) decode(stored *storedStep, into any) error {
	if stored.fence == s.job.seq {
		return s.usedTwice()
	}
	const advice = "give the step a new name, or keep the type until no task is left that has it"
	if stored.typeName != s.typeName {
		return s.failed(fmt.Errorf("an earlier attempt has stored a %s, and a %s is asked for; %s: %w", stored.typeName,
			s.typeName, advice, ErrStepChanged))
	}
	if err := json.Unmarshal([]byte(stored.result), into); err != nil {
		return s.failed(fmt.Errorf("what an earlier attempt has stored is no %s any more; %s: %w: %w", s.typeName,
			advice, ErrStepChanged, err))
	}
	return nil
}

const (
	// sqlStep reads the result of step $2 of task $1.
	sqlStep = `SELECT fence, type, result::text FROM {schema}.strunk_steps WHERE task_id = $1::bigint
		AND name = $2::text`
	// sqlStepNames reads which steps of task $1 have a result.
	sqlStepNames = `SELECT name FROM {schema}.strunk_steps WHERE task_id = $1::bigint ORDER BY stored_at`
	// sqlStoreStep stores the result $7 of type $6 of step $5: see strunk_store_step. The other
	// parameters are those of sqlGuard.
	sqlStoreStep = `SELECT {schema}.strunk_store_step($1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::text,
		$6::text, $7::text)`
)

// checkDeclared fails where an earlier attempt has stored the result of a step that is not declared: what was renamed
// would run again. It asks once in an attempt, and only where steps are declared.
func (s *step) checkDeclared(ctx context.Context, t core.Tx) error {
	names := &s.job.steps
	if len(names.declared) == 0 || names.known.Load() {
		return nil
	}
	unknown, name := "", ""
	err := s.read(ctx, t, sqlStepNames, []any{s.job.id}, func(rows core.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&name); err != nil {
				return err
			}
			if unknown == "" && !names.declares(name) {
				unknown = name
			}
		}
		return rows.Err()
	})
	if err == nil && unknown != "" {
		return s.failed(fmt.Errorf("an earlier attempt has stored the result of the step %q, which Config.Steps does "+
			"not declare: give it its old name, or declare that one as well, and the step runs again under the new "+
			"one: %w", clip(unknown), ErrStepChanged))
	}
	names.known.Store(err == nil)
	return err
}

// stored returns the result of an earlier attempt; nil where there is none.
func (s *step) stored(ctx context.Context, t core.Tx) (found *storedStep, err error) {
	err = s.read(ctx, t, sqlStep, []any{s.job.id, s.name}, func(rows core.Rows) error {
		for rows.Next() {
			found = &storedStep{}
			if err := rows.Scan(&found.fence, &found.typeName, &found.result); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// read asks for results of earlier attempts, in t or (nil) outside of it. An error spends no attempt.
func (s *step) read(ctx context.Context, t core.Tx, sql string, args []any, scan func(core.Rows) error) (err error) {
	f := s.job.fence
	if f == nil { // in a test
		return nil
	}
	if t != nil {
		err = t.Query(ctx, f.host.SQL(sql), args, scan)
	} else if rows, queryErr := f.host.Pool().Query(ctx, f.host.SQL(sql), args...); queryErr != nil {
		err = queryErr
	} else {
		defer rows.Close()
		err = scan(rows)
	}
	if err != nil {
		return s.failed(&unspent{fmt.Errorf("reading its result: %w", err), DefaultBackoff.First})
	}
	return nil
}

// store stores a result. What fn has done cannot be undone: so it is tried for some time, also after
// the context of the attempt has ended.
func (s *step) store(ctx context.Context, t core.Tx, result any) error {
	doc, err := json.Marshal(result)
	if err == nil {
		err = core.CheckJSON(doc, MaxStepResult)
	}
	if err != nil {
		return s.failed(fmt.Errorf("its result cannot be stored: %w: %w", err, ErrInvalid))
	}
	f := s.job.fence
	if f == nil { // in a test
		return nil
	}
	args := []any{f.worker, s.job.id, s.job.claim, f.idle.Milliseconds(), s.name, s.typeName, string(doc)}
	if t != nil {
		s.job.state.open.add(t)
		return s.refused(t.Query(ctx, f.host.SQL(sqlStoreStep), args, noRows))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		err = core.Write(ctx, f.host.Pool(), core.Statement{SQL: f.host.SQL(sqlStoreStep), Args: args})
		if err == nil || core.SQLState(err) == core.CodeLeaseLost || core.IsUnstorable(err) || ctx.Err() != nil {
			return s.refused(err)
		}
		core.Sleep(ctx, pause)
	}
}

// refused says why a result was not stored.
func (s *step) refused(err error) error {
	switch {
	case err == nil:
		return nil
	case core.SQLState(err) == core.CodeLeaseLost:
		err = fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	return s.failed(errors.Join(errors.New("it has run and its result was not stored"), err))
}

// stepNames are the steps of an attempt.
type stepNames struct {
	declared []string    // Config.Steps
	known    atomic.Bool // all stored results are of declared steps
	mu       sync.Mutex
	names    map[string]bool
}

// declares reports whether there may be a step of this name.
func (n *stepNames) declares(name string) bool {
	return len(n.declared) == 0 || slices.ContainsFunc(n.declared, func(d string) bool {
		prefix, many := strings.CutSuffix(d, "*")
		return d == name || many && strings.HasPrefix(name, prefix)
	})
}

// begin reports whether the name is new in this attempt.
func (n *stepNames) begin(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names[name] {
		return false
	}
	if n.names == nil {
		n.names = map[string]bool{}
	}
	n.names[name] = true
	return true
}

func (n *stepNames) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.names, name)
}
