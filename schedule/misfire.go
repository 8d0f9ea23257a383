package schedule

import (
	"fmt"
	"time"
)

const (
	// MisfireGrace is how late a due time may be fired without having been missed, for Skip.
	MisfireGrace = time.Minute
	// MostCaughtUp bounds CatchUp: the tasks of one transaction.
	MostCaughtUp = 1000
)

// Misfire says what becomes of due times that have passed while no process ran.
type Misfire struct {
	policy string
	most   int
}

// The policies' names in the database.
const (
	policySkip    = "skip"
	policyOnce    = "once"
	policyCatchUp = "catch_up"
)

var (
	// Skip leaves out what was missed: a time that is late by more than MisfireGrace, or followed
	// by one that is due too.
	Skip = Misfire{policy: policySkip}
	// RunOnce makes one task of all that was missed, for the latest of those times.
	RunOnce = Misfire{policy: policyOnce}
)

// CatchUp makes a task for each of the latest missed times, at most the given number (1 to MostCaughtUp), oldest first.
func CatchUp(most int) Misfire { return Misfire{policy: policyCatchUp, most: most} }

// String names the policy.
func (m Misfire) String() string {
	if m.policy == policyCatchUp {
		return fmt.Sprintf("%s %d", m.policy, m.most)
	}
	return m.policy
}

// Equal reports whether two policies are the same.
func (m Misfire) Equal(other Misfire) bool { return m == other }

func (m Misfire) check() error {
	switch m.policy {
	case policySkip, policyOnce:
		return nil
	case policyCatchUp:
		if m.most >= 1 && m.most <= MostCaughtUp {
			return nil
		}
		return fmt.Errorf("CatchUp: %d is not from 1 to %d", m.most, MostCaughtUp)
	}
	return fmt.Errorf("OnMisfire: the policy %q is unknown; use Skip, RunOnce or CatchUp", m.policy)
}

// due returns which of the times from first to now become tasks, oldest first.
func (m Misfire) due(t timer, first, now time.Time) []time.Time {
	most := 1
	if m.policy == policyCatchUp {
		most = m.most
	}
	times := latest(t, first, now, most)
	if m.policy == policySkip && now.Sub(times[0]) > MisfireGrace {
		return []time.Time{}
	}
	return times
}

// latest returns the latest due times, at most most, oldest first; the first that is known is due,
// so there is one. After years of downtime it looks back from now rather than through all those
// years.
func latest(t timer, first, now time.Time, most int) []time.Time {
	for window := time.Minute; ; window *= 2 {
		var times []time.Time
		at := now.Add(-window)
		whole := !at.After(first)
		if whole {
			at, times = first, append(times, first)
		}
		for next := t.after(first, at); !next.IsZero() && !next.After(now); next = t.after(first, next) {
			times = append(times, next)
		}
		if len(times) >= most {
			return times[len(times)-most:]
		}
		if whole {
			return times
		}
	}
}
