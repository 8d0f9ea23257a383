package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

// Defaults of Config.
const (
	DefaultSchema       = "public"
	DefaultPollInterval = time.Second
	DefaultGrace        = 25 * time.Second
)

// Loop names one of the maintenance loops that Run drives beside the bindings.
type Loop string

// The maintenance loops. Each is safe to run in every process.
const (
	// LoopPromoter makes scheduled tasks pending when they are due.
	LoopPromoter Loop = "promoter"
	// LoopRescue gives back the tasks of workers whose heartbeat has stopped.
	LoopRescue Loop = "rescue"
	// LoopReaper makes the table's partitions ahead and drops those past their retention.
	LoopReaper Loop = "reaper"
	// LoopRelay moves published events into the feed.
	LoopRelay Loop = "relay"
	// LoopCounter counts now and then what is too much to be counted for each question of package ops.
	LoopCounter Loop = "counter"
	// LoopJobs works the bulk jobs that package ops starts.
	LoopJobs Loop = "jobs"
)

// Config configures a Box. The zero value is usable: each field says what zero means.
type Config struct {
	// Schema is the PostgreSQL schema that holds strunk's tables; empty means DefaultSchema.
	Schema string
	// Logger receives what the loops have to say; nil means slog.Default().
	Logger *slog.Logger
	// PollInterval is how often consumers look for work that no notification announced; zero means DefaultPollInterval.
	PollInterval time.Duration
	// Grace is how long Run lets handlers finish after its context has ended, before their contexts end too; zero means
	// DefaultGrace.
	Grace time.Duration
	// PollOnly leaves out LISTEN, for connections through a pooler in transaction mode. Consumers poll.
	PollOnly bool
	// SyncClaims makes claims commit synchronously. By default they do not: if the server crashes, a claim of its last
	// moments is forgotten. The task's attempt is not counted, and it is claimed again under the same queue.Task.Fence,
	// perhaps while the first handler still runs; nothing else depends on it.
	SyncClaims bool
	// EventRetention is how long events are kept in the feed at least; zero means
	// DefaultEventRetention. Whole partitions of the feed are dropped, and none that holds an event
	// which a registered subscriber has not passed. Of processes that disagree, the one with the
	// shortest time decides.
	EventRetention time.Duration
	// EventLagCap lets events older than this be dropped although a subscriber has not passed them;
	// that subscriber stops, loudly, until it is replayed or reset. Zero means none. It is never
	// less than EventRetention.
	EventLagCap time.Duration
	// Retention says how long the reaper keeps what is done.
	Retention Retention
	// Disable lists the maintenance loops that Run leaves to other processes.
	Disable []Loop
	// Extensions are the settings that other packages of strunk offer for a whole box, such as queue.Middleware.
	Extensions []Extension
}

// Extension is a box-wide setting made by another package of strunk.
type Extension interface {
	extension
}

type extension = core.Extension

func (c Config) withDefaults() Config {
	if c.Schema == "" {
		c.Schema = DefaultSchema
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.PollInterval == 0 {
		c.PollInterval = DefaultPollInterval
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.EventRetention == 0 {
		c.EventRetention = DefaultEventRetention
	}
	c.Retention = c.Retention.withDefaults()
	return c
}

func (c Config) validate() error {
	known := map[Loop]bool{LoopPromoter: true, LoopRescue: true, LoopReaper: true, LoopRelay: true,
		LoopCounter: true, LoopJobs: true}
	for _, loop := range c.Disable {
		if !known[loop] {
			return fmt.Errorf("strunk/outbox: Config.Disable: %q is not a loop; use the Loop constants", loop)
		}
	}
	if c.PollInterval < 0 || c.Grace < 0 {
		return fmt.Errorf("strunk/outbox: Config: PollInterval (%v) and Grace (%v) must not be negative",
			c.PollInterval, c.Grace)
	}
	if c.EventRetention < 0 || c.EventLagCap < 0 {
		return fmt.Errorf("strunk/outbox: Config: EventRetention (%v) and EventLagCap (%v) must not be negative",
			c.EventRetention, c.EventLagCap)
	}
	if err := c.Retention.validate(); err != nil {
		return err
	}
	return checkSchemaName(c.Schema)
}

// Box is a handle to the outbox in one PostgreSQL schema of one database.
type Box struct {
	pool       *pgxpool.Pool
	cfg        Config
	names      names
	wakeUps    *wakeUps
	notifier   *notifier
	counters   *counters
	listener   sharedListener
	breaks     breaks
	rhythm     core.Rhythm
	extensions map[any][]any
	queries    sync.Map // text with placeholders to text with names
	shared     sync.Map // see host.Shared
}

// Open returns a Box on the pool, after checking that the database has been migrated to exactly the
// version that this library needs: the errors are [ErrNotMigrated], [ErrDatabaseOlder] and
// [ErrDatabaseNewer]. It starts nothing. The pool stays the caller's to close, after Run has
// returned.
func Open(ctx context.Context, pool *pgxpool.Pool, cfg Config) (*Box, error) {
	if pool == nil {
		return nil, fmt.Errorf("strunk/outbox: Open: the pool is nil; pass one from pgxpool.New")
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b := &Box{pool: pool, cfg: cfg, names: newNames(cfg.Schema), wakeUps: newWakeUps(), rhythm: core.NewRhythm(),
		extensions: map[any][]any{}}
	for i, ext := range cfg.Extensions {
		if ext == nil {
			return nil, fmt.Errorf("strunk/outbox: Open: extension %d of Config.Extensions is nil; leave it out", i+1)
		}
		key, value, ok := core.ExtensionOf(ext)
		if !ok {
			return nil, fmt.Errorf("strunk/outbox: Open: extension %d of Config.Extensions is a %T, which is none of "+
				"strunk's: use queue.Middleware", i+1, ext)
		}
		b.extensions[key] = append(b.extensions[key], value)
	}
	b.notifier, b.counters = newNotifier(b), newCounters(b)
	if err := b.checkVersion(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// usable returns why nothing can be done with the Box.
func (b *Box) usable() error {
	if b == nil || b.pool == nil {
		return errors.New("strunk/outbox: the zero Box is unusable: make it with outbox.Open")
	}
	return nil
}

// Schema returns the PostgreSQL schema, unquoted.
func (b *Box) Schema() string { return b.cfg.Schema }

// Pool returns the pool that Open was given.
func (b *Box) Pool() *pgxpool.Pool { return b.pool }

func (b *Box) sql(text string) string {
	if done, ok := b.queries.Load(text); ok {
		return done.(string)
	}
	done := b.names.expand(text)
	b.queries.Store(text, done)
	return done
}

func (b *Box) wake(topics []string) {
	b.wakeUps.wake(topics)
	if !b.cfg.PollOnly {
		b.notifier.send(topics)
	}
}
