package queue

import (
	"sync"
	"sync/atomic"
)

// slotLanes are the shared slots that the tasks of a session have. There may be more tasks than slots: those that
// were claimed ahead wait for a slot of the tasks before them, or for one that becomes free elsewhere: see deal. A slot
// is given up when there are fewer tasks than slots. For a worker that shares no slots its methods do nothing. Safe for
// concurrent use. Its mutex is locked within that of the slots, never the other way round.
type slotLanes struct {
	share *slotShare // nil for none
	dealt func()     // is called when the tasks were dealt a slot, with the mutex of the slots locked

	mu     sync.Mutex
	freed  sync.Cond // signalled when a slot may be idle, and when all tasks have ended
	slots  int
	used   int // slots in which a task runs, or is about to
	left   int // tasks that have not ended
	closed bool
	short  atomic.Int64 // how many more tasks there are than slots
}

// shareSlots says which slots the tasks have, and whom to tell when they were dealt one; before the first task.
func (l *slotLanes) shareSlots(sh *slotShare, dealt func()) {
	l.share, l.dealt, l.freed.L = sh, dealt, &l.mu
}

// claimed adds tasks, and the slots that they bring. Those without one get what is free.
func (l *slotLanes) claimed(tasks, slots int) {
	if l.share == nil {
		return
	}
	if l.add(tasks, slots); l.short.Load() > 0 {
		l.share.lack(l)
	}
}

// add adds tasks and slots.
func (l *slotLanes) add(tasks, slots int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left += tasks
	l.slots += slots
	l.changed()
}

// changed is called after each change, with the lock.
func (l *slotLanes) changed() {
	l.short.Store(int64(l.left - l.slots))
	l.freed.Signal()
}

// ended counts tasks as ended.
func (l *slotLanes) ended(tasks int) {
	if l.share == nil {
		return
	}
	l.mu.Lock()
	l.left -= tasks
	n := max(0, l.slots-l.left)
	l.slots -= n
	l.changed()
	over := l.closed && l.left == 0
	l.mu.Unlock()
	l.share.give(n)
	if over {
		l.share.slots.strike(l)
	}
}

// enter waits for an idle slot and has the next task use it. It returns at once when there will be no next task.
func (l *slotLanes) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.used >= l.slots && !(l.closed && l.left == 0) {
		l.freed.Wait()
	}
	l.used++
}

// tryEnter is enter without the wait; it reports whether there is an idle slot.
func (l *slotLanes) tryEnter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used >= l.slots {
		return false
	}
	l.used++
	return true
}

// leave says that no task uses the slot any more.
func (l *slotLanes) leave() {
	if l.share == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	l.freed.Signal()
}

// close says that no more tasks come.
func (l *slotLanes) close() {
	if l.share == nil {
		return
	}
	l.mu.Lock()
	l.closed = true
	over := l.left == 0
	l.freed.Signal()
	l.mu.Unlock()
	if over {
		l.share.slots.strike(l)
	}
}

// count is how many slots the tasks have.
func (l *slotLanes) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slots
}
