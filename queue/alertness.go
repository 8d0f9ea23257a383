package queue

import (
	"context"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// sqlSetAwake notes whether worker $1 is awake.
const sqlSetAwake = `SELECT {schema}.strunk_set_awake($1::bigint, $2::boolean)`

// stayAlert records what a claim has found, and changes the lease row where the worker wakes up or falls asleep. What
// was enqueued until it fell asleep has notified nobody: the pauses begin anew.
func (c *claimer) stayAlert(ctx context.Context, found int) {
	now := time.Now()
	c.alert.Sees(found, now)
	awake := c.alert.Awake(now)
	if awake == c.alert.Noted() || c.rt.Settings().PollOnly {
		return
	}
	sent, cancel := core.Outlasting(ctx, c.limits.end, c.patience)
	defer cancel()
	if _, err := c.rt.Pool().Exec(sent, c.rt.SQL(sqlSetAwake), c.lease.ID(), awake); err != nil {
		c.alert.Unsure()
		c.warn("saying whether the worker is awake failed; trying again", err)
		return
	}
	if c.alert.Notes(awake); !awake {
		c.pauses.Restart()
	}
}
