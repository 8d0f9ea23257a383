package queue

import "sync/atomic"

const (
	// maxClaimed bounds the tasks of one claim. A larger claim holds its locks longer and costs as much for each task.
	maxClaimed = 1000
	// maxAhead bounds the tasks that a worker has claimed and not started.
	maxAhead = 2000
	// maxUnsettled bounds the tasks that are claimed and whose outcomes are not written; the concurrency where that is
	// higher.
	maxUnsettled = 8000
	// maxUnsettledBytes bounds their payloads: where these are more, no more tasks than the concurrency are claimed.
	maxUnsettledBytes = 64 << 20
)

// prefetch is the buffer between the starter and the executor: tasks that may start and wait for a lane. It also counts
// the session's tasks.
type prefetch struct {
	ready chan *job
	slots slotLanes // the slots of these tasks, where workers share them
	// room is signalled when a task starts, ends or is settled: the claimer may have room for more.
	room chan struct{}

	waiting   atomic.Int64 // claimed and not started
	allowed   atomic.Int64 // allowed to start, and not ended
	running   atomic.Int64 // started and not ended
	unsettled atomic.Int64 // claimed, and the outcome not written
	bytes     atomic.Int64 // payloads of the unsettled
}

func newPrefetch() *prefetch {
	return &prefetch{ready: make(chan *job, maxAhead+maxClaimed), room: make(chan struct{}, 1)}
}

// claimed counts tasks as claimed.
func (p *prefetch) claimed(jobs []*job) {
	bytes := int64(0)
	for _, j := range jobs {
		bytes += j.size
	}
	p.bytes.Add(bytes)
	p.unsettled.Add(int64(len(jobs)))
	p.waiting.Add(int64(len(jobs)))
}

// unsettledRoom is how many more tasks may be claimed, by what is unsettled.
func (p *prefetch) unsettledRoom(concurrency int) int {
	room := max(maxUnsettled, concurrency)
	if p.bytes.Load() >= maxUnsettledBytes {
		room = concurrency
	}
	return room - int(p.unsettled.Load())
}

// put lets tasks start.
func (p *prefetch) put(jobs []*job) {
	p.allowed.Add(int64(len(jobs)))
	for _, j := range jobs {
		p.ready <- j
	}
}

// next takes a task that is ready and has a slot; nil for none.
func (p *prefetch) next() *job {
	if !p.slots.tryEnter() {
		return nil
	}
	select {
	case j, ok := <-p.ready:
		if ok {
			return j
		}
	default:
	}
	p.slots.leave()
	return nil
}

// close says that there will be no more tasks.
func (p *prefetch) close() {
	close(p.ready)
	p.slots.close()
}

// dropped counts a task that was allowed to start, or was only claimed, as given back.
func (p *prefetch) dropped(allowed bool) {
	p.waiting.Add(-1)
	if allowed {
		p.allowed.Add(-1)
	}
	p.slots.ended(1)
}

// began counts a task as running. The claimer may have looked just before the last waiting task
// began, and no task may end for a long time: it is told.
func (p *prefetch) began() {
	p.running.Add(1)
	if p.waiting.Add(-1) == 0 {
		signal(p.room)
	}
}

// ended counts a task as running no more.
func (p *prefetch) ended() {
	p.running.Add(-1)
	p.allowed.Add(-1)
	p.slots.ended(1)
	p.slots.leave()
}

// settled records that outcomes were written.
func (p *prefetch) settled(batch []outcome) {
	bytes := int64(0)
	for _, o := range batch {
		bytes += o.job.size
	}
	p.bytes.Add(-bytes)
	p.unsettled.Add(-int64(len(batch)))
	signal(p.room)
}

// drain hands what is in the buffer to fn, without waiting for more.
func (p *prefetch) drain(fn func(*job)) {
	for {
		select {
		case j, ok := <-p.ready:
			if !ok {
				return
			}
			fn(j)
		default:
			return
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
