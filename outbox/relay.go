package outbox

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// relayRows and relayBytes bound the events that one transaction moves.
	relayRows  = 2000
	relayBytes = 16 << 20
	// relayBusyPause is the wait while another process holds the relay's lock.
	relayBusyPause = 5 * time.Millisecond
	// relayMisses is how many wake-ups in a row may have found nothing to do, because the relay of another process was
	// quicker, before this one leaves the wake-ups to it and only polls.
	relayMisses = 8
	// relayRepeat is how often a relay that is awake says so again.
	relayRepeat = 5 * time.Second
	// relayQuietPolls is how many poll intervals pass between the looks of a relay that is asleep, where the promoter
	// of its process looks for it in each of them.
	relayQuietPolls = 5
	// sweepInterval is how often the relay looks for events anywhere, also where none can be.
	sweepInterval = 30 * time.Second
)

// relay moves published events into the feed. Its state is in the table strunk_feed: any process
// can take the next round.
type relay struct {
	box    *Box
	conn   *control // nothing may delay the relay, and it may delay nothing
	limit  *core.BatchLimit
	misses int
	woken  bool // the relay was woken: a round is not preceded by a look
	alert  core.Alertness
	pauses core.Pauses
	said   time.Time // when it said last whether it is awake
	mended bool      // the feed was looked at and mended since the start
	sweep  time.Time // of the last sweep
	report loopReport
	cost   time.Duration
}

func newRelay(b *Box, rounds *loopRounds) *relay {
	return &relay{box: b, conn: newControl(b), limit: core.NewBatchLimit(relayRows, relayBytes),
		report: loopReport{LoopRelay, rounds}}
}

// relayed is what one round has done.
type relayed struct {
	locked  bool  // false: another process was at it
	moved   int   // events
	swept   int   // of them where none ought to have been
	more    bool  // the move was cut off by its limit
	head    int64 // of the feed
	missing int64 // seqs still to come, or rolled back
	low     bool  // the last partition of the feed has been entered
	types   []string
}

func (r *relay) run(ctx context.Context) {
	woken, stop := r.box.wakeUps.subscribe([]string{core.TopicRelay})
	defer stop()
	defer r.sleep(ctx)
	for ctx.Err() == nil {
		moved, err := r.poll(ctx)
		longest := r.longestPause()
		r.report.ran(ctx, r.box, r.conn, longest, err)
		r.stayAlert(ctx, moved)
		pause := r.box.rhythm.Pause(r.pauses.Take(longest), longest)
		if err == nil { // after an error not even a relay that is awake asks each millisecond
			pause = r.alert.Pause(pause)
		}
		if r.misses >= relayMisses && !r.box.cfg.PollOnly {
			core.Sleep(ctx, pause)
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			r.misses = 0
		case <-woken:
			r.woken = true
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// longestPause is how long a relay that is asleep waits for a wake-up.
func (r *relay) longestPause() time.Duration {
	every := r.box.cfg.PollInterval
	if r.box.cfg.PollOnly || r.misses >= relayMisses || slices.Contains(r.box.cfg.Disable, LoopPromoter) {
		return every
	}
	return relayQuietPolls * every
}

// sqlSetRelayAwake says that a relay is awake ($1), or that none may be. It holds for ten seconds.
const sqlSetRelayAwake = `SELECT {schema}.strunk_set_relay_awake($1::boolean)`

// stayAlert records what a look has found, and tells publishers where the relay wakes up or falls asleep. What they
// published until it fell asleep has notified nobody: the pauses begin anew.
func (r *relay) stayAlert(ctx context.Context, moved int) {
	now := time.Now()
	r.alert.Sees(moved, now)
	awake := r.alert.Awake(now)
	stale := awake && now.Sub(r.said) >= relayRepeat
	if awake == r.alert.Noted() && !stale || r.box.cfg.PollOnly {
		return
	}
	if err := r.say(ctx, awake); err != nil {
		r.alert.Unsure()
		r.box.cfg.Logger.Warn("strunk: saying whether the relay is awake failed; trying again", "error", err)
		return
	}
	r.said = now
	if r.alert.Notes(awake); !awake {
		r.pauses.Restart()
	}
}

// sleep is for the end: what says that the relay is awake must not outlive it.
func (r *relay) sleep(ctx context.Context) {
	if r.alert.Noted() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = r.say(ctx, false) // what it has said is over after ten seconds
	}
}

func (r *relay) say(ctx context.Context, awake bool) error {
	return r.conn.autocommit(ctx, core.Statement{SQL: r.box.sql(sqlSetRelayAwake), Args: []any{awake}})
}

// sqlRelayDue looks whether a round of the relay would do something. It locks and writes nothing.
const sqlRelayDue = `SELECT {schema}.strunk_relay_due()`

// poll drains what waits, and returns how many events that was. Without a wake-up it looks first, which is one
// statement and takes no lock.
func (r *relay) poll(ctx context.Context) (moved int, err error) {
	if !r.woken && r.mended && !r.mustSweep(time.Now()) {
		due, err := r.due(ctx)
		if err != nil && ctx.Err() == nil {
			r.box.cfg.Logger.Warn("strunk: the relay failed; trying again", "error", err)
		}
		if err != nil || !due {
			return 0, err
		}
	}
	defer func() { r.woken = false }()
	return r.drain(ctx)
}

func (r *relay) due(ctx context.Context) (due bool, err error) {
	err = r.conn.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, r.box.sql(sqlRelayDue)).Scan(&due)
	})
	return due, err
}

func (r *relay) mustSweep(now time.Time) bool {
	return now.Sub(r.sweep) >= max(sweepInterval, scanFraction*r.cost)
}

// drain does rounds until nothing waits, and returns how many events they have moved. After relayMisses rounds in a row
// for which the relay was woken, and that another process was doing or had done, run stops listening and polls, until a
// poll moves something: the other process is gone.
func (r *relay) drain(ctx context.Context) (moved int, err error) {
	for tries := 0; ctx.Err() == nil; {
		done, err := r.round(ctx)
		switch {
		case r.limit.Failed(err) && ctx.Err() == nil:
			rows, bytes := r.limit.Now()
			r.box.cfg.Logger.Warn("strunk: the relay took too long; its next moves are smaller", "max_events", rows,
				"max_bytes", bytes)
			continue
		case err != nil && ctx.Err() == nil:
			r.box.cfg.Logger.Warn("strunk: the relay failed; trying again", "error", err)
			return moved, err
		case !done.locked && tries < relayMisses && r.misses < relayMisses:
			tries++
			r.missed()
			core.Sleep(ctx, relayBusyPause)
			continue
		}
		if err == nil && done.moved > 0 {
			r.limit.Succeeded()
		}
		moved += done.moved
		if !done.more {
			break
		}
	}
	if moved > 0 {
		r.misses = 0
	} else {
		r.missed()
	}
	return moved, nil
}

// missed counts a round that has moved nothing, where the relay was woken for it.
func (r *relay) missed() {
	if r.woken {
		r.misses++
	}
}

// round moves one chunk, makes partitions of the feed where they run out, and wakes the subscribers.
func (r *relay) round(ctx context.Context) (done relayed, err error) {
	if !r.mended { // a restore may have left the head below the positions that were given
		if err := r.extend(ctx); err != nil {
			return done, err
		}
		r.mended = true
	}
	began := time.Now()
	sweep := r.mustSweep(began)
	done, err = r.move(ctx, sweep)
	if core.IsMissingPartition(err) || core.SQLState(err) == pgerrcode.UniqueViolation {
		if err = r.extend(ctx); err == nil {
			done, err = r.move(ctx, sweep)
		}
	}
	if err != nil || !done.locked {
		return done, err
	}
	if sweep {
		r.sweep, r.cost = time.Now(), time.Since(began)
	}
	if done.swept > 0 {
		r.box.cfg.Logger.Error("strunk: the relay found events where none ought to be: was a sequence reset, or a "+
			"row put in by hand?", "events", done.swept)
	}
	topics := make([]string, len(done.types))
	for i, entityType := range done.types {
		topics[i] = core.TopicFeed(entityType)
	}
	r.box.wake(topics)
	if done.low {
		err = r.extend(ctx)
	}
	return done, err
}

const (
	// sqlRelayLock tries for the relay's lock, until the end of the transaction, and lets
	// strunk_relay know. It makes the commit wait for its flush: a subscriber must not have seen a
	// position that a crash of the server gives out again.
	sqlRelayLock = `SELECT pg_catalog.set_config('strunk.relay',
	pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('strunk_relay:{schema}', 0))::text, true),
	pg_catalog.set_config('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit')
		WHEN 'off' THEN 'on' WHEN 'local' THEN 'on' ELSE pg_catalog.current_setting('synchronous_commit') END, true)`
	// sqlRelay moves up to $1 events, bounded by $2 bytes; $3 looks for them everywhere.
	sqlRelay = `SELECT locked, moved, swept, more, head, missing, low, types
		FROM {schema}.strunk_relay($1::integer, $2::bigint, $3::boolean)`
	// sqlEnsureFeed makes partitions of the feed ahead.
	sqlEnsureFeed = `SELECT {schema}.strunk_ensure_feed_partitions()`
)

func (r *relay) move(ctx context.Context, sweep bool) (done relayed, err error) {
	rows, bytes := r.limit.Now()
	err = r.conn.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			return core.OneMessage(ctx, conn,
				core.Statement{SQL: r.box.sql(sqlRelayLock)},
				core.Statement{SQL: r.box.sql(sqlRelay), Args: []any{rows, bytes, sweep},
					Scan: func(rows pgx.Rows) error {
						var head, missing *int64
						var low, more *bool
						_, err := pgx.ForEachRow(rows, []any{&done.locked, &done.moved, &done.swept, &more, &head,
							&missing, &low, &done.types}, func() error {
							if done.locked {
								done.more, done.head, done.missing, done.low = *more, *head, *missing, *low
							}
							return nil
						})
						return err
					}})
		})
	})
	return done, err
}

func (r *relay) extend(ctx context.Context) error {
	return r.conn.autocommit(ctx, core.Statement{SQL: r.box.sql(sqlEnsureFeed)})
}
