package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// Pauses before RunAll starts the run of one database again.
const (
	restartFirst = 250 * time.Millisecond
	restartMax   = 30 * time.Second
)

// Part is what one process does in one of several databases; make it with [On].
type Part struct {
	box      *Box
	bindings []Binding
}

// On is the part of RunAll that drives bindings in a box. Make the bindings anew for each box:
// Emails.Worker(send) for one and Emails.Worker(send) for the next.
func On(box *Box, bindings ...Binding) Part { return Part{box: box, bindings: bindings} }

// RunAll is [Box.Run] for several databases in one process: one for each tenant or shard, for
// example. All have the same context; when it ends, each has its box's Config.Grace at the same
// time.
//
// What is wrong with the configuration of any part is reported at once, and nothing is started
// then. After that the parts do not depend on each other: one whose database does not answer, or
// whose run ends with an error, is logged and started again, at first after a quarter of a second
// and later after half a minute, while the others work. RunAll returns nil after a clean stop of
// all. Otherwise it returns what kept each of the others from running last.
func RunAll(ctx context.Context, parts ...Part) error {
	if err := checkParts(parts); err != nil {
		return err
	}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() { errs[i] = p.keepRunning(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func checkParts(parts []Part) error {
	var problems []error
	var prepared []core.Binding
	for i, p := range parts {
		if err := p.box.usable(); err != nil {
			problems = append(problems, fmt.Errorf("part %d: %w", i+1, err))
			continue
		}
		bound, err := p.box.check(p.bindings)
		prepared = append(prepared, bound...)
		if err != nil {
			problems = append(problems, fmt.Errorf("part %d: %w", i+1, err))
		}
	}
	if len(problems) > 0 {
		core.Dismiss(prepared...)
	}
	return errors.Join(problems...)
}

// keepRunning starts the part again whenever its run ends before ctx. It returns the error of the last run.
func (p Part) keepRunning(ctx context.Context) (err error) {
	pause := restartFirst
	for {
		began := time.Now()
		err = p.box.Run(ctx, p.bindings...)
		if ctx.Err() != nil {
			return err
		}
		if time.Since(began) > restartMax {
			pause = restartFirst
		}
		p.box.cfg.Logger.Error("strunk: one of several databases is not served; it is started again, and the "+
			"others go on",
			"database", p.box.pool.Config().ConnConfig.Database, "retry_in", pause, "error", core.ErrorText(err))
		core.Sleep(ctx, pause)
		if ctx.Err() != nil {
			return err
		}
		pause = min(2*pause, restartMax)
	}
}
