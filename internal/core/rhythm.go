package core

import (
	"math/rand/v2"
	"time"
)

// Rhythm has a process do what it does at intervals at the same moments, which wakes it once for all of that, and other
// processes at others.
type Rhythm struct{ phase time.Duration }

// NewRhythm returns the rhythm of a process.
func NewRhythm() Rhythm { return Rhythm{phase: rand.N(time.Hour)} }

// Pause returns a loop's pause, unless it is the loop's longest: that one ends at the next moment of its length.
func (r Rhythm) Pause(pause, longest time.Duration) time.Duration {
	if pause < longest {
		return pause
	}
	return r.Next(time.Now(), longest)
}

// Next is how long it is from now to the next moment of an interval.
func (r Rhythm) Next(now time.Time, interval time.Duration) time.Duration {
	since := time.Duration(now.UnixNano()) + r.phase
	return interval - since%interval
}
