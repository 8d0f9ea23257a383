package queue

import (
	"context"
	"testing"
	"time"
)

// However many outcomes wait, a statement moves no more payloads than it has time for, and always one.
func TestCompletionsAreBoundedByBytes(t *testing.T) {
	t.Parallel()
	large, little := &job{payload: make([]byte, 900_000)}, &job{payload: make([]byte, 100)}
	outcomes, small := make([]outcome, 2000), make([]outcome, 2000)
	for i := range outcomes {
		outcomes[i].job, small[i].job = large, little
	}
	size := newOutcomeSize()
	if n := size.first(outcomes); n*900_000 > maxOutcomeBytes+900_000 {
		t.Errorf("%d outcomes of 900,000 bytes; want no more than %d bytes and one outcome", n, maxOutcomeBytes)
	}
	for want := size.first(outcomes); want > 1; {
		if !size.failed(context.DeadlineExceeded, outcomes, want) {
			t.Fatalf("%d outcomes ran out of time, and the next statement has as many", want)
		}
		n := size.first(outcomes)
		if n >= want || n < 1 {
			t.Fatalf("after %d outcomes the next statement has %d; want fewer, and one at least", want, n)
		}
		want = n
	}
	if n := newOutcomeSize().first(small); n != maxOutcomes {
		t.Errorf("%d small outcomes; want %d", n, maxOutcomes)
	}
}

// A worker whose handlers are quick claims ahead of them, but not large payloads: of those it holds no more than its
// handlers need.
func TestLargePayloadsAreNotClaimedAhead(t *testing.T) {
	t.Parallel()
	const concurrency = 10
	buffer, quick := newPrefetch(), newLatency()
	quick.ran(time.Microsecond)
	c := newTestClaimer(concurrency, buffer, quick)
	if n := c.free(); n <= concurrency {
		t.Fatalf("with quick handlers the worker claims %d; want more than its %d handlers need", n, concurrency)
	}
	jobs := make([]*job, 70)
	for i := range jobs {
		jobs[i] = &job{size: 1 << 20}
	}
	buffer.claimed(jobs)
	if n := c.free(); n > 0 {
		t.Errorf("with %d tasks of 1 MiB in hand the worker claims %d more", len(jobs), n)
	}
	var written []outcome
	for _, j := range jobs[:65] {
		written = append(written, outcome{job: j})
	}
	buffer.waiting.Add(-int64(len(written)))
	buffer.settled(written)
	if n := c.free(); n <= concurrency {
		t.Errorf("with 5 of them in hand the worker claims %d; want more than its %d handlers need", n, concurrency)
	}
}
