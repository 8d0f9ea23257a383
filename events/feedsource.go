package events

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// sqlPlace reads where subscriber $1 of types $2 stands, and which event the feed has at
	// position $3. It locks nothing.
	sqlPlace = `SELECT head, floor, cursor, epoch, owner, state, restarted, last_id, last_published_at
FROM {schema}.strunk_subscriber_place($1::text, $2::text[], $3::bigint)`
	// sqlRead reads up to $3 events of types $1 after position $2, bounded by $4 bytes. It locks nothing.
	sqlRead = `SELECT pos, version, id, published_at, entity_id, coalesce(schema_version, ''), payload,
		metadata, diff, read_bytes
FROM {schema}.strunk_read_feed($1::text[], $2::bigint, $3::integer, $4::bigint)`
	// sqlVersions tells which versions of entities $2 subscriber $1 had from the snapshots.
	sqlVersions = `SELECT entity_id, version FROM {schema}.strunk_bootstrap_versions($1::text, $2::text[])`
	// sqlMove moves the cursor of subscriber $1 in epoch $2, which is at $3 at least, to $4, and
	// drops the attempts up to it ($5).
	sqlMove = `SELECT {schema}.strunk_move_cursor($1::text, $2::bigint, $3::bigint, $4::bigint, $5::boolean)`
)

// feedSource delivers the feed. Its orders are positions.
type feedSource struct {
	t          *tenure
	attempts   *attempts
	place      *placeCheck
	limit      *core.ReadLimit
	catchingUp bool // versions that the snapshots had are left out
	looked     time.Time
	lanes      *lanes
	saved      atomic.Int64 // the cursor that is known to be stored
}

func newFeedSource(t *tenure, attempts *attempts, lanes *lanes, p place) *feedSource {
	f := &feedSource{t: t, attempts: attempts, lanes: lanes, place: newPlaceCheck(t),
		limit: core.NewReadLimit(maxRead, maxReadBytes), catchingUp: p.bootstrap == bootstrapCatchingUp}
	f.saved.Store(p.cursor)
	return f
}

// read reads the subscriber's place first and the events in a later statement of the same message:
// no event at or before the head is missing then.
func (f *feedSource) read(limit int) (b batch, err error) {
	rows, bytes := f.limit.Now(limit)
	after := f.lanes.read()
	f.place.expect(after, f.saved.Load())
	err = f.t.onConn(f.t.base, func(ctx context.Context, conn *pgx.Conn) error {
		q := &pgx.Batch{}
		f.place.queue(q)
		if rows > 0 {
			q.Queue(f.t.rt.SQL(sqlRead), f.t.def.names(), after, rows, bytes).Query(func(r pgx.Rows) (err error) {
				b, err = scanFeed(r, rows)
				return err
			})
		}
		return conn.SendBatch(ctx, q).Close()
	})
	if err != nil {
		readFailed(f.t, f.limit, err)
		return batch{}, err
	}
	if !f.place.goesOn() || limit == 0 {
		return batch{}, nil
	}
	b.more = len(b.items) > 0 && (len(b.items) == rows || b.bytes >= bytes)
	b.end = max(f.place.head, after)
	if len(b.items) > 0 && (b.more || b.last() > b.end) {
		b.end = b.last() // also where the head has moved on since it was read
	}
	f.limit.Succeeded(len(b.items), b.more && len(b.items) < rows)
	if len(b.items) > 0 {
		f.place.seen(b.items[len(b.items)-1])
	}
	return b, nil
}

func scanFeed(rows pgx.Rows, limit int) (b batch, err error) {
	slab := make([]item, 0, min(limit, maxRead))
	for rows.Next() {
		slab = append(slab, item{attempt: 1})
		it := &slab[len(slab)-1]
		err := rows.Scan(&it.position, &it.version, &it.id, &it.publishedAt, &it.entityID, &it.schemaVersion,
			&it.payload, &it.metadataJSON, &it.diffJSON, &b.bytes)
		if err != nil {
			return b, err
		}
		it.order = it.position
	}
	b.items = pointers(slab)
	return b, rows.Err()
}

func pointers(slab []item) []*item {
	items := make([]*item, len(slab))
	for i := range slab {
		items[i] = &slab[i]
	}
	return items
}

// filter leaves out versions not newer than those from the snapshots, for as long as there may be any.
func (f *feedSource) filter(items []*item) ([]*item, error) {
	if !f.catchingUp {
		return items, nil
	}
	if now := time.Now(); now.Sub(f.looked) > idleInterval {
		f.looked = now
		var state string
		if err := f.t.statement(f.t.base, flushed, sqlEndBootstrap, []any{f.t.name, f.t.epoch}, &state); err != nil {
			return nil, err
		}
		if f.catchingUp = state == bootstrapCatchingUp; !f.catchingUp {
			return items, nil
		}
	}
	had, err := f.versions(items)
	if err != nil {
		return nil, err
	}
	kept := items[:0]
	for _, it := range items {
		if it.version > had[it.entityID] {
			kept = append(kept, it)
		}
	}
	return kept, nil
}

func (f *feedSource) versions(items []*item) (map[string]int64, error) {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.entityID
	}
	had := map[string]int64{}
	var id string
	var version int64
	err := f.t.query(f.t.base, unflushed, sqlVersions, []any{f.t.name, ids}, func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&id, &version}, func() error { had[id] = version; return nil })
		return err
	})
	return had, err
}

func (f *feedSource) move(low int64) move {
	return move{sql: sqlMove, args: []any{f.t.name, f.t.epoch, f.saved.Load(), low, f.attempts.any()},
		stored: func() { f.storedUpTo(low) }}
}

func (f *feedSource) stored() int64 { return f.saved.Load() }

// storedUpTo says that the cursor is known to be stored at low, or further on.
func (f *feedSource) storedUpTo(low int64) {
	for {
		saved := f.saved.Load()
		if low <= saved || f.saved.CompareAndSwap(saved, low) {
			return
		}
	}
}

// readFailed makes the next reads smaller where one ran out of time.
func readFailed(t *tenure, l *core.ReadLimit, err error) {
	if rows, bytes, halved := l.Failed(err); halved {
		t.rt.Logger().Warn("strunk: a read took too long; the next ones are smaller", "subscriber", t.name,
			"max_events", rows, "max_bytes", bytes)
	}
}
