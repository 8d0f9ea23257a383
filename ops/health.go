package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// Defaults of Thresholds.
const (
	DefaultOldestPending = 5 * time.Minute
	DefaultSubscriberLag = 5 * time.Minute
	DefaultLoopDelay     = time.Minute
	DefaultHorizon       = 30 * time.Minute
	DefaultNotifyUsage   = 0.5
	DefaultCountsAge     = 15 * time.Minute
)

// Thresholds say from when on something is wrong. The zero value is usable: each field says what zero means.
type Thresholds struct {
	// OldestPending is how long the task at the head of a queue may wait; zero means DefaultOldestPending.
	OldestPending time.Duration
	// SubscriberLag is how old the first event that a subscriber has not handled may be; zero means
	// DefaultSubscriberLag.
	SubscriberLag time.Duration
	// LoopDelay is how long a loop may leave due work lying; zero means DefaultLoopDelay.
	LoopDelay time.Duration
	// Horizon is how long a transaction may hold back what PostgreSQL can clean up; zero means DefaultHorizon.
	Horizon time.Duration
	// NotifyUsage is how full PostgreSQL's queue of notifications may be, from 0 to 1; zero means
	// DefaultNotifyUsage. When it is full, transactions that notify fail.
	NotifyUsage float64
	// CountsAge is how long ago the large numbers may have been counted last; zero means
	// DefaultCountsAge. Passes are up to seven minutes apart.
	CountsAge time.Duration
}

func (t Thresholds) withDefaults() Thresholds {
	for _, d := range []struct {
		of *time.Duration
		by time.Duration
	}{
		{&t.OldestPending, DefaultOldestPending}, {&t.SubscriberLag, DefaultSubscriberLag},
		{&t.LoopDelay, DefaultLoopDelay}, {&t.Horizon, DefaultHorizon},
		{&t.CountsAge, DefaultCountsAge},
	} {
		if *d.of == 0 {
			*d.of = d.by
		}
	}
	if t.NotifyUsage == 0 {
		t.NotifyUsage = DefaultNotifyUsage
	}
	return t
}

func (t Thresholds) validate() error {
	if t.OldestPending < 0 || t.SubscriberLag < 0 || t.LoopDelay < 0 || t.Horizon < 0 || t.NotifyUsage < 0 ||
		t.NotifyUsage > 1 || t.CountsAge < 0 {
		return fmt.Errorf("Thresholds: %+v: none may be negative, NotifyUsage at most 1: %w", t, ErrInvalid)
	}
	return nil
}

// Status is the result of a check.
type Status string

// The results of a check, the worse the later.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn"
	StatusFail Status = "fail"
)

// The names of the checks of Health, in its order.
const (
	CheckPartitions  = "partitions"
	CheckRelay       = "relay"
	CheckPromoter    = "promoter"
	CheckRescue      = "rescue"
	CheckScheduler   = "scheduler"
	CheckReaper      = "reaper"
	CheckCounter     = "counter"
	CheckWorkers     = "workers"
	CheckQueues      = "queues"
	CheckSubscribers = "subscribers"
	CheckForwarders  = "forwarders"
	CheckOutcomes    = "outcomes"
	CheckHorizon     = "horizon"
	CheckNotify      = "notify_queue"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Message says what was found, and what to do where something is wrong.
	Message string `json:"message"`
}

// Report is the health of an installation.
type Report struct {
	// Status is the worst of the checks'.
	Status Status    `json:"status"`
	At     time.Time `json:"at"`
	Checks []Check   `json:"checks"`
}

// Check returns the check of a name; its Status is empty where there is none.
func (r Report) Check(name string) Check {
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{Name: name}
}

func (r *Report) add(name string, status Status, format string, args ...any) {
	r.Checks = append(r.Checks, Check{Name: name, Status: status, Message: fmt.Sprintf(format, args...)})
	if severity[status] > severity[r.Status] {
		r.Status = status
	}
}

var severity = map[Status]int{StatusOK: 0, StatusWarn: 1, StatusFail: 2}

// Horizon is what holds back the point before which PostgreSQL may clean up.
type Horizon struct {
	// Holder is "session", "prepared transaction" or "replication slot"; Name is the application's,
	// the transaction's or the slot's.
	Holder string `json:"holder"`
	Name   string `json:"name"`
	PID    *int   `json:"pid,omitempty"`
	State  string `json:"state,omitempty"`
	// Transactions is how many have begun since.
	Transactions int64 `json:"transactions"`
	// OpenFor is nil where the role may not see it (GRANT pg_read_all_stats).
	OpenFor *Duration `json:"open_seconds,omitempty"`
}

// isolated are tasks of a queue that were set aside because their outcomes could not be stored.
type isolated struct {
	Queue  string
	Latest int64
	Tasks  int64
}

// facts are what Health looks at.
type facts struct {
	now                                  time.Time
	relaySince                           *time.Time
	promoterFor, schedulerFor, rescueFor *int64 // microseconds
	countedFor                           *int64 // microseconds; nil: nobody has counted yet
	missingDays                          []string
	feedAhead                            bool
	notify                               float64
	schedules                            int64
	queues                               []Queue
	subscribers                          []Subscriber
	forwarders                           []Forwarder
	isolated                             []isolated
	holders                              []Horizon
	paused                               *Pause // of all queues
	loops                                map[string]outbox.LoopStatus
}

const (
	// sqlBacklog reads what the loops have before them. It locks nothing.
	sqlBacklog = `SELECT b.now_at, b.relay_since, (extract(epoch FROM b.promoter_for) * 1000000)::bigint,
	(extract(epoch FROM b.scheduler_for) * 1000000)::bigint, (extract(epoch FROM b.rescue_for) * 1000000)::bigint,
	b.missing_days, b.feed_ahead, b.notify_usage, (SELECT count(*) FROM {schema}.strunk_schedules s WHERE s.enabled)
FROM {schema}.strunk_backlog() b`
	// sqlIsolated reads which tasks were set aside because their outcomes could not be stored, by queue: the latest of
	// each, and how many of the last $1. It locks nothing.
	sqlIsolated = `SELECT d.key, max(d.id), count(*) FROM (
	SELECT x.key, x.id FROM {schema}.strunk_outbox_dead x WHERE x.isolated ORDER BY x.id DESC LIMIT $1::integer) d
GROUP BY d.key ORDER BY d.key`
	// sqlHorizon reads who holds back the horizon, the oldest $1. It locks nothing.
	sqlHorizon = `SELECT h.holder, coalesce(h.name, ''), h.pid, coalesce(h.state, ''), h.xids::bigint,
		(extract(epoch FROM h.open_for) * 1000000)::bigint
FROM {schema}.strunk_horizon h LIMIT $1::integer`
	// sqlCounted reads how long ago the numbers were counted that are too large to be counted for each question. It
	// locks nothing.
	sqlCounted = `SELECT (extract(epoch FROM {schema}.strunk_now() - max(p.counted_at)) * 1000000)::bigint
FROM {schema}.strunk_count_passes p`
	// maxIsolated is how many tasks that were set aside are counted.
	maxIsolated = 1000
	// maxHolders is how many of them are looked at.
	maxHolders = 10
)

// Health looks at the loops, the queues and the subscribers of the whole installation, whoever runs
// them. An error means that it could not look. What a probe should ask is something else: a process
// whose queue is long must not be restarted or taken out of service for it. See Ready.
func Health(ctx context.Context, box *outbox.Box, t Thresholds) (Report, error) {
	if err := t.validate(); err != nil {
		return Report{}, wrap("health", err)
	}
	f, err := gather(ctx, box)
	if err != nil {
		return Report{}, wrap("health", err)
	}
	return f.report(t.withDefaults()), nil
}

// Ready returns why a process cannot serve: the database does not answer, its schema is not this library's, or the
// partition that tasks are to be completed into is missing. A backlog is no reason.
func Ready(ctx context.Context, box *outbox.Box) error {
	if box == nil {
		return wrap("ready", fmt.Errorf("the box is nil: %w", ErrInvalid))
	}
	var version, compatibleSince, known = 0, 0, outbox.LatestVersion()
	var today bool
	if err := ask(ctx, box, one(sqlReady, nil, &version, &compatibleSince, &today)); err != nil {
		return wrap("ready", err)
	}
	switch {
	case version < known:
		return fmt.Errorf("strunk/ops: ready: the database is at version %d, this library at %d; run strunk migrate",
			version, known)
	case compatibleSince > known:
		return fmt.Errorf("strunk/ops: ready: the database serves libraries of version %d and later, this one is "+
			"of version %d; upgrade it",
			compatibleSince, known)
	case !today:
		return fmt.Errorf("strunk/ops: ready: today's partition of delivered tasks is missing: no process runs " +
			"the reaper; SELECT strunk_ensure_task_partitions()")
	}
	return nil
}

// sqlReady reads the version of the schema, the oldest version of a library that it serves, and
// whether today's partition of delivered tasks is there. It locks nothing.
const sqlReady = `SELECT coalesce((SELECT max(m.version) FROM {schema}.strunk_migrations m), 0),
	coalesce((SELECT m.compatible_since FROM {schema}.strunk_migrations m ORDER BY m.version DESC LIMIT 1), 0),
	EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE NOT i.inhdetachpending
	AND i.inhrelid = pg_catalog.to_regclass('{schema}.strunk_outbox_delivered_tasks_' ||
	pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')))`

func gather(ctx context.Context, box *outbox.Box) (f facts, err error) {
	err = ask(ctx, box,
		one(sqlBacklog, nil, &f.now, &f.relaySince, &f.promoterFor, &f.schedulerFor, &f.rescueFor, &f.missingDays,
			&f.feedAhead, &f.notify, &f.schedules),
		one(sqlCounted, nil, &f.countedFor),
		queuesQuestion(&f.queues, "", MaxLimit, 0),
		subscribersQuestion(&f.subscribers, "", MaxLimit, 1),
		forwardersQuestion(&f.forwarders, "", MaxLimit, 1),
		many(&f.isolated, sqlIsolated, []any{maxIsolated}, func(rows pgx.Rows) (i isolated, err error) {
			return i, rows.Scan(&i.Queue, &i.Latest, &i.Tasks)
		}),
		horizonQuestion(&f.holders), allPausedQuestion(&f.paused))
	if err != nil {
		return f, err
	}
	loops, err := box.Loops(ctx)
	f.loops = map[string]outbox.LoopStatus{}
	for _, l := range loops {
		f.loops[l.Loop] = l
	}
	return f, err
}

func horizonQuestion(into *[]Horizon) question {
	return many(into, sqlHorizon, []any{maxHolders}, func(rows pgx.Rows) (h Horizon, err error) {
		var open *int64
		err = rows.Scan(&h.Holder, &h.Name, &h.PID, &h.State, &h.Transactions, &open)
		if open != nil {
			d := micros(*open)
			h.OpenFor = &d
		}
		return h, err
	})
}
