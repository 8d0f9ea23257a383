package events

import (
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// placeCheck asks, with each read, whether the tenure goes on, and whether the database still is
// the one that it continues: after a failover to a standby that was behind, a restore, or a crash
// that lost asynchronous commits, what a session remembers is about another past, and would make it
// pass events that it has never seen.
type placeCheck struct {
	t *tenure
	// delivering says that the subscriber is neither paused nor in need of a new start; changed is
	// signalled when it changes.
	delivering atomic.Bool
	changed    chan struct{}
	warned     bool // needs_restart has been reported

	// what this session remembers
	readTo, saved int64
	lastPosition  int64 // of the last event that was read
	lastID        int64
	lastPublished time.Time

	// what the database says
	found               bool
	head, floor, cursor int64
	epoch               int64
	owner               *int64
	state               string
	restarted           bool
	id                  *int64
	published           *time.Time
}

func newPlaceCheck(t *tenure) *placeCheck { return &placeCheck{t: t, changed: make(chan struct{}, 1)} }

// expect says what the session remembers before a read: everything up to readTo was read, and the
// cursor is stored at saved.
func (p *placeCheck) expect(readTo, saved int64) { p.readTo, p.saved = readTo, saved }

// seen remembers the last event of a read.
func (p *placeCheck) seen(it *item) {
	p.lastPosition, p.lastID, p.lastPublished = it.position, it.id, it.publishedAt
}

// queue adds the question to a read.
func (p *placeCheck) queue(q *pgx.Batch) {
	p.found = false
	q.Queue(p.t.rt.SQL(sqlPlace), p.t.name, p.t.def.names(), p.lastPosition).Query(func(rows pgx.Rows) error {
		dest := []any{&p.head, &p.floor, &p.cursor, &p.epoch, &p.owner, &p.state, &p.restarted, &p.id, &p.published}
		_, err := pgx.ForEachRow(rows, dest, func() error { p.found = true; return nil })
		return err
	})
}

// goesOn reports whether events may be delivered, given the answer. It ends the tenure where that is over.
func (p *placeCheck) goesOn() bool {
	on := p.sameOwner() && p.samePast() && p.mayDeliver()
	if p.delivering.Swap(on) != on {
		signal(p.changed)
	}
	return on
}

func (p *placeCheck) sameOwner() bool {
	switch {
	case !p.found, p.owner == nil, *p.owner != p.t.id:
		p.t.end(ErrLeaseLost)
	case p.restarted:
		p.t.reload("the server was restarted, or another one took its place")
	case p.epoch != p.t.epoch:
		p.t.end(ErrRewound)
	default:
		return true
	}
	return false
}

func (p *placeCheck) samePast() bool {
	switch {
	case p.head < p.readTo:
		p.t.reload("the database went back in time: the feed ends before what was read", "head", p.head, "read",
			p.readTo)
	case p.cursor < p.saved:
		p.t.reload("the database went back in time: the cursor is below what was stored", "cursor", p.cursor,
			"stored", p.saved)
	case p.lastPosition > p.floor && (p.id == nil || *p.id != p.lastID || !p.published.Equal(p.lastPublished)):
		p.t.reload("the database went back in time: another event is where one was read", "position", p.lastPosition)
	default:
		return true
	}
	return false
}

func (p *placeCheck) mayDeliver() bool {
	if p.state == "needs_restart" && !p.warned {
		p.t.rt.Logger().Error("strunk: a subscriber stands still: events that it has not had were dropped "+
			"(EventLagCap); replay or reset it",
			"subscriber", p.t.name, "cursor", p.cursor, "earliest_kept", p.floor+1)
		p.warned = true
	}
	return p.state == "running"
}
