package ops

import (
	"cmp"
	"slices"
	"time"

	"github.com/strunk-go/strunk/outbox"
)

// databaseShown is what the view of the database shows.
type databaseShown struct {
	Findings []Finding
	Checks   []Check
	Loops    []loopRow
	Holders  []Horizon
	// Parts are the tables by what they hold, the largest first; Total is their size.
	Parts []partRow
	Total int64
}

// loopRow is a maintenance loop with the word for its state.
type loopRow struct {
	outbox.LoopStatus
	State, Class string
}

// partRow adds up the tables of one part.
type partRow struct {
	Part   string
	Tables []Table
	// Rows are those of tables that PostgreSQL has ever estimated; nil where it has none.
	Rows                        *Count
	Dead                        Count
	TableBytes, IndexBytes, All int64
}

func databaseView(c *call) (any, error) {
	st, err := c.s.state.get(c.ctx)
	if err != nil {
		return nil, err
	}
	v := databaseShown{Checks: st.report.Checks, Holders: st.holders}
	if v.Findings, err = examine(c.ctx, c.box, st.report); err != nil {
		return nil, err
	}
	for _, l := range st.loops {
		v.Loops = append(v.Loops, loopOf(l))
	}
	slices.SortFunc(v.Loops, func(a, b loopRow) int { return cmp.Compare(a.Loop, b.Loop) })
	var tables []Table
	if err = ask(c.ctx, c.box, tablesQuestion(&tables)); err != nil {
		return nil, wrap("page", err)
	}
	v.Parts = partsOf(tables)
	for _, p := range v.Parts {
		v.Total += p.All
	}
	return v, nil
}

func loopOf(l outbox.LoopStatus) loopRow {
	r := loopRow{LoopStatus: l, State: "ok"}
	switch {
	case l.Behind():
		r.State, r.Class = "behind: no process runs it, or it fails", "bad"
	case l.LastErrorAt.After(l.LastOK):
		r.State, r.Class = "failed last", "warn"
	}
	return r
}

// Fail is when a loop failed last; nil where it never did.
func (r loopRow) Fail() *time.Time {
	if r.LastErrorAt.IsZero() {
		return nil
	}
	return &r.LastErrorAt
}

// partsOf adds up the tables by their parts, the largest first.
func partsOf(tables []Table) (all []partRow) {
	for _, t := range tables {
		i := slices.IndexFunc(all, func(p partRow) bool { return p.Part == t.Part })
		if i < 0 {
			i = len(all)
			all = append(all, partRow{Part: t.Part, Dead: Count{Precision: Estimate}})
		}
		p := &all[i]
		p.Tables = append(p.Tables, t)
		p.TableBytes, p.IndexBytes, p.All = p.TableBytes+t.TableBytes, p.IndexBytes+t.IndexBytes, p.All+t.TotalBytes
		p.Dead.N += t.DeadRows.N
		if t.Rows != nil && p.Rows == nil {
			p.Rows = &Count{Precision: Estimate}
		}
		if t.Rows != nil {
			p.Rows.N += t.Rows.N
		}
	}
	slices.SortStableFunc(all, func(a, b partRow) int { return cmp.Compare(b.All, a.All) })
	return all
}
