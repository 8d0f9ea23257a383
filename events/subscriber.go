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

// firstPause is the first wait after an error; it doubles up to the poll interval.
const firstPause = 10 * time.Millisecond

// topicSubscriber is announced when something is to be noticed about a subscriber: a rewind, a pause, a copy to be
// redelivered, a skip, an owner that left.
func topicSubscriber(name string) string { return "s:" + name }

// subscriber is a Subscriber without its type.
type subscriber struct {
	def  *definition
	name string
	work work
	opts subscribeOptions
}

func newSubscriber(def *definition, name string, w work, opts []SubscribeOption) *subscriber {
	s := &subscriber{def: def, name: name, work: w, opts: newSubscribeOptions(opts)}
	if w.inTx {
		s.opts.concurrency = 1
	}
	return s
}

// Describe implements core.Binding.
func (s *subscriber) Describe() (kind, name string) { return "subscriber", s.name }

// Prepare implements core.Binding.
func (s *subscriber) Prepare(core.Host) []error {
	if s.def.err != nil {
		return []error{s.def.err}
	}
	problems := s.opts.problems()
	if err := core.CheckName(s.name); err != nil {
		problems = append(problems, fmt.Errorf("the name %w", err))
	}
	if s.work.call == nil {
		problems = append(problems, errors.New("the handler is nil"))
	}
	for i, err := range problems {
		problems[i] = fmt.Errorf("strunk/events: subscriber %q: %w: %w", clip(s.name), err, ErrInvalid)
	}
	return problems
}

// place is where a subscriber stands when a session takes it up.
type place struct {
	cursor, started, epoch int64
	crashed                bool // the owner before was lost: what is up to started may have been begun
	boot                   int16
	mark                   string
}

// suspects is the order up to which the owner before, if it was lost, may have begun what is not behind the cursor.
func (p place) suspects() int64 {
	switch {
	case !p.crashed:
		return 0
	case p.boot == bootScanning:
		return mostAhead
	}
	return p.started
}

// States of the bootstrap from snapshots, as in strunk_subscribers.boot.
const (
	bootNone = iota
	bootScanning
	bootFiltering
)

// Run implements core.Binding: it registers the subscriber, waits until it may own it, and has sessions deliver its events,
// one for each epoch, until the soft end.
func (s *subscriber) Run(life core.Life, rt core.Runtime) error {
	o := newOwner(s, rt)
	pause := firstPause
	for life.Soft.Err() == nil {
		err := o.register(life.Soft)
		if errors.Is(err, ErrInvalid) {
			return err
		}
		if errors.Is(err, errOutdated) {
			rt.Logger().Warn("strunk: a subscriber's entity type was renamed; this process leaves it to those that know the new name", "subscriber", s.name,
				"entity_type", s.def.entityType, "error", err)
			<-life.Soft.Done()
			break
		}
		if err == nil {
			if err = o.own(life); err == nil {
				break
			}
		}
		if life.Soft.Err() == nil {
			s.logError(rt, "a subscriber could not be taken up", err)
		}
		core.Sleep(life.Soft, pause)
		pause = min(2*pause, o.poll)
	}
	return nil
}

func (s *subscriber) logError(rt core.Runtime, what string, err error) {
	if !errors.Is(err, context.Canceled) {
		rt.Logger().Warn("strunk: "+what+"; trying again", "subscriber", s.name, "error", err)
	}
}

// owner is one Run's claim to a subscriber.
type owner struct {
	*subscriber
	rt   core.Runtime
	id   int64
	poll time.Duration
	host string
}

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
	sqlRegister = `SELECT entity_type, registered, outdated FROM {schema}.strunk_register($1::text, $2::text, $3::text, $4::integer, $5::text[])`
	// sqlWatch reads who owns subscriber $1, the heartbeat, and what it follows.
	sqlWatch = `SELECT owner, epoch, beat, lease_ms, entity_type FROM {schema}.strunk_watch_subscriber($1::text)`
	// sqlOwn makes $2 the owner of subscriber $1 of type $8 if epoch $3 and beat $4 still stand, or it has no other owner.
	sqlOwn = `SELECT cursor, started, epoch, crashed, boot, coalesce(boot_mark, '')
FROM {schema}.strunk_own($1::text, $2::bigint, $3::bigint, $4::bigint, $5::integer, $6::text, $7::integer, $8::text)`
	// sqlDisown gives subscriber $1 up.
	sqlDisown = `SELECT {schema}.strunk_disown($1::text, $2::bigint)`
	// sqlBeat renews the lease of owner $2 of subscriber $1.
	sqlBeat = `SELECT {schema}.strunk_beat_subscriber($1::text, $2::bigint)`
)

// controlled runs one statement as a transaction of its own, on the connection that handlers cannot exhaust.
func (o *owner) controlled(ctx context.Context, sql string, args []any, dest ...any) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(o.opts.lease, statementTimeout))
	defer cancel()
	err = o.rt.Control(ctx, func(conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			found = false
			return core.OneMessage(ctx, conn, core.Statement{SQL: o.rt.SQL(sql), Args: args, Scan: func(rows pgx.Rows) error {
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
	args := []any{o.name, o.def.entityType, string(o.opts.start), o.opts.lease.Milliseconds(), o.def.former()}
	_, err := o.controlled(ctx, sqlRegister, args, &entityType, &registered, &outdated)
	if err != nil {
		return fmt.Errorf("strunk/events: registering subscriber %q: %w", o.name, err)
	}
	if outdated {
		return fmt.Errorf("strunk/events: subscriber %q follows %q: %w", o.name, entityType, errOutdated)
	}
	if entityType != o.def.entityType {
		return fmt.Errorf("strunk/events: subscriber %q follows %q and not %q: %w: give each subscriber a name of its own", o.name, entityType, o.def.entityType, ErrInvalid)
	}
	if registered {
		o.rt.Logger().Info("strunk: a subscriber was registered", "subscriber", o.name, "entity_type", entityType, "from", string(o.opts.start))
	}
	return nil
}

// looksPerLease is how often within a lease a process that would own a subscriber looks at its owner's heartbeat.
const (
	looksPerLease = 10
	lookFastest   = 20 * time.Millisecond
	lookSlowest   = 500 * time.Millisecond
	beatsPerLease = 6
)

// sighting is the heartbeat of another owner as it was seen last, and since when it has stood still in this process's own
// connected, monotonic time.
type sighting struct {
	epoch, beat int64
	since, last time.Time
}

// own waits for the subscriber and delivers its events whenever it has it, until the soft end.
func (o *owner) own(life core.Life) error {
	woken, stop := o.rt.Subscribe(topicSubscriber(o.name))
	defer stop()
	var seen sighting
	for life.Soft.Err() == nil {
		p, pause, err := o.try(life.Soft, &seen)
		if err != nil {
			return err
		}
		if p != nil {
			o.hold(life, *p)
			seen = sighting{}
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
func (o *owner) try(ctx context.Context, seen *sighting) (*place, time.Duration, error) {
	var holder *int64
	var epoch, beat, leaseMS int64
	var entityType string
	found, err := o.controlled(ctx, sqlWatch, []any{o.name}, &holder, &epoch, &beat, &leaseMS, &entityType)
	if err != nil {
		*seen = sighting{} // an outage condemns nobody
		return nil, 0, fmt.Errorf("strunk/events: looking at subscriber %q: %w", o.name, err)
	}
	if !found {
		return nil, 0, fmt.Errorf("strunk/events: subscriber %q was removed: %w", o.name, ErrUnknownSubscriber)
	}
	if entityType != o.def.entityType {
		return nil, 0, fmt.Errorf("strunk/events: subscriber %q follows %q: %w", o.name, entityType, errOutdated)
	}
	lease, now := time.Duration(leaseMS)*time.Millisecond, time.Now()
	pause := min(max(lease/looksPerLease, lookFastest), lookSlowest)
	if holder == nil || *holder == o.id || seen.gone(epoch, beat, lease, pause, now) {
		p, err := o.take(ctx, epoch, beat)
		return p, pause, err
	}
	return nil, pause, nil
}

// gone reports whether a heartbeat has been watched standing still for a whole lease.
func (s *sighting) gone(epoch, beat int64, lease, pause time.Duration, now time.Time) bool {
	if s.epoch != epoch || s.beat != beat || s.since.IsZero() || now.Sub(s.last) > 2*pause+lookSlowest {
		*s = sighting{epoch: epoch, beat: beat, since: now}
	}
	s.last = now
	return now.Sub(s.since) >= lease
}

func (o *owner) take(ctx context.Context, epoch, beat int64) (*place, error) {
	var p place
	args := []any{o.name, o.id, epoch, beat, os.Getpid(), o.host, o.opts.lease.Milliseconds(), o.def.entityType}
	found, err := o.controlled(ctx, sqlOwn, args, &p.cursor, &p.started, &p.epoch, &p.crashed, &p.boot, &p.mark)
	if err != nil || !found {
		return nil, err
	}
	return &p, nil
}

// hold has sessions deliver events for as long as the subscriber is this owner's, and gives it up cleanly at the soft end.
func (o *owner) hold(life core.Life, p place) {
	if p.crashed {
		o.rt.Logger().Warn("strunk: a subscriber was taken over from an owner that was lost", "subscriber", o.name, "cursor", p.cursor)
	}
	suspect := p.suspects()
	for {
		reason := newSession(o, life, p, suspect).run()
		if errors.Is(reason, ErrLeaseLost) {
			o.rt.Logger().Warn("strunk: a subscriber is another process's now; its handlers were cancelled", "subscriber", o.name)
			return
		}
		if life.Soft.Err() != nil {
			o.release()
			return
		}
		next, err := o.take(life.Soft, 0, -1)
		for err != nil && life.Soft.Err() == nil {
			o.logError(o.rt, "a subscriber could not be taken up again", err)
			core.Sleep(life.Soft, o.poll)
			next, err = o.take(life.Soft, 0, -1)
		}
		if next == nil {
			return
		}
		if errors.Is(reason, ErrRewound) || p.boot == bootScanning {
			suspect = 0
		}
		p = *next
	}
}

func (o *owner) release() {
	ctx, cancel := context.WithTimeout(context.Background(), o.opts.lease)
	defer cancel()
	var ok bool
	if _, err := o.controlled(ctx, sqlDisown, []any{o.name, o.id}, &ok); err != nil {
		o.logError(o.rt, "a subscriber could not be given up, its lease runs out by itself", err)
		return
	}
	o.rt.Wake(topicSubscriber(o.name))
}
