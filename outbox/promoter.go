package outbox

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// promoteChunk bounds the tasks that one transaction makes pending.
	promoteChunk = 1000
	// scanFraction bounds the time that is spent on scans from the very bottom of an index: to one in scanFraction.
	scanFraction = 20
)

// promoter makes scheduled tasks pending when they are due. Between scans from the bottom it enters
// the index at the last due time that it has promoted: an open snapshot keeps the entries before it
// alive.
type promoter struct {
	box         *Box
	maintenance *control
	mark        *time.Time // nil is the bottom
	breaks      int64      // see breaks
	bottom      time.Time  // of the last scan from the bottom
	cost        time.Duration
	expected    bool // the last look has said that a task is due when the promoter wakes
	limit       *core.BatchLimit
	report      loopReport
}

func (p *promoter) run(ctx context.Context) {
	p.limit = core.NewBatchLimit(promoteChunk, 0)
	woken, stop := p.box.wakeUps.subscribe([]string{core.TopicDue})
	defer stop()
	for ctx.Err() == nil {
		pause, err := p.promote(ctx)
		if err != nil && ctx.Err() == nil {
			p.box.cfg.Logger.Warn("strunk: the promoter failed; trying again", "error", err)
			pause = p.box.cfg.PollInterval
		}
		p.report.ran(ctx, p.box, p.maintenance, p.box.cfg.PollInterval, err)
		core.SleepOrWake(ctx, pause, woken)
	}
}

// promote makes tasks pending where some are due, does what else has become due, and returns how long to sleep: until
// the next task is due, at most a poll interval. One statement looks whether there is anything to do; it is left out
// where the last look has said that a task is due by now.
func (p *promoter) promote(ctx context.Context) (time.Duration, error) {
	if p.expected {
		if err := p.promoteAll(ctx); err != nil {
			return 0, err
		}
	}
	p.expected = false
	found, err := p.look(ctx)
	if err == nil && found.events {
		p.box.wakeUps.wake([]string{core.TopicRelay})
	}
	if err == nil && found.changes {
		err = p.foldBatches(ctx)
	}
	if err == nil && found.setBack {
		return 0, p.bringForward(ctx)
	}
	if err == nil && found.late {
		err = p.endLate(ctx)
	}
	if every := p.box.cfg.PollInterval; err != nil || found.next > every {
		return p.box.rhythm.Next(time.Now(), every), err
	}
	p.expected = true
	return found.next, nil
}

// promoteAll makes all due tasks pending.
func (p *promoter) promoteAll(ctx context.Context) error {
	for {
		rows, _ := p.limit.Now()
		n, err := p.chunk(ctx, rows)
		if p.box.halved(ctx, "making tasks due", p.limit, err) {
			continue
		}
		if err != nil {
			return err
		}
		p.limit.Succeeded()
		if n < int64(rows) {
			return nil
		}
	}
}

// promoterLook is what there is to do for the promoter.
type promoterLook struct {
	next    time.Duration // until a task is due, 0 for one that is; more than a poll interval for none before
	setBack bool          // the clock was set back since the loop's last record
	changes bool          // something has happened to members of batches
	late    bool          // a task that waits is late
	events  bool          // the relay has something to do
}

func (p *promoter) look(ctx context.Context) (found promoterLook, err error) {
	s := p.scan()
	var ms *int64
	err = p.maintenance.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, p.box.sql(sqlNextDue), p.mark).Scan(&ms, &found.setBack, &found.changes, &found.late,
			&found.events)
	})
	if err != nil {
		return found, err
	}
	p.scanned(s)
	found.next = p.box.cfg.PollInterval + 1
	if ms != nil { // it may be in so many years that a Duration does not hold them
		found.next = time.Duration(min(*ms, found.next.Milliseconds()+1)) * time.Millisecond
	}
	return found, nil
}

const (
	// sqlPromote makes up to $2 tasks that are due at $1 (null: ever) or later pending.
	sqlPromote = `SELECT queue, promoted, last_due FROM {schema}.strunk_promote(coalesce($1::timestamptz,
		'-infinity'), $2::integer)`
	// sqlNextDue says in how many milliseconds the next task is due, whether the clock was set back since this
	// loop's last record, whether something has happened to members of batches, or a task that waits is late, and
	// whether a round of the relay would do something: this process's relay then asks less often.
	sqlNextDue = `SELECT {schema}.strunk_next_due_ms(coalesce($1::timestamptz, '-infinity')),
	{schema}.strunk_clock_set_back('promoter'), EXISTS (SELECT 1 FROM {schema}.strunk_batch_changes),
	{schema}.strunk_has_late(), {schema}.strunk_relay_due()`
	// sqlEndLate ends up to $1 tasks that wait and are late.
	sqlEndLate = `SELECT id, queue FROM {schema}.strunk_end_late($1::integer)`
	// sqlFoldBatches adds up what has happened to members of up to $1 batches, and finishes those of which all
	// members have ended; it returns how many it has looked at.
	sqlFoldBatches = `SELECT {schema}.strunk_fold_batches($1::integer)`
	// sqlBringForward brings forward up to $1 rows that wait longer than their rule says; it returns how many it did.
	sqlBringForward = `SELECT {schema}.strunk_bring_forward($1::integer)`
)

// foldChunk bounds the batches that one transaction looks at.
const foldChunk = 100

// foldBatches brings the counts of batches up to date.
func (p *promoter) foldBatches(ctx context.Context) error {
	for {
		n, err := queryControl[int](ctx, p.maintenance, p.box.sql(sqlFoldBatches), foldChunk)
		if err != nil || n < foldChunk {
			return err
		}
	}
}

// bringForward sets right what waits for times of a clock that was ahead, and has the round recorded at once.
func (p *promoter) bringForward(ctx context.Context) error {
	for all := int64(0); ; {
		rows, _ := p.limit.Now()
		n, err := queryControl[int64](ctx, p.maintenance, p.box.sql(sqlBringForward), rows)
		if p.box.halved(ctx, "bringing retries forward", p.limit, err) {
			continue
		}
		if err != nil {
			return err
		}
		if all += n; n == 0 {
			p.box.cfg.Logger.Warn("strunk: the database's clock was set back; retries that waited for times which had "+
				"already been are due sooner", "rows", all)
			p.mark = nil
			p.report.rounds.anew(LoopPromoter)
			return nil
		}
	}
}

// endLate ends what waits and is late.
func (p *promoter) endLate(ctx context.Context) error {
	for {
		rows, _ := p.limit.Now()
		var ids []int64
		var topics []string
		err := p.maintenance.autocommit(ctx, core.Statement{SQL: p.box.sql(sqlEndLate), Args: []any{rows},
			Scan: func(found pgx.Rows) error {
				ids, topics = nil, nil
				var id int64
				var queue string
				_, err := pgx.ForEachRow(found, []any{&id, &queue}, func() error {
					ids, topics = append(ids, id), append(topics, core.TopicResult(queue))
					return nil
				})
				return err
			}})
		if p.box.halved(ctx, "ending late tasks", p.limit, err) {
			continue
		}
		if err != nil {
			return err
		}
		p.box.tasksLate(ctx, ids)
		slices.Sort(topics)
		p.box.wake(slices.Compact(topics))
		if len(ids) < rows {
			return nil
		}
	}
}

// promoterScan is a scan of the index of scheduled tasks.
type promoterScan struct {
	began      time.Time
	breaks     int64
	fromBottom bool
}

// scan begins a scan, from the bottom where that may be: mark says where.
func (p *promoter) scan() promoterScan {
	s := promoterScan{began: time.Now(), breaks: p.box.breaks.n.Load()}
	s.fromBottom = s.began.Sub(p.bottom) >= scanFraction*p.cost || s.breaks != p.breaks
	if s.fromBottom {
		p.mark = nil
	}
	return s
}

func (p *promoter) scanned(s promoterScan) {
	if s.fromBottom {
		p.bottom, p.cost, p.breaks = time.Now(), time.Since(s.began), s.breaks
	}
}

func (p *promoter) chunk(ctx context.Context, limit int) (int64, error) {
	s := p.scan()
	var (
		queue  string
		n, all int64
		due    time.Time
		latest *time.Time
		topics []string
	)
	err := p.maintenance.autocommit(ctx, core.Statement{SQL: p.box.sql(sqlPromote), Args: []any{p.mark, limit},
		Scan: func(rows pgx.Rows) error {
			all, topics, latest = 0, nil, nil
			_, err := pgx.ForEachRow(rows, []any{&queue, &n, &due}, func() error {
				all += n
				topics = append(topics, core.TopicQueue(queue))
				if latest == nil || due.After(*latest) {
					at := due
					latest = &at
				}
				return nil
			})
			return err
		}})
	if err != nil {
		return 0, err
	}
	p.scanned(s)
	if latest != nil {
		p.mark = latest
		p.box.wake(topics)
	}
	return all, nil
}
