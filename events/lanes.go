package events

import (
	"context"
	"hash/maphash"
	"sync"
)

// lanes spreads events over lanes by their entity, and knows up to where everything is handled.
type lanes struct {
	seed     maphash.Seed
	all      []*lane
	stopping chan struct{} // closed when the lanes are to end
	progress chan struct{} // signalled when a lane has run empty
	running  sync.WaitGroup

	mu     sync.Mutex // held while events are put into lanes, and while the low watermark is read
	readTo int64      // everything up to here has been put into the lanes
}

// newLanes makes n lanes for what comes after from. handle sees the items of a lane through.
func newLanes(n int, from int64, work laneWork) *lanes {
	l := &lanes{seed: maphash.MakeSeed(), stopping: make(chan struct{}), progress: make(chan struct{}, 1), readTo: from}
	for range n {
		l.all = append(l.all, newLane(l, work))
	}
	return l
}

// start serves the lanes. The contexts of their handlers end with base. Each lane has a context of its own below
// base: a handler's context is registered with it for each event, and lanes that share one wait for each other.
func (l *lanes) start(base context.Context) {
	l.running.Add(len(l.all))
	for _, lane := range l.all {
		lane.base, lane.release = context.WithCancel(base)
		go lane.serve(nil)
	}
}

// stop ends the lanes and waits until no handler runs but those that were left behind.
func (l *lanes) stop() {
	close(l.stopping)
	l.running.Wait()
	for _, lane := range l.all {
		lane.release()
	}
}

// put gives each entity's events to its lane; end is the order up to which everything is in the lanes by then.
func (l *lanes) put(items []*item, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := make([][]*item, len(l.all))
	for _, it := range items {
		i := l.laneOf(it.entityID)
		parts[i] = append(parts[i], it)
	}
	for i, part := range parts {
		if len(part) > 0 {
			l.all[i].put(part)
		}
	}
	l.readTo = max(l.readTo, end)
}

// putDelivery puts the command to handle an entity's deliveries after what its lane holds.
func (l *lanes) putDelivery(it *item) { l.all[l.laneOf(it.entityID)].put([]*item{it}) }

func (l *lanes) laneOf(entityID string) int {
	return int(maphash.String(l.seed, entityID) % uint64(len(l.all)))
}

// read is the order up to which everything has been put into the lanes.
func (l *lanes) read() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readTo
}

// lowWatermark is the order up to which everything is handled.
func (l *lanes) lowWatermark() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	low := l.readTo
	for _, lane := range l.all {
		if first := lane.first.Load(); first <= low {
			low = first - 1
		}
	}
	return low
}
