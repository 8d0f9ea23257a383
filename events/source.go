package events

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// source is where a session's items come from: the feed, or the snapshots.
type source interface {
	// read returns up to limit items behind those it returned before, and the order up to which everything has been
	// returned; 0 means that nothing may be delivered now.
	read(limit int) (items []*item, end int64, err error)
	// filter leaves out what the subscriber has had already.
	filter(items []*item) ([]*item, error)
	// save keeps that everything up to low is handled. It ends the session where the epoch is over.
	save(low int64) error
	// saveIn does so as part of a handler's transaction.
	saveIn(ctx context.Context, tx *outbox.OwnedTx, low int64) error
}

const (
	// sqlRead reads up to $4 events of type $2, or its former names $5, behind position $3 for subscriber $1; the first row is about the feed and the
	// subscriber.
	sqlRead = `SELECT pos, version, id, published_at, entity_id, schema_version, payload, metadata, diff
FROM {schema}.strunk_read_feed($1::text, $2::text, $3::bigint, $4::integer, $5::text[])`
	// sqlHad tells which versions of entities $2 subscriber $1 had from the snapshots.
	sqlHad = `SELECT entity_id, version FROM {schema}.strunk_had($1::text, $2::text[])`
	// sqlMove moves the cursor of subscriber $1 in epoch $2 to $3, and drops the attempts behind it ($4).
	sqlMove = `SELECT {schema}.strunk_move_cursor($1::text, $2::bigint, $3::bigint, $4::boolean)`
	// sqlBegin says that subscriber $1 in epoch $2 may begin events up to $3.
	sqlBegin = `SELECT {schema}.strunk_start_events($1::text, $2::bigint, $3::bigint)`
	// sqlScan reads the next $5 states of type $3, or its former names $6, behind id $4 for subscriber $1 in epoch $2, and keeps
	// their versions.
	sqlScan = `SELECT version, updated_at, entity_id, schema_version, state
FROM {schema}.strunk_scan_snapshots($1::text, $2::bigint, $3::text, $4::text, $5::integer, $6::text[])`
	// sqlMoveScan keeps that subscriber $1 in epoch $2 has the states up to id $3.
	sqlMoveScan = `SELECT {schema}.strunk_move_scan($1::text, $2::bigint, $3::text)`
	// sqlEndScan goes on to the feed, and later drops the kept versions; see strunk_end_scan.
	sqlEndScan = `SELECT {schema}.strunk_end_scan($1::text, $2::bigint)`
	// sqlAsync makes the transaction's commit asynchronous: a cursor that a crash of the server sets back costs repetitions.
	sqlAsync = `SET LOCAL synchronous_commit = off`
)

// fenced runs a fenced statement that returns whether the epoch still holds, and ends the session where it does not.
func (s *session) fence(ctx context.Context, sql string, args ...any) error {
	var ok *bool
	err := s.statement(ctx, true, sql, args, &ok)
	if err == nil && (ok == nil || !*ok) {
		s.end(errReload)
	}
	return err
}

// statement runs one statement as a transaction of its own and scans its last row into dest.
func (s *session) statement(ctx context.Context, async bool, sql string, args []any, dest ...any) error {
	return s.query(ctx, async, sql, args, func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, dest, func() error { return nil })
		return err
	})
}

func (s *session) query(ctx context.Context, async bool, sql string, args []any, scan func(pgx.Rows) error) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	conn, err := s.rt.Pool().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	statements := []core.Statement{{SQL: s.rt.SQL(sql), Args: args, Scan: scan}}
	if async {
		statements = append([]core.Statement{{SQL: sqlAsync}}, statements...)
	}
	return core.RetryConflicts(ctx, func() error { return core.OneMessage(ctx, conn.Conn(), statements...) })
}

// begin keeps that events up to order may be begun.
func (s *session) begin(order int64) error {
	if err := s.fence(s.base, sqlBegin, s.name, s.place.epoch, order); err != nil {
		return fmt.Errorf("strunk/events: %w", err)
	}
	if err := context.Cause(s.base); err != nil {
		return err
	}
	s.begun = order
	return nil
}

// feedSource delivers the feed. Its orders are positions.
type feedSource struct {
	s       *session
	stopped bool // needs_restart has been reported
	looked  time.Time
}

func (f *feedSource) read(limit int) (items []*item, end int64, err error) {
	s, after := f.s, f.s.readTo.Load()
	ctx, cancel := context.WithTimeout(s.base, statementTimeout)
	defer cancel()
	rows, err := s.rt.Pool().Query(ctx, s.rt.SQL(sqlRead), s.name, s.def.entityType, after, limit, s.def.former())
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	var about item
	items, err = scanFeed(rows, &about, limit)
	if err != nil {
		return nil, 0, err
	}
	if !f.goesOn(about) || limit == 0 {
		return nil, 0, nil
	}
	if len(items) == limit {
		return items, items[limit-1].position, nil
	}
	return items, max(about.position, after), nil
}

// goesOn reports whether events may be delivered, given what the database says of the subscriber.
func (f *feedSource) goesOn(about item) bool {
	on := f.mayGoOn(about)
	if f.s.delivering.Swap(on) != on {
		signal(f.s.nudge)
	}
	return on
}

func (f *feedSource) mayGoOn(about item) bool {
	switch {
	case about.version == 0:
		f.s.end(ErrLeaseLost) // there is no such subscriber any more
	case about.entityID != strconv.FormatInt(f.s.owner.id, 10):
		f.s.end(ErrLeaseLost)
	case about.version != f.s.place.epoch:
		f.s.end(ErrRewound)
	case about.schemaVersion == "restart":
		if !f.stopped {
			f.s.rt.Logger().Error("strunk: a subscriber stands still: events that it has not had were dropped (EventLagCap); replay or reset it",
				"subscriber", f.s.name, "cursor", f.s.place.cursor, "earliest_kept", about.id+1)
		}
		f.stopped = true
	default:
		return about.schemaVersion == ""
	}
	return false
}

func scanFeed(rows pgx.Rows, about *item, limit int) ([]*item, error) {
	slab := make([]item, 0, limit)
	var published *time.Time
	var entity, schemaVersion *string
	for first := true; rows.Next(); first = false {
		it := about
		if !first {
			slab = append(slab, item{attempt: 1})
			it = &slab[len(slab)-1]
		}
		err := rows.Scan(&it.position, &it.version, &it.id, &published, &entity, &schemaVersion, &it.payload, &it.metadataJSON, &it.diffJSON)
		if err != nil {
			return nil, err
		}
		it.order = it.position
		it.publishedAt, it.entityID, it.schemaVersion = orZero(published), orZero(entity), orZero(schemaVersion)
	}
	return pointers(slab), rows.Err()
}

func pointers(slab []item) []*item {
	items := make([]*item, len(slab))
	for i := range slab {
		items[i] = &slab[i]
	}
	return items
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// filter leaves out versions not newer than those from the snapshots, for as long as there may be any.
func (f *feedSource) filter(items []*item) ([]*item, error) {
	s := f.s
	if s.place.boot != bootFiltering {
		return items, nil
	}
	if now := time.Now(); now.Sub(f.looked) > idleInterval {
		f.looked = now
		if err := s.statement(s.base, false, sqlEndScan, []any{s.name, s.place.epoch}, &s.place.boot); err != nil || s.place.boot != bootFiltering {
			return items, err
		}
	}
	had, err := f.had(items)
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

func (f *feedSource) had(items []*item) (map[string]int64, error) {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.entityID
	}
	had := map[string]int64{}
	var id string
	var version int64
	err := f.s.query(f.s.base, false, sqlHad, []any{f.s.name, ids}, func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&id, &version}, func() error { had[id] = version; return nil })
		return err
	})
	return had, err
}

func (f *feedSource) save(low int64) error {
	return f.s.fence(context.Background(), sqlMove, f.s.name, f.s.place.epoch, low, f.s.retries.any())
}

func (f *feedSource) saveIn(ctx context.Context, tx *outbox.OwnedTx, low int64) error {
	return f.s.fenceIn(ctx, tx, sqlMove, f.s.name, f.s.place.epoch, low, f.s.retries.any())
}

// fenceIn runs a fenced statement in a handler's transaction, which must not be committed after an error.
func (s *session) fenceIn(ctx context.Context, tx *outbox.OwnedTx, sql string, args ...any) error {
	var ok *bool
	if err := tx.Pgx().QueryRow(ctx, s.rt.SQL(sql), args...).Scan(&ok); err != nil {
		return err
	}
	if ok == nil || !*ok {
		s.end(errReload)
		return errReload
	}
	return nil
}

// scanSource delivers the snapshots, in order of the entities' ids. Its orders are numbers that it gives them.
type scanSource struct {
	s    *session
	mark string // the id that was read last
	last int64  // its order
	done bool   // there are no more

	mu   sync.Mutex
	base int64    // the order before ids[0]
	ids  []string // of what is not saved yet
}

func (c *scanSource) read(limit int) ([]*item, int64, error) {
	s := c.s
	if state, err := s.look(); err != nil || !state || limit == 0 {
		return nil, 0, err
	}
	if c.done {
		return nil, c.last, c.finish()
	}
	var items []*item
	err := s.query(s.base, false, sqlScan, []any{s.name, s.place.epoch, s.def.entityType, c.mark, limit, s.def.former()}, func(rows pgx.Rows) (err error) {
		items, err = scanStates(rows, limit)
		return err
	})
	if core.SQLState(err) == core.CodeLeaseLost {
		s.end(errReload)
	}
	if err != nil {
		return nil, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range items {
		c.last++
		it.order, c.mark = c.last, it.entityID
		c.ids = append(c.ids, it.entityID)
	}
	c.done = len(items) < limit
	return items, c.last, nil
}

func scanStates(rows pgx.Rows, limit int) ([]*item, error) {
	slab := make([]item, 0, limit)
	for rows.Next() {
		slab = append(slab, item{attempt: 1, fromSnapshot: true})
		it := &slab[len(slab)-1]
		var schemaVersion *string
		if err := rows.Scan(&it.version, &it.publishedAt, &it.entityID, &schemaVersion, &it.payload); err != nil {
			return nil, err
		}
		it.schemaVersion = orZero(schemaVersion)
	}
	return pointers(slab), rows.Err()
}

// look reads what the database says of the subscriber, for a source that does not read the feed.
func (s *session) look() (bool, error) {
	f := &feedSource{s: s}
	ctx, cancel := context.WithTimeout(s.base, statementTimeout)
	defer cancel()
	rows, err := s.rt.Pool().Query(ctx, s.rt.SQL(sqlRead), s.name, s.def.entityType, 0, 0, s.def.former())
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var about item
	if _, err := scanFeed(rows, &about, 0); err != nil {
		return false, err
	}
	return f.goesOn(about), nil
}

func (c *scanSource) filter(items []*item) ([]*item, error) { return items, nil }

// finish goes on to the feed when every state has been handled.
func (c *scanSource) finish() error {
	s := c.s
	if s.lowWater() < c.last {
		return nil
	}
	var state int16
	if err := s.statement(s.base, false, sqlEndScan, []any{s.name, s.place.epoch}, &state); err != nil {
		return err
	}
	s.end(errReload)
	return nil
}

// markAt returns the id of the state with order low.
func (c *scanSource) markAt(low int64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ids[low-c.base-1]
}

// forget drops the ids up to low, which are saved.
func (c *scanSource) forget(low int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids, c.base = c.ids[low-c.base:], low
}

func (c *scanSource) save(low int64) error {
	err := c.s.fence(context.Background(), sqlMoveScan, c.s.name, c.s.place.epoch, c.markAt(low))
	if err == nil {
		c.forget(low)
	}
	return err
}

func (c *scanSource) saveIn(ctx context.Context, tx *outbox.OwnedTx, low int64) error {
	return c.s.fenceIn(ctx, tx, sqlMoveScan, c.s.name, c.s.place.epoch, c.markAt(low))
}
