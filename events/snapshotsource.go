package events

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// States of the bootstrap from snapshots, as in strunk_subscribers.bootstrap.
const (
	bootstrapSnapshots  = "snapshots"
	bootstrapCatchingUp = "catching_up"
)

const (
	// sqlReadSnapshots reads the next $5 states of types $3 after id $4, bounded by $6 bytes, for
	// subscriber $1 in epoch $2, and keeps their versions.
	sqlReadSnapshots = `SELECT version, updated_at, entity_id, coalesce(schema_version, ''), state
FROM {schema}.strunk_read_snapshots($1::text, $2::bigint, $3::text[], $4::text, $5::integer, $6::bigint)`
	// sqlMoveBootstrap stores that subscriber $1 in epoch $2, whose mark is at $3 at least, has the states up to id $4.
	sqlMoveBootstrap = `SELECT {schema}.strunk_move_bootstrap($1::text, $2::bigint, $3::text, $4::text)`
	// sqlEndBootstrap goes on to the feed, and later drops the kept versions; see strunk_end_bootstrap.
	sqlEndBootstrap = `SELECT {schema}.strunk_end_bootstrap($1::text, $2::bigint)`
)

// snapshotSource delivers the snapshots, in order of the entities' ids. Its orders are numbers that it gives them.
type snapshotSource struct {
	t     *tenure
	place *placeCheck
	limit *core.ReadLimit
	lanes *lanes
	mark  string // the id that was read last
	last  int64  // its order
	done  bool   // there are no more

	mu    sync.Mutex
	saved string   // the mark that is known to be stored
	base  int64    // the order before ids[0]
	ids   []string // of what is not stored yet
}

func newSnapshotSource(t *tenure, p place, lanes *lanes) *snapshotSource {
	return &snapshotSource{t: t, place: newPlaceCheck(t), limit: core.NewReadLimit(maxRead, maxReadBytes),
		lanes: lanes, mark: p.mark,
		saved: p.mark}
}

func (c *snapshotSource) read(limit int) (b batch, err error) {
	if err := c.look(); err != nil || !c.place.goesOn() || limit == 0 {
		return batch{}, err
	}
	if c.done {
		return batch{end: c.last}, c.finish()
	}
	rows, bytes := c.limit.Now(limit)
	args := []any{c.t.name, c.t.epoch, c.t.def.names(), c.mark, rows, bytes}
	err = c.t.query(c.t.base, flushed, sqlReadSnapshots, args, func(r pgx.Rows) (err error) {
		b, err = scanSnapshots(r, rows)
		return err
	})
	if core.SQLState(err) == core.CodeLeaseLost {
		c.t.reload("its epoch is over")
	}
	if err != nil {
		readFailed(c.t, c.limit, err)
		return batch{}, err
	}
	c.number(&b)
	c.limit.Succeeded(len(b.items), b.more && len(b.items) < rows)
	return b, nil
}

// number gives the states their orders.
func (c *snapshotSource) number(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range b.items {
		c.last++
		it.order, c.mark = c.last, it.entityID
		c.ids = append(c.ids, it.entityID)
	}
	b.end, b.more = c.last, len(b.items) > 0
	c.done = !b.more
}

func scanSnapshots(rows pgx.Rows, limit int) (b batch, err error) {
	slab := make([]item, 0, limit)
	for rows.Next() {
		slab = append(slab, item{attempt: 1, fromSnapshot: true})
		it := &slab[len(slab)-1]
		if err := rows.Scan(&it.version, &it.publishedAt, &it.entityID, &it.schemaVersion, &it.payload); err != nil {
			return b, err
		}
		b.bytes += int64(len(it.payload))
	}
	b.items = pointers(slab)
	return b, rows.Err()
}

// look reads the subscriber's place alone.
func (c *snapshotSource) look() error {
	return c.t.onConn(c.t.base, func(ctx context.Context, conn *pgx.Conn) error {
		q := &pgx.Batch{}
		c.place.queue(q)
		return conn.SendBatch(ctx, q).Close()
	})
}

func (c *snapshotSource) filter(items []*item) ([]*item, error) { return items, nil }

// finish goes on to the feed when every state has been handled.
func (c *snapshotSource) finish() error {
	if c.lanes.lowWatermark() < c.last {
		return nil
	}
	var state string
	if err := c.t.statement(c.t.base, flushed, sqlEndBootstrap, []any{c.t.name, c.t.epoch}, &state); err != nil {
		return err
	}
	c.t.end(errReload)
	return nil
}

func (c *snapshotSource) move(low int64) move {
	c.mu.Lock()
	defer c.mu.Unlock()
	mark := c.saved
	if low > c.base {
		mark = c.ids[low-c.base-1]
	}
	return move{sql: sqlMoveBootstrap, args: []any{c.t.name, c.t.epoch, c.saved, mark},
		stored: func() { c.storedUpTo(low, mark) }}
}

func (c *snapshotSource) stored() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base
}

// storedUpTo drops the ids up to low, whose mark is known to be stored.
func (c *snapshotSource) storedUpTo(low int64, mark string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if low > c.base {
		c.ids, c.base, c.saved = c.ids[low-c.base:], low, mark
	}
}
