// Package core is the contract between strunk's packages: what outbox lends to queue, events and the layers above, and
// what they hand to outbox.Run. It is internal, so that a type that names it in a method can be implemented here only.
package core

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Seal is a parameter of exported methods that are meant for strunk's own packages.
type Seal struct{}

// Rows is what both pgx.Rows and sql.Rows can do.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

// Tx is one open transaction, whoever owns it.
type Tx interface {
	// Host is the box that the transaction belongs to.
	Host() Host
	// Query runs one statement and hands its rows to scan. Go slices are passed as PostgreSQL arrays; the statement
	// must cast each parameter.
	Query(ctx context.Context, sql string, args []any, scan func(Rows) error) error
	// NotifyInside tells a statement to send its NOTIFY within the transaction: nobody tells us of its commit, or that
	// is quicker. The answers of one transaction may differ.
	NotifyInside() bool
	// Wake announces topics once the transaction has committed. Without effect where nobody tells us of that.
	Wake(topics ...string)
	// WakeLocal does so within this process alone: a statement has sent the NOTIFY.
	WakeLocal(topics ...string)
	// Enqueued counts n tasks of a queue once the transaction has committed; at once where nobody tells us of its
	// commit.
	Enqueued(queue string, n int)
	// Validate returns why the transaction cannot be used (made from nil), or nil.
	Validate() error
}

// Announce announces topics once a transaction has committed. Inside says that a statement has sent the NOTIFY.
func Announce(t Tx, inside bool, topics ...string) {
	if inside {
		t.WakeLocal(topics...)
	} else {
		t.Wake(topics...)
	}
}

// Dropper is implemented by the transactions that strunk owns. Drop closes a transaction's
// connection while whoever was given the transaction may still use it.
type Dropper interface {
	Drop()
}

// Host is a Box as its sibling packages see it.
type Host interface {
	Pool() *pgxpool.Pool
	// SQL replaces {schema} and {channel}; the result is cached by the text.
	SQL(text string) string
	Logger() *slog.Logger
	Settings() Settings
	// Wake wakes this process's subscribers to the topics at once and sends one coalesced NOTIFY for the others.
	Wake(topics ...string)
	// WakeLocal wakes this process's subscribers only.
	WakeLocal(topics ...string)
	// Subscribe returns a channel that receives after any of the topics is announced, and after every reconnection of
	// the listener. Signals coalesce. Call the function to end it.
	Subscribe(topics ...string) (<-chan struct{}, func())
	// Schema is the unquoted PostgreSQL schema.
	Schema() string
	// Extension returns the values that the box's configuration holds under key (for example queue
	// middleware), as []any, or nil.
	Extension(key any) any
	// Breaks counts how often what is remembered of the database may have become wrong: after a
	// lost connection, a failover or a restore. Whoever keeps positions in memory reads them again
	// when it has changed. All subscribers are woken then.
	Breaks() int64
	// Rhythm says when this process does what it does at intervals.
	Rhythm() Rhythm
	// FullPolls counts how often all subscribers were woken, because notifications may have been missed. Where it has
	// changed, a wake-up is no sign that there is work.
	FullPolls() int64
	// Box is the *outbox.Box itself.
	Box() any
	// Counters returns the counters of a queue or a subscriber in this process. Count at once: the process writes
	// what there is soon after the call, and while it runs Run now and then. Safe for concurrent use.
	Counters(of CountersOf) *Counters
	// DatabaseTime is what the database's clock shows about at a time of this process's clock: to measure, not to
	// decide.
	DatabaseTime(local time.Time) time.Time
	// Shared returns the one value that a package of strunk keeps with the box under a key, made on
	// first use. Where two goroutines make it at once, one of the values is dropped.
	Shared(key any, make func() any) any
	// Connect opens a connection beside the pool, for a question that must be answered while callers may hold every
	// connection of the pool. The caller closes it.
	Connect(ctx context.Context) (*pgx.Conn, error)
	// Listen makes sure that notifications reach this process until the returned function is
	// called. One connection serves all callers and every Run of the box. With PollOnly it does
	// nothing.
	Listen() (stop func())
}

// Settings are the box-wide settings that consumers share.
type Settings struct {
	PollInterval time.Duration
	Grace        time.Duration
	PollOnly     bool
	SyncClaims   bool
}

// Life is what a running binding obeys. Its contexts end in this order.
type Life struct {
	// Soft ends when claiming must stop.
	Soft context.Context
	// Hard ends when the grace period is over and handlers must end.
	Hard context.Context
	// End ends shortly after Hard: the binding waits for no answer any more, of a handler or of the
	// database. Every statement that outlasts Soft and Hard ends with it.
	End context.Context
	// OnBegun is told that a [Beginner] has begun, once or more often; nil for nobody.
	OnBegun func()
}

// Begun says that the binding has begun.
func (l Life) Begun() {
	if l.OnBegun != nil {
		l.OnBegun()
	}
}

const (
	// HandlerPatience is how long a handler may take to return after its context has ended. Then it
	// is given up, and its goroutine left behind.
	HandlerPatience = 5 * time.Second
	// StopPatience is the same once the grace period is over.
	StopPatience = 700 * time.Millisecond
)

// HandlerPatience is how long a handler may take now to return after its context has ended.
func (l Life) HandlerPatience() time.Duration {
	if l.Hard.Err() != nil {
		return StopPatience
	}
	return HandlerPatience
}

// Outlasting returns a context with the values of ctx that does not end with ctx, but at end, and at the timeout.
func Outlasting(ctx, end context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(end, cancel)
	return ctx, func() { stop(); cancel() }
}

// Runtime is the running box that a binding is part of.
type Runtime interface {
	Host
	// Lease takes a lease row for a queue and renews it until it is released or lost. It sends the
	// statements before, in the same message and transaction.
	Lease(ctx context.Context, spec LeaseSpec, before ...Statement) (Lease, error)
	// Control runs fn on the connection that handlers cannot exhaust. One caller at a time.
	Control(ctx context.Context, fn func(conn *pgx.Conn) error) error
}

// LeaseSpec describes a lease row.
type LeaseSpec struct {
	Queue       string
	Duration    time.Duration
	Concurrency int
	// WritesStarts says that the worker writes ahead which tasks it starts; otherwise all that it
	// has claimed count as started.
	WritesStarts bool
	// Claims is called at each heartbeat: claim numbers above low that the table holds and that are not among known are
	// given back. They are compared where low has changed, is negative, or claims are known. Safe for concurrent use.
	Claims func() (low int64, known []int64)
	// Stuck reports that the worker does not get through to the database, though its process does:
	// the lease is not renewed. Nil for never. Safe for concurrent use.
	Stuck func() bool
	// Resolved is called after each comparison: claims up to voided (0: none) can do nothing any
	// more, and what they had claimed has been given back.
	Resolved func(voided int64)
}

// Lease is one lease row.
type Lease interface {
	ID() int64
	// Lost is closed when the row was expired or has vanished.
	Lost() <-chan struct{}
	// Void makes sure that no claim up to number does anything any more, and gives its tasks back; it retries at each
	// heartbeat until it has succeeded.
	Void(number int64)
	// Compare has the claims in the table compared with LeaseSpec.Claims now.
	Compare()
	// Release gives back whatever is still claimed and removes the row.
	Release(ctx context.Context) error
}

// Binding is a consumer or another loop that Run drives.
type Binding interface {
	// Describe names the binding for logs and for the check that no name is bound twice: kind "worker", name "emails".
	Describe() (kind, name string)
	// Prepare returns everything that is wrong with the binding's configuration.
	Prepare(host Host) []error
	// Run works until life.Soft ends and what it started has been settled. It returns an error only for what a restart
	// cannot mend.
	Run(life Life, rt Runtime) error
}

// Keeper is implemented by bindings that keep something from Prepare on. Dismiss gives it up, unless the binding
// runs. It is called after each Run that has prepared the binding, also where that started nothing.
type Keeper interface {
	Dismiss()
}

// Dismiss gives up what bindings keep.
func Dismiss(bindings ...Binding) {
	for _, b := range bindings {
		if k, ok := b.(Keeper); ok {
			k.Dismiss()
		}
	}
}

// Beginner is implemented by bindings that call Life.Begun when their first claim was answered, or
// when none is due. The maintenance loops wait for them, so that a process gets to its first task as
// fast as it can.
type Beginner interface {
	BeginsByClaim()
}

// Renamed is implemented by bindings of what may have had other names: the kind ("queue", "entity
// type"), the name now, and the previous ones that it answers to.
type Renamed interface {
	PreviousNames() (kind, name string, previous []string)
}

// ConnectionHolder is implemented by bindings whose handlers hold connections of the pool:
// HandlerConnections is how many at once at most.
type ConnectionHolder interface {
	HandlerConnections() int
}

// ConnectionSharer is implemented by connection holders whose handlers may share a pool of slots with others: what they
// share, and how many of its handlers run at once at most; nil for nothing.
type ConnectionSharer interface {
	SharedHandlers() (shared any, most int)
}

// DeadLetterHook is implemented by extensions that hear of tasks which became dead letters when their worker was lost.
type DeadLetterHook interface {
	DeadLettered(ctx context.Context, host Host, ids []int64)
}

// LateHook is implemented by extensions that hear of tasks which ended because they had not begun in time.
type LateHook interface {
	TasksLate(ctx context.Context, host Host, ids []int64)
}

// TopicQueue is announced when a task of the queue is pending. This and the other topics are the payloads of NOTIFY.
func TopicQueue(queue string) string { return "q:" + queue }

// TopicControl is announced when a queue is paused or resumed, or one of its running tasks is to be cancelled.
func TopicControl(queue string) string { return "c:" + queue }

// TopicResult is announced when a task of a queue whose results are waited for has ended or made progress.
func TopicResult(queue string) string { return "r:" + queue }

// TopicFeed is announced when the relay has moved events of an entity type into the feed.
func TopicFeed(entityType string) string { return "f:" + entityType }

const (
	// TopicDue is announced when a task was scheduled that may be due before the promoter's next look.
	TopicDue = "due"
	// TopicJobs is announced when a bulk job was started or resumed.
	TopicJobs = "jobs"
	// TopicRelay is announced when events wait for the relay.
	TopicRelay = "relay"
	// TopicSchedule is announced when a schedule has changed.
	TopicSchedule = "schedule"
)
