package core

import "time"

const (
	// AwakePause is how long whoever is awake waits after a look that found less than it had room for.
	AwakePause = time.Millisecond
	// AwakeFor is how long it stays awake after the last thing that it found.
	AwakeFor = 50 * time.Millisecond
	// busyWindow and busyFound are what makes it awake: so many tasks, or events, in each of two windows in a row.
	// Below that rate a notification is quicker than polling. Above it, notifications hold up those who enqueue and
	// publish: a commit that notifies waits for the flush of the one before.
	busyWindow = 100 * time.Millisecond
	busyFound  = 25
	// FirstPause is the first pause of those who have fallen asleep.
	FirstPause = 10 * time.Millisecond
)

// Alertness decides whether a worker, or the relay, is awake, which is to look every AwakePause. Nobody notifies it
// then: the database notes that it is awake (strunk_may_sleep, strunk_relay_may_sleep). Its methods belong to one
// goroutine; its zero value is asleep.
type Alertness struct {
	window time.Time // when the window began
	found  int       // tasks, or events, in it
	before int       // those in the window before it
	last   time.Time // when something was found last

	noted bool // the database says awake, or may say so
	ever  bool // it has said so
}

// Sees records what a look has found.
func (a *Alertness) Sees(found int, now time.Time) {
	switch since := now.Sub(a.window); {
	case since >= 2*busyWindow:
		a.window, a.before, a.found = now, 0, 0
	case since >= busyWindow:
		a.window, a.before, a.found = now, a.found, 0
	}
	if a.found += found; found > 0 {
		a.last = now
	}
}

// Awake reports whether to be awake.
func (a *Alertness) Awake(now time.Time) bool {
	if a.noted {
		return now.Sub(a.last) < AwakeFor
	}
	return a.before >= busyFound && a.found >= busyFound
}

// Noted reports whether the database says awake, or may say so.
func (a *Alertness) Noted() bool { return a.noted }

// Notes records that the database says now whether it is awake.
func (a *Alertness) Notes(awake bool) { a.noted, a.ever = awake, a.ever || awake }

// Doubt is for a database that may have gone back to when it said awake.
func (a *Alertness) Doubt() { a.noted = a.ever }

// Unsure records that the answer was lost: the database may say awake.
func (a *Alertness) Unsure() { a.noted, a.ever = true, true }

// Pause is how long to wait without a wake-up, where one that is asleep would wait so long.
func (a *Alertness) Pause(asleep time.Duration) time.Duration {
	if a.noted {
		return min(asleep, AwakePause)
	}
	return asleep
}

// Pauses are those of a worker, or the relay, that finds nothing: each is as long as those before it together.
type Pauses struct{ last time.Duration }

// Restart has the next pause be the first one.
func (p *Pauses) Restart() { p.last = 0 }

// Take returns the next pause, of longest at most.
func (p *Pauses) Take(longest time.Duration) time.Duration {
	p.last = min(max(2*p.last, FirstPause), longest)
	return p.last
}
