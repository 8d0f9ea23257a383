package core

import (
	"sync/atomic"
	"time"
)

// HistogramBounds are the upper bounds of a histogram's buckets; above the last there is one more. The tables of
// counters hold an array of that many numbers.
var HistogramBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute,
	5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour,
}

// HistogramBuckets is the number of buckets of a histogram.
const HistogramBuckets = len(HistogramBounds) + 1

// Counters counts what happens to the tasks of one queue, or to the events of one subscriber, in this process, until
// it is written to the database and starts at zero again. The ends that are no success are counted by the statements
// that store them, and are not here. Safe for concurrent use.
type Counters struct {
	Enqueued, Done, Failed, Retried atomic.Int64
	// Waits has one entry for each that has begun, Runs one for each handler that has returned.
	Waits, Runs Histogram
}

// Histogram counts durations by bucket. Safe for concurrent use.
type Histogram struct {
	buckets [HistogramBuckets]atomic.Int64
	micros  atomic.Int64 // the sum of all
	// exemplars are those of each bucket that were seen since they were taken last: see ObserveTraced.
	exemplars [HistogramBuckets]atomic.Pointer[Exemplar]
}

// Observe counts a duration; a negative one counts as none.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucketOf(d)].Add(1)
	h.micros.Add(d.Microseconds())
}

func bucketOf(d time.Duration) int {
	low, high := 0, len(HistogramBounds)
	for low < high {
		if middle := (low + high) / 2; d <= HistogramBounds[middle] {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}

// Take returns what was counted, and sets it to zero. A duration that is counted at the same time may be half here and
// half in the next.
func (h *Histogram) Take() (buckets [HistogramBuckets]int64, micros int64) {
	for i := range h.buckets {
		buckets[i] = h.buckets[i].Swap(0)
	}
	return buckets, h.micros.Swap(0)
}

// Add counts once more what Take has returned.
func (h *Histogram) Add(buckets [HistogramBuckets]int64, micros int64) {
	for i, n := range buckets {
		h.buckets[i].Add(n)
	}
	h.micros.Add(micros)
}

// CountersOf names what counters are of.
type CountersOf struct {
	// Kind is CountersOfQueue or CountersOfSubscriber.
	Kind string
	// Name is the queue's or the subscriber's, EntityType what the subscriber follows.
	Name, EntityType string
}

// What counters can be of.
const (
	CountersOfQueue      = "queue"
	CountersOfSubscriber = "subscriber"
)

// HistogramSeconds are HistogramBounds in seconds, as metrics have them.
func HistogramSeconds() []float64 {
	bounds := make([]float64, len(HistogramBounds))
	for i, bound := range HistogramBounds {
		bounds[i] = bound.Seconds()
	}
	return bounds
}
