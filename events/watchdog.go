package events

import (
	"fmt"
	"time"
)

// watchInterval is how often running handlers are looked at.
const watchInterval = 250 * time.Millisecond

// watchdog ends the contexts of handlers when the grace period of a shutdown is over, and lets go
// of handlers that do not return.
type watchdog struct {
	t     *tenure
	lanes *lanes
	ended time.Time // when the handlers' contexts ended
}

func newWatchdog(t *tenure, lanes *lanes) *watchdog { return &watchdog{t: t, lanes: lanes} }

// run watches until stop is closed.
func (w *watchdog) run(stop <-chan struct{}) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	hard, gone := w.t.life.Hard.Done(), w.t.base.Done()
	for {
		select {
		case <-stop:
			return
		case <-hard:
			w.t.end(ErrShutdown)
			hard = nil
		case <-gone:
			gone, w.ended = nil, time.Now()
		case now := <-ticker.C:
			for _, l := range w.lanes.all {
				w.abandonOverdue(l, now)
			}
		}
	}
}

func (w *watchdog) abandonOverdue(l *lane, now time.Time) {
	due := l.due.Load()
	if due == 0 || !w.overdue(due, now) || !l.due.CompareAndSwap(due, 0) {
		return
	}
	if held := l.held.Load(); held != nil {
		held.giveUp()
	}
	w.t.rt.Logger().Error("strunk: a handler did not return after its context had ended; its goroutine is left behind",
		"subscriber", w.t.name, "entity", l.current[0].entityID, "position", l.current[0].position)
	go l.serve(fmt.Errorf("%w, and the handler did not return", ErrTimeout))
}

// overdue reports whether a handler that was due in unix nanoseconds should have returned.
func (w *watchdog) overdue(due int64, now time.Time) bool {
	over := time.Unix(0, due)
	if !w.ended.IsZero() && w.ended.Before(over) {
		over = w.ended
	}
	return now.Sub(over) > w.t.life.HandlerPatience()
}
