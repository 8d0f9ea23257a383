package outbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

func init() {
	core.Bridge.Host = func(box core.Box) core.Host { return host{box.(*Box)} }
	core.Bridge.Tx = func(tx any) core.Tx { return tx.(Tx).useBoxTxOrBoxSQLTx() }
}

// host is the Box as its sibling packages see it.
type host struct{ b *Box }

func (h host) Pool() *pgxpool.Pool        { return h.b.pool }
func (h host) Logger() *slog.Logger       { return h.b.cfg.Logger }
func (h host) Schema() string             { return h.b.cfg.Schema }
func (h host) SQL(text string) string     { return h.b.sql(text) }
func (h host) Wake(topics ...string)      { h.b.wake(topics) }
func (h host) WakeLocal(topics ...string) { h.b.wakeUps.wake(topics) }

func (h host) Subscribe(topics ...string) (<-chan struct{}, func()) {
	return h.b.wakeUps.subscribe(topics)
}

// Extension returns the values that the configuration holds under key, as []any, or nil.
func (h host) Extension(key any) any {
	if values := h.b.extensions[key]; values != nil {
		return values
	}
	return nil
}

func (h host) Settings() core.Settings {
	c := h.b.cfg
	return core.Settings{PollInterval: c.PollInterval, Grace: c.Grace, PollOnly: c.PollOnly, SyncClaims: c.SyncClaims}
}

func (h host) Breaks() int64                                  { return h.b.breaks.n.Load() }
func (h host) Rhythm() core.Rhythm                            { return h.b.rhythm }
func (h host) FullPolls() int64                               { return h.b.wakeUps.all.Load() }
func (h host) Box() any                                       { return h.b }
func (h host) Connect(ctx context.Context) (*pgx.Conn, error) { return h.b.connect(ctx) }

func (h host) Counters(of core.CountersOf) *core.Counters { return h.b.counters.of(of) }

func (h host) DatabaseTime(local time.Time) time.Time { return h.b.counters.clock.now(local) }

func (h host) Listen() (stop func()) {
	if h.b.cfg.PollOnly {
		return func() {}
	}
	return h.b.listener.join(h.b)
}

func (h host) Shared(key any, make func() any) any {
	if value, ok := h.b.shared.Load(key); ok {
		return value
	}
	value, _ := h.b.shared.LoadOrStore(key, make())
	return value
}
