package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/strunk-go/strunk/internal/core"
)

// names are the queue's name and its previous ones.
func (d *definition) names() []string { return append([]string{d.name}, d.cfg.Aliases...) }

// PreviousNames implements core.Renamed.
func (w *worker) PreviousNames() (kind, name string, previous []string) {
	return "queue", w.def.name, w.def.cfg.Aliases
}

// allNames are the names of the queue that a worker of one of them belongs to.
func (w *worker) allNames() []string {
	if w.names == nil {
		return w.def.names()
	}
	return w.names
}

// permits bounds the handlers that run under all of a worker's names; nil where it has but one.
type permits chan struct{}

// take waits for a permit; false at the end of either context.
func (p permits) take(soft, base context.Context) bool {
	if p == nil {
		return true
	}
	select {
	case p <- struct{}{}:
		return true
	case <-soft.Done():
	case <-base.Done():
	}
	return false
}

func (p permits) give() {
	if p != nil {
		<-p
	}
}

// runNames works the queue under each of its names, each with a lease, marks and a pause of its
// own, and as many handlers in all as the worker's concurrency.
func (w *worker) runNames(life core.Life, rt core.Runtime) error {
	names, shared := w.def.names(), make(permits, w.opts.concurrency)
	if w.share != nil { // its slots are those of all names
		shared = nil
	}
	ended := make(chan error, len(names))
	for _, name := range names {
		def := *w.def
		def.name, def.cfg.Aliases = name, nil
		under := *w
		under.def, under.permits, under.names = &def, shared, names
		go func() { ended <- under.runGuarded(life, rt) }()
	}
	var errs []error
	for range names {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// runGuarded is Run for a goroutine of its own, which Box.Run does not watch over.
func (w *worker) runGuarded(life core.Life, rt core.Runtime) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("strunk/queue: worker %q panicked: %v\n%s", w.def.name, p, debug.Stack())
		}
	}()
	return w.Run(life, rt)
}
