package queue

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

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

// The keys of which tasks have ended are admitted with the next claim where one fails that they went out with.
func TestFailedClaimKeepsReleasedKeys(t *testing.T) {
	t.Parallel()
	l := &limiter{}
	l.admission.released = releasedKeys{keys: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	l.admission.keyed = true
	l.admission.released.add("a", "b")
	r := l.beginRound(1, nil, time.Now())
	if len(r.keys) != 2 || l.mustClaim() {
		t.Fatalf("the admission goes out with %v, and others are left: %v; want both, and none", r.keys, l.mustClaim())
	}
	l.endRound(r, claimed{}, errors.New("no"))
	if again := l.beginRound(1, nil, time.Now()); len(again.keys) != 2 {
		t.Errorf("after a claim that failed the next admission goes out with %v; want both keys again", again.keys)
	}
}

type plainSQL struct{ core.Runtime }

func (plainSQL) SQL(sql string) string { return sql }

type firstLease struct{ core.Lease }

func (firstLease) ID() int64 { return 1 }

// Limits that become known while a claim is prepared do not make it pass: its size was reckoned with a quota of the
// limits before. docs/models/admission.pml finds what happens otherwise (VERSION_READ_LATE).
func TestClaimGoesOutUnderTheLimitsItWasReckonedWith(t *testing.T) {
	t.Parallel()
	const before, after = 41, 42
	l := &limiter{rt: plainSQL{}, numbers: newClaimNumbers(), buffer: newPrefetch()}
	c := &claimer{rt: plainSQL{}, lease: firstLease{}, limits: l}
	l.current.Store(&inForce{bounded: true, version: before})
	l.admission.obeyVersion(before)
	l.quota.n = 5
	limit := l.bound(10)
	l.current.Store(&inForce{bounded: true, version: after})
	args := c.statement(1, limit, maxClaimedBytes, entry{}, &claimed{}).Args
	if !slices.Contains(args, any(int64(before))) {
		t.Errorf("the claim goes out with %v; want version %d of the limits", args, before)
	}
	if args := (&round{limits: l}).statement().Args; !slices.Contains(args, any(int64(before))) {
		t.Errorf("the admission goes out with %v; want version %d of the limits", args, before)
	}
}
