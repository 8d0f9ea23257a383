package events

import (
	"time"
)

const (
	// maxAhead bounds the events that are read and that the cursor has not passed, and maxAheadBytes their documents.
	maxAhead      = 4000
	maxAheadBytes = 32 << 20
	// aheadTime is how much work is read ahead, by the time that the handlers take.
	aheadTime = 100 * time.Millisecond
)

// reader reads events from a source and puts them into the lanes.
type reader struct {
	t       *tenure
	source  source
	lanes   *lanes
	starts  *starts
	latency *latency
	look    chan struct{} // signalled with each wake-up

	bootstrapping bool // the source ends when the lanes are empty
	ahead         []chunk
}

// chunk is what one read has put into the lanes.
type chunk struct {
	last  int64
	n     int
	bytes int64
}

// run reads until the tenure ends.
func (r *reader) run() {
	woken, stop := r.t.rt.Subscribe(append(r.t.def.topics(), topicSubscriber(r.t.name))...)
	defer stop()
	pause := firstPause
	for !r.t.ending() {
		more, err := r.readInto(min(r.room(), maxRead))
		switch {
		case err != nil && !r.t.ending():
			r.t.logError(r.t.rt, "reading the feed failed", err)
			r.t.sleep(pause)
			pause = min(2*pause, r.t.poll)
			continue
		case more:
			pause = firstPause
			r.awaitRoom()
			continue
		}
		pause = firstPause
		r.await(woken)
	}
}

// await waits for a wake-up, for room where there was none, or for the poll interval.
func (r *reader) await(woken <-chan struct{}) {
	timer := time.NewTimer(r.t.poll)
	defer timer.Stop()
	var progress <-chan struct{}
	if r.room() == 0 || r.bootstrapping {
		progress = r.lanes.progress
	}
	select {
	case <-woken:
		signal(r.look)
	case <-progress:
	case <-timer.C:
	case <-r.t.base.Done():
	case <-r.t.life.Soft.Done():
	}
}

// awaitRoom waits a moment until half of what may be read ahead is free, so that small reads do not
// cost a round trip each.
func (r *reader) awaitRoom() {
	for 2*r.room() < min(r.window(), maxRead) && !r.t.ending() {
		timer := time.NewTimer(r.t.poll)
		select {
		case <-r.lanes.progress:
		case <-timer.C:
			timer.Stop()
			return
		case <-r.t.base.Done():
		case <-r.t.life.Soft.Done():
		}
		timer.Stop()
	}
}

// window is how many events may be read and not passed by the cursor: some for each lane, and what its handlers do in
// aheadTime.
func (r *reader) window() int {
	n := int64(2 * r.t.opts.concurrency)
	if r.t.work.batch {
		n *= int64(r.t.opts.batch)
	}
	n += int64(r.t.opts.concurrency) * r.latency.within(aheadTime)
	return int(min(n, maxAhead))
}

// room is how many more events may be read.
func (r *reader) room() int {
	low := r.lanes.lowWatermark()
	for len(r.ahead) > 0 && r.ahead[0].last <= low {
		r.ahead = r.ahead[1:]
	}
	n, bytes := 0, int64(0)
	for _, c := range r.ahead {
		n, bytes = n+c.n, bytes+c.bytes
	}
	if bytes >= maxAheadBytes {
		return 0
	}
	return max(r.window()-n, 0)
}

// readInto reads up to limit events and puts them into the lanes. more says that there may be more
// at once. With limit 0 it looks only whether the tenure goes on.
func (r *reader) readInto(limit int) (more bool, err error) {
	b, err := r.source.read(limit)
	if err != nil || b.end == 0 {
		return false, err
	}
	items, err := r.source.filter(b.items)
	if err != nil {
		return false, err
	}
	if len(items) > 0 {
		last := items[len(items)-1].order
		if err := r.starts.allow(last, int64(r.window())); err != nil {
			return false, err
		}
		r.ahead = append(r.ahead, chunk{last: last, n: len(items), bytes: b.bytes})
	}
	r.lanes.put(items, b.end)
	return b.more, nil
}
