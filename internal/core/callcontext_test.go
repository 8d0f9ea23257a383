package core

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

var errLate, errGone = errors.New("late"), errors.New("gone")

// A context of a call is what context.WithDeadlineCause returns, whenever it is used for the first time.
func TestCallContextEnds(t *testing.T) {
	t.Parallel()
	type key struct{}
	for name, c := range map[string]struct {
		reason  string
		in      time.Duration // until the deadline
		parent  bool          // the parent ends
		end     bool          // the call returns
		err     error
		because error
	}{
		"not over": {"nothing ends it", time.Hour, false, false, nil, nil},
		"deadline": {"its cause is the given one", -time.Second, false, false, context.DeadlineExceeded, errLate},
		"parent":   {"its cause is the parent's", time.Hour, true, false, context.Canceled, errGone},
		"returned": {"what it has started ends", time.Hour, false, true, context.Canceled, context.Canceled},
	} {
		for _, used := range []bool{false, true} {
			parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, name))
			ctx := NewCallContext(parent, time.Now().Add(c.in), errLate)
			if used {
				_ = ctx.Done()
			}
			if c.parent {
				cancel(errGone)
			}
			if c.end {
				ctx.End()
			}
			if err, cause := ctx.Err(), context.Cause(ctx); !errors.Is(err, c.err) || !errors.Is(cause, c.because) {
				t.Errorf("%s, used before: %v: it ended with %v, because of %v; want %v, %v: %s", name, used, err,
					cause, c.err, c.because, c.reason)
			}
			if at, ok := ctx.Deadline(); !ok || time.Until(at) > c.in {
				t.Errorf("%s: the deadline is %v, %v", name, at, ok)
			}
			if ctx.Value(key{}) != name {
				t.Errorf("%s: the parent's value is %v", name, ctx.Value(key{}))
			}
			ctx.End()
			cancel(nil)
			<-ctx.Done()
		}
	}
}

// Contexts below it end with it, and it may be used, for the first time too, by many at once while it ends.
func TestCallContextIsShared(t *testing.T) {
	t.Parallel()
	for range 100 {
		ctx := NewCallContext(t.Context(), time.Now().Add(time.Hour), errLate)
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				below, cancel := context.WithCancel(ctx)
				defer cancel()
				<-below.Done()
				if ctx.Err() == nil {
					t.Error("it goes on, and what is below it has ended")
				}
			})
		}
		ctx.End()
		users.Wait()
	}
}

// A deadline that comes ends it without anybody's help.
func TestCallContextDeadlineComes(t *testing.T) {
	t.Parallel()
	ctx := NewCallContext(t.Context(), time.Now().Add(10*time.Millisecond), errLate)
	defer ctx.End()
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, errLate) {
		t.Errorf("it ended because of %v", err)
	}
}
