package core

import (
	"bytes"
	"encoding/hex"
	"time"
)

// Exemplar is one duration of a histogram's bucket, and the trace that it belongs to.
type Exemplar struct {
	Bucket   int
	Duration time.Duration
	// TraceID has 32 hexadecimal digits.
	TraceID string
}

// ObserveTraced is Observe for what has metadata. The first duration of each bucket whose metadata names a sampled
// trace is kept as an exemplar, until TakeExemplars: nothing is parsed for the others.
func (h *Histogram) ObserveTraced(d time.Duration, metadata []byte) {
	h.Observe(d)
	if len(metadata) == 0 {
		return
	}
	d = max(d, 0)
	if kept := &h.exemplars[bucketOf(d)]; kept.Load() == nil {
		if id, sampled := TraceOf(metadata); sampled {
			kept.CompareAndSwap(nil, &Exemplar{bucketOf(d), d, id})
		}
	}
}

// TakeExemplars returns the exemplars, and forgets them.
func (h *Histogram) TakeExemplars() (all []Exemplar) {
	for i := range h.exemplars {
		if e := h.exemplars[i].Swap(nil); e != nil {
			all = append(all, *e)
		}
	}
	return all
}

var traceParent = []byte(`"traceparent"`)

const (
	// A W3C trace context of version 00 is 00-<trace id>-<span id>-<flags>.
	traceContextLength = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	traceIDEnd         = 35
	sampledFlag        = 1
)

// TraceOf returns the trace id that a propagator has written into metadata, a JSON object of strings, and whether the
// trace is sampled. It is empty where there is none, or not one of W3C's version 00.
func TraceOf(metadata []byte) (id string, sampled bool) {
	_, after, found := bytes.Cut(metadata, traceParent)
	if !found {
		return "", false
	}
	value := bytes.TrimLeft(after, ": \t\r\n")
	if len(value) < traceContextLength+2 || value[0] != '"' || value[traceContextLength+1] != '"' {
		return "", false
	}
	value = value[1 : traceContextLength+1]
	var trace [16]byte
	var flags [1]byte
	if _, err := hex.Decode(trace[:], value[3:traceIDEnd]); err != nil || trace == [16]byte{} {
		return "", false
	}
	_, err := hex.Decode(flags[:], value[traceContextLength-2:])
	if err != nil || !bytes.HasPrefix(value, []byte("00-")) {
		return "", false
	}
	return string(bytes.ToLower(value[3:traceIDEnd])), flags[0]&sampledFlag != 0
}
