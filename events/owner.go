package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// place is where a subscriber stands when an owner takes it up.
type place struct {
	cursor, started, epoch int64
	crashed                bool // the owner before was lost: what is up to started may have been begun
	bootstrap              string
	mark                   string // of the bootstrap
}

// possiblyStarted is the order of the last event above the cursor that the owner before may have begun, if it was lost;
// 0 where there is none.
func (p place) possiblyStarted() int64 {
	switch {
	case !p.crashed:
		return 0
	case p.bootstrap == bootstrapSnapshots:
		return maxAhead
	}
	return p.started
}

// owner is one Run's claim to a subscriber.
type owner struct {
	*subscriber
	rt   core.Runtime
	id   int64
	poll time.Duration
	host string
}

// process names this process, as in errors that are stored.
func (o *owner) process() string { return fmt.Sprintf("%s/%d", o.host, os.Getpid()) }

func newOwner(s *subscriber, rt core.Runtime) *owner {
	o := &owner{subscriber: s, rt: rt, id: rand.Int64N(1<<62) + 1, poll: s.opts.poll}
	if o.poll == 0 {
		o.poll = rt.Settings().PollInterval
	}
	if host, err := os.Hostname(); err == nil {
		o.host = host
	}
	return o
}

const (
	// sqlRegister registers subscriber $1 of type $2, which had names $5, starting at $3 with lease $4.
	sqlRegister = `SELECT entity_type, registered, outdated FROM {schema}.strunk_register($1::text, $2::text,
		$3::text, $4::integer, $5::text[])`
	// sqlWatch reads who owns subscriber $1, the heartbeat, and what it follows.
	sqlWatch = `SELECT owner, epoch, heartbeat, lease_ms, entity_type FROM {schema}.strunk_watch_subscriber($1::text)`
	// sqlOwn makes $2 the owner of subscriber $1 of type $8 if epoch $3 and heartbeat $4 still stand, or
	// it has no other owner.
	sqlOwn = `SELECT cursor, started, epoch, crashed, bootstrap, coalesce(bootstrap_mark, '')
FROM {schema}.strunk_own($1::text, $2::bigint, $3::bigint, $4::bigint, $5::integer, $6::text, $7::integer, $8::text)`
	// sqlDisown gives subscriber $1 up.
	sqlDisown = `SELECT {schema}.strunk_disown($1::text, $2::bigint)`
)

// controlled runs one statement as a transaction of its own, on the connection that handlers cannot exhaust.
func (o *owner) controlled(ctx context.Context, sql string, args []any, dest ...any) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(o.opts.lease, statementTimeout))
	defer cancel()
	err = o.rt.Control(ctx, func(conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			found = false
			return core.OneMessage(ctx, conn, core.Statement{SQL: o.rt.SQL(sql), Args: args,
				Scan: func(rows pgx.Rows) error {
					_, err := pgx.ForEachRow(rows, dest, func() error { found = true; return nil })
					return err
				}})
		})
	})
	return found, err
}

// register makes the subscriber's row where there is none.
func (o *owner) register(ctx context.Context) error {
	var entityType string
	var registered, outdated bool
	args := []any{o.name, o.def.entityType, string(o.opts.start), o.opts.lease.Milliseconds(), o.def.previousNames()}
	_, err := o.controlled(ctx, sqlRegister, args, &entityType, &registered, &outdated)
	if err != nil {
		return fmt.Errorf("strunk/events: registering subscriber %q: %w", o.name, err)
	}
	if outdated {
		return fmt.Errorf("strunk/events: subscriber %q follows %q: %w", o.name, entityType, errOutdated)
	}
	if entityType != o.def.entityType {
		return fmt.Errorf("strunk/events: subscriber %q follows %q and not %q: %w: give each subscriber a name of "+
			"its own", o.name, entityType, o.def.entityType, ErrInvalid)
	}
	if registered {
		o.rt.Logger().Info("strunk: a subscriber was registered", "subscriber", o.name, "entity_type", entityType,
			"from", string(o.opts.start))
	}
	return nil
}

const (
	// looksPerLease is how often within a lease a process that would own a subscriber looks at its owner's heartbeat.
	looksPerLease     = 10
	minRescueInterval = 20 * time.Millisecond
	maxRescueInterval = 500 * time.Millisecond
)

// ownerWatch watches the heartbeat of another owner.
type ownerWatch = core.HeartbeatWatch[ownerHeartbeat]

type ownerHeartbeat struct{ epoch, heartbeat int64 }

// own waits for the subscriber and delivers its events whenever it has it, until the soft end.
func (o *owner) own(life core.Life) error {
	woken, stop := o.rt.Subscribe(topicSubscriber(o.name))
	defer stop()
	var watch ownerWatch
	for life.Soft.Err() == nil {
		p, pause, err := o.try(life.Soft, &watch)
		if err != nil {
			return err
		}
		if p != nil {
			o.hold(life, *p)
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-woken:
		case <-timer.C:
		case <-life.Soft.Done():
		}
		timer.Stop()
	}
	return nil
}

// try takes the subscriber if it may be taken, and otherwise says when to look again.
func (o *owner) try(ctx context.Context, watch *ownerWatch) (*place, time.Duration, error) {
	var holder *int64
	var epoch, heartbeat, leaseMS int64
	var entityType string
	found, err := o.controlled(ctx, sqlWatch, []any{o.name}, &holder, &epoch, &heartbeat, &leaseMS, &entityType)
	if err != nil { // the next look begins a new watch: an outage expires no lease
		return nil, 0, fmt.Errorf("strunk/events: looking at subscriber %q: %w", o.name, err)
	}
	if !found {
		return nil, 0, fmt.Errorf("strunk/events: subscriber %q was removed: %w", o.name, ErrUnknownSubscriber)
	}
	if entityType != o.def.entityType {
		return nil, 0, fmt.Errorf("strunk/events: subscriber %q follows %q: %w", o.name, entityType, errOutdated)
	}
	lease := time.Duration(leaseMS) * time.Millisecond
	pause := min(max(lease/looksPerLease, minRescueInterval), maxRescueInterval)
	over := leaseOver(watch, time.Now(), pause, lease, ownerHeartbeat{epoch, heartbeat})
	if holder == nil || *holder == o.id || over {
		p, err := o.take(ctx, epoch, heartbeat)
		return p, pause, err
	}
	return nil, pause, nil
}

// leaseOver looks at an owner's heartbeat and reports whether it was seen to stand still for the
// whole lease, in looks that followed on one another about every pause.
func leaseOver(watch *ownerWatch, now time.Time, pause, lease time.Duration, heartbeat ownerHeartbeat) bool {
	return watch.Look(now, pause, heartbeat) >= lease
}

func (o *owner) take(ctx context.Context, epoch, heartbeat int64) (*place, error) {
	var p place
	args := []any{o.name, o.id, epoch, heartbeat, os.Getpid(), o.host, o.opts.lease.Milliseconds(), o.def.entityType}
	found, err := o.controlled(ctx, sqlOwn, args, &p.cursor, &p.started, &p.epoch, &p.crashed, &p.bootstrap, &p.mark)
	if err != nil || !found {
		return nil, err
	}
	return &p, nil
}

// hold has sessions deliver events for as long as the subscriber is this owner's, and gives it up
// cleanly at the soft end.
func (o *owner) hold(life core.Life, p place) {
	if p.crashed {
		o.rt.Logger().Warn("strunk: a subscriber was taken over from an owner that was lost", "subscriber", o.name,
			"cursor", p.cursor)
	}
	possiblyStarted := p.possiblyStarted()
	var pause reloadPause
	for {
		began := time.Now()
		s := newSession(o, life, p, possiblyStarted)
		reason := s.run()
		if errors.Is(reason, ErrLeaseLost) {
			o.rt.Logger().Warn("strunk: a subscriber is another process's now; its handlers were cancelled",
				"subscriber", o.name)
			return
		}
		if errors.Is(reason, errReload) {
			core.Sleep(life.Soft, pause.after(time.Since(began)))
		}
		if life.Soft.Err() != nil {
			o.release(life.End)
			return
		}
		next := o.takeAgain(life.Soft)
		if next == nil {
			return
		}
		if errors.Is(reason, errReload) {
			o.logRepeats(s, *next)
		}
		if errors.Is(reason, ErrRewound) || p.bootstrap == bootstrapSnapshots {
			possiblyStarted = 0
		}
		p = *next
	}
}

// takeAgain takes the subscriber that this owner has, under a new epoch; nil where it has it no more. No other owner is
// displaced for it.
func (o *owner) takeAgain(ctx context.Context) *place {
	const nobody, noHeartbeat = 0, -1
	next, err := o.take(ctx, nobody, noHeartbeat)
	for err != nil && ctx.Err() == nil {
		o.logError(o.rt, "a subscriber could not be taken up again", err)
		core.Sleep(ctx, o.poll)
		next, err = o.take(ctx, nobody, noHeartbeat)
	}
	return next
}

// logRepeats says that the database has lost where a session stood: what lies between is delivered again.
func (o *owner) logRepeats(s *session, next place) {
	if was := s.lanes.lowWatermark(); !s.reader.bootstrapping && next.cursor < was {
		o.rt.Logger().Error("strunk: the database has an older cursor than this process has reached; the events "+
			"after it are handled again",
			"subscriber", o.name, "cursor", next.cursor, "reached", was)
	}
}

func (o *owner) release(end context.Context) {
	ctx, cancel := context.WithTimeout(end, o.opts.lease)
	defer cancel()
	var ok bool
	if _, err := o.controlled(ctx, sqlDisown, []any{o.name, o.id}, &ok); err != nil {
		o.logError(o.rt, "a subscriber could not be given up, its lease runs out by itself", err)
		return
	}
	o.rt.Wake(topicSubscriber(o.name))
}
