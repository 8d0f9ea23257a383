package queue

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// deadHooks calls the Dead hooks of middleware for the dead letters of a session.
type deadHooks struct {
	ctx     context.Context
	logger  *slog.Logger
	chain   []Middleware // those with a hook
	process string
	running sync.WaitGroup
}

func newDeadHooks(base context.Context, logger *slog.Logger, chain []Middleware, process string) *deadHooks {
	h := &deadHooks{ctx: context.WithoutCancel(base), logger: logger, process: process}
	for _, m := range chain {
		if m.Dead != nil {
			h.chain = append(h.chain, m)
		}
	}
	return h
}

// call calls the hooks for tasks that this session has made dead letters. It does not wait for them.
func (h *deadHooks) call(dead []outcome) {
	if len(h.chain) == 0 {
		return
	}
	h.running.Go(func() {
		for _, o := range dead {
			h.died(o)
		}
	})
}

// late calls the Late hooks of the box for tasks that this session has ended. It does not wait for them.
func (h *deadHooks) late(host core.Host, ids []int64) {
	values, _ := host.Extension(middlewareKey{}).([]any)
	if len(ids) == 0 || len(values) == 0 {
		return
	}
	h.running.Go(func() {
		for _, v := range values {
			v.(extension).TasksLate(h.ctx, host, ids)
		}
	})
}

func (h *deadHooks) died(o outcome) {
	now, text := time.Now(), core.ErrorText(o.err)
	letter := DeadLetter{Status: StatusDead, Raw: o.job.payload, LastError: core.CleanText(text, core.MaxErrorBytes),
		FinishedAt: now, Attempts: []Attempt{{Number: o.job.attempt, At: now, Error: text, Worker: h.process}}}
	letter.Task, letter.PayloadErr = taskOf[json.RawMessage](o.job)
	for _, m := range h.chain {
		callDead(h.ctx, h.logger, m.Dead, letter)
	}
}

// await waits for hooks that are running, which are the user's code: until the end of the grace
// period or the loss of the lease, and then no longer than for a handler.
func (h *deadHooks) await(life core.Life, lost <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		h.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-life.Hard.Done():
	case <-lost:
	}
	timer := time.NewTimer(core.HandlerPatience)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-life.End.Done():
	case <-timer.C:
	}
	h.logger.Error("strunk: a Dead hook did not return; its goroutine is left behind")
}

// callDead calls a hook.
func callDead(ctx context.Context, logger *slog.Logger, hook func(context.Context, DeadLetter), letter DeadLetter) {
	defer func() {
		if r := recover(); r != nil {
			logger.Error("strunk: a Dead or Late hook panicked", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	hook(ctx, letter)
}
