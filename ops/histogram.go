package ops

import (
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// Spread says how a number of durations are spread. The quantiles lie within a bucket of a histogram, so that each
// may be off by as much as its bucket is wide: from 1 ms, 2.5 ms, 5 ms, 10 ms up to 12 hours. 12 hours stands for
// more, too.
type Spread struct {
	// N is how many there were; where it is 0, so are the others.
	N    int64    `json:"n"`
	Mean Duration `json:"mean_seconds"`
	P50  Duration `json:"p50_seconds"`
	P95  Duration `json:"p95_seconds"`
	P99  Duration `json:"p99_seconds"`
}

// histogram is a histogram as the tables hold it: buckets with the bounds of core.HistogramBounds, and the sum in
// microseconds.
type histogram struct {
	buckets []int64
	micros  int64
}

func (h *histogram) add(other histogram) {
	if h.buckets == nil {
		h.buckets = make([]int64, core.HistogramBuckets)
	}
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	h.micros += other.micros
}

func (h histogram) count() (n int64) {
	for _, in := range h.buckets {
		n += in
	}
	return n
}

func (h histogram) spread() Spread {
	s := Spread{N: h.count(), P50: h.quantile(0.5), P95: h.quantile(0.95), P99: h.quantile(0.99)}
	if s.N > 0 {
		s.Mean = micros(h.micros / s.N)
	}
	return s
}

// quantile finds the bucket that holds the quantile, and the place within it as if the bucket were filled evenly.
func (h histogram) quantile(q float64) Duration {
	rank, below := q*float64(h.count()), 0.0
	var low time.Duration
	for i, n := range h.buckets {
		if i == len(core.HistogramBounds) {
			break
		}
		high := core.HistogramBounds[i]
		if n > 0 && below+float64(n) >= rank {
			within := (rank - below) / float64(n)
			return Duration{low + time.Duration(within*float64(high-low))}
		}
		below += float64(n)
		low = high
	}
	if h.count() == 0 {
		return Duration{}
	}
	return Duration{low}
}

// cumulative is how many lie at or below each bound, in seconds, as Prometheus wants it.
func (h histogram) cumulative() map[float64]uint64 {
	below, n := map[float64]uint64{}, uint64(0)
	for i, bound := range core.HistogramBounds {
		if i < len(h.buckets) {
			n += uint64(max(h.buckets[i], 0))
		}
		below[bound.Seconds()] = n
	}
	return below
}
