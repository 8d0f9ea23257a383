package queue

import (
	"context"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// awakePause is how long a worker that is awake waits after a claim that found less than it had room for.
	awakePause = time.Millisecond
	// awakeFor is how long a worker stays awake after the last task that it found.
	awakeFor = 50 * time.Millisecond
	// busyWindow and busyTasks are what makes a worker awake: so many tasks in each of two windows in a row. Below that
	// rate a notification is quicker than polling. Above it, notifications hold up those who enqueue: a commit that
	// notifies waits for the flush of the one before.
	busyWindow = 100 * time.Millisecond
	busyTasks  = 25
)

// alertness decides whether a worker is awake, which is to poll every awakePause. Nobody notifies a queue whose workers
// are all awake: see strunk_may_sleep. Its methods belong to one goroutine.
type alertness struct {
	window time.Time // when the window began
	found  int       // tasks in it
	before int       // tasks in the window before it
	last   time.Time // when a task was found last

	noted bool // the lease row says awake, or may say so
	ever  bool // it has said so
}

// sees records what a claim has found.
func (a *alertness) sees(found int, now time.Time) {
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

// awake reports whether the worker should be awake.
func (a *alertness) awake(now time.Time) bool {
	if a.noted {
		return now.Sub(a.last) < awakeFor
	}
	return a.before >= busyTasks && a.found >= busyTasks
}

// notes records that the lease row says whether the worker is awake.
func (a *alertness) notes(awake bool) { a.noted, a.ever = awake, a.ever || awake }

// doubt is for a database that may have gone back to when the row said awake.
func (a *alertness) doubt() { a.noted = a.ever }

// unsure records that the answer was lost: the row may say awake.
func (a *alertness) unsure() { a.noted, a.ever = true, true }

// pause is how long to wait without a wake-up, where a worker that is asleep would wait so long.
func (a *alertness) pause(asleep time.Duration) time.Duration {
	if a.noted {
		return min(asleep, awakePause)
	}
	return asleep
}

// sqlSetAwake notes whether worker $1 is awake.
const sqlSetAwake = `SELECT {schema}.strunk_set_awake($1::bigint, $2::boolean)`

// stayAlert records what a claim has found, and changes the lease row where the worker wakes up or falls asleep. What
// was enqueued until it fell asleep has notified nobody: the pauses begin anew.
func (c *claimer) stayAlert(ctx context.Context, found int) {
	now := time.Now()
	c.alert.sees(found, now)
	awake := c.alert.awake(now)
	if awake == c.alert.noted || c.rt.Settings().PollOnly {
		return
	}
	sent, cancel := core.Outlasting(ctx, c.limits.end, c.patience)
	defer cancel()
	if _, err := c.rt.Pool().Exec(sent, c.rt.SQL(sqlSetAwake), c.lease.ID(), awake); err != nil {
		c.alert.unsure()
		c.warn("saying whether the worker is awake failed; trying again", err)
		return
	}
	if c.alert.notes(awake); !awake {
		c.pauses.restart()
	}
}
