package outbox

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The rounds of all loops are recorded together and seldom. A loop's first one, a failure and its end are recorded at
// once, and take with them what waits.
func TestLoopRoundsAreRecordedTogether(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	broken := errors.New("broken")
	rounds := newLoopRounds()
	for i, step := range []struct {
		name    string
		after   time.Duration
		loop    Loop
		failure error
		want    []string // the loops, "!" for a failure
	}{
		{"the first of a loop", 0, LoopRelay, nil, []string{"relay"}},
		{"the first of another", 0, LoopPromoter, nil, []string{"promoter"}},
		{"nothing new", time.Second, LoopRelay, nil, nil},
		{"nor of the other", time.Second, LoopPromoter, nil, nil},
		{"a failure takes along what waits", 2 * time.Second, LoopRelay, broken,
			[]string{"promoter", "relay", "relay!"}},
		{"it goes on", 3 * time.Second, LoopRelay, broken, nil},
		{"and is over", 4 * time.Second, LoopRelay, nil, []string{"relay", "relay!"}},
		{"too soon", 13 * time.Second, LoopPromoter, nil, nil},
		{"after ten seconds", 14 * time.Second, LoopRelay, nil, []string{"promoter", "relay"}},
		{"what was recorded does not wait", 24 * time.Second, LoopPromoter, nil, []string{"promoter"}},
	} {
		var got []string
		for _, r := range rounds.add(step.loop, time.Second, step.failure, began.Add(step.after)) {
			if r.ok {
				got = append(got, r.loop)
			}
			if r.failure != nil {
				got = append(got, r.loop+"!")
			}
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("step %d, %s (-want +got):\n%s", i, step.name, diff)
		}
	}
	rounds.anew(LoopPromoter)
	if got := rounds.add(LoopPromoter, time.Second, nil, began.Add(25*time.Second)); len(got) != 1 {
		t.Errorf("recorded %v after anew; want the promoter's round", got)
	}
}
