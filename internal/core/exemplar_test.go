package core

import (
	"testing"
	"time"
)

const traced = `{"tenant": "a", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`

func TestTraceOf(t *testing.T) {
	for _, c := range []struct {
		metadata, id string
		sampled      bool
	}{
		{traced, "4bf92f3577b34da6a3ce929d0e0e4736", true},
		{`{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}`,
			"4bf92f3577b34da6a3ce929d0e0e4736", false},
		{`{"traceparent":"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}`, "", false},
		{`{"traceparent":"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`, "", false},
		{`{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e47zz-00f067aa0ba902b7-01"}`, "", false},
		{`{"traceparent":"00-4bf9"}`, "", false},
		{`{"traceparent":`, "", false},
		{`{"note":"\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`, "", false},
		{`{}`, "", false},
		{``, "", false},
	} {
		if id, sampled := TraceOf([]byte(c.metadata)); id != c.id || sampled != c.sampled {
			t.Errorf("TraceOf(%s) = %q, %v", c.metadata, id, sampled)
		}
	}
}

// A bucket keeps the first sampled one until it is taken, and everything is counted.
func TestExemplars(t *testing.T) {
	var h Histogram
	h.ObserveTraced(3*time.Millisecond, nil)
	h.ObserveTraced(4*time.Millisecond, []byte(traced))
	h.ObserveTraced(5*time.Millisecond, []byte(traced))
	h.ObserveTraced(-time.Second, []byte(traced))
	h.ObserveTraced(24*time.Hour, []byte(traced))
	id := "4bf92f3577b34da6a3ce929d0e0e4736"
	want := []Exemplar{{0, 0, id}, {2, 4 * time.Millisecond, id}, {HistogramBuckets - 1, 24 * time.Hour, id}}
	got := h.TakeExemplars()
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, not %v", got[i], want[i])
		}
	}
	if buckets, _ := h.Take(); buckets[2] != 3 || buckets[0] != 1 || buckets[HistogramBuckets-1] != 1 {
		t.Errorf("counted %v", buckets)
	}
	if again := h.TakeExemplars(); again != nil {
		t.Errorf("taken twice: %v", again)
	}
}
