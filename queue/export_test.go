package queue

import (
	"time"

	"github.com/strunk-go/strunk/outbox"
)

// SetKey gives a task a key, from within its middleware.
func SetKey(i *Incoming, key string) { i.j.key = key }

// ClaimTimeout bounds the claims of a worker.
func ClaimTimeout(d time.Duration) WorkerOption {
	return workerOption(func(o *workerOptions) { o.claimTimeout = d })
}

// MaxClaimedBytes bounds the payloads of one claim.
const MaxClaimedBytes = maxClaimedBytes

// WaitedFor returns for how many tasks of a queue somebody waits in a box.
func WaitedFor[T, R any](q *ResultQueue[T, R], box *outbox.Box) int {
	q.waiters.mu.Lock()
	defer q.waiters.mu.Unlock()
	r := q.waiters.readers[box]
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.wanted)
}

// ClaimsWaitForSlots returns how many claimers wait for a slot.
func ClaimsWaitForSlots(s *SharedSlots) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// WaitForSlots returns how many workers wait for a slot: for a claim, or for tasks that they have claimed ahead.
func WaitForSlots(s *SharedSlots) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	workers := map[*slotShare]bool{}
	for _, w := range s.waiting {
		workers[w.share] = true
	}
	for _, l := range s.lanes {
		if l.short.Load() > 0 {
			workers[l.share] = true
		}
	}
	return len(workers)
}
