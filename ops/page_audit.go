package ops

import "time"

// auditShown is what the view of the audit shows.
type auditShown struct {
	Actor, Action string
	Changes       []auditRow
	// Before is the time to go on before; empty on the last page.
	Before string
}

// auditRow is a change with how it has ended, in a word or two; Class marks what needs a look.
type auditRow struct {
	ChangeRecord
	Outcome, Class string
}

// auditPerPage is how many changes a page has.
const auditPerPage = 100

func auditView(c *call) (any, error) {
	v := auditShown{Actor: c.query.Get("actor"), Action: c.query.Get("action")}
	before, err := c.time("before")
	if err != nil {
		return nil, err
	}
	changes, err := ChangesMade(c.ctx, c.box, ChangeRecordFilter{Actor: v.Actor, Action: v.Action, Before: before,
		Limit: auditPerPage})
	v.Changes = auditRows(changes)
	if n := len(changes); n == auditPerPage {
		v.Before = changes[n-1].At.UTC().Format(time.RFC3339Nano)
	}
	return v, err
}

func auditRows(changes []ChangeRecord) (rows []auditRow) {
	for _, r := range changes {
		row := auditRow{r, "done", ""}
		switch {
		case r.EndedAt == nil:
			row.Outcome, row.Class = "not ended", "warn"
		case r.Error != "":
			row.Outcome, row.Class = "failed", "bad"
		}
		rows = append(rows, row)
	}
	return rows
}
