package queue

import "testing"

// Tasks of a claim whose answer was lost use up the quota of their worker until they have been given back.
func TestQuotaCountsUncertainClaims(t *testing.T) {
	t.Parallel()
	l := &limiter{numbers: newClaimNumbers(), buffer: newPrefetch()}
	l.current.Store(&inForce{bounded: true})
	l.quota.n = 5
	if n := l.bound(10); n != 5 {
		t.Fatalf("with a quota of 5 the worker may claim %d", n)
	}
	number := l.numbers.next()
	l.numbers.lost(number)
	if n := l.bound(10); n != 0 {
		t.Errorf("while a claim is uncertain the worker may claim %d; want 0", n)
	}
	if n := l.using(); n != 5 {
		t.Errorf("while a claim is uncertain the worker uses %d; want its whole quota of 5", n)
	}
	l.numbers.resolved(number)
	if n := l.bound(10); n != 5 {
		t.Errorf("after it was given back the worker may claim %d; want 5", n)
	}
}
