package ops

import "time"

// auditShown is what the view of the audit shows.
type auditShown struct {
	Actor, Action string
	Changes       []ChangeRecord
	// Before is the time to go on before; empty on the last page.
	Before string
}

// auditPerPage is how many changes a page has.
const auditPerPage = 100

func auditView(c *call) (any, error) {
	v := auditShown{Actor: c.query.Get("actor"), Action: c.query.Get("action")}
	before, err := c.time("before")
	if err != nil {
		return nil, err
	}
	v.Changes, err = ChangesMade(c.ctx, c.box, ChangeRecordFilter{Actor: v.Actor, Action: v.Action, Before: before,
		Limit: auditPerPage})
	if n := len(v.Changes); n == auditPerPage {
		v.Before = v.Changes[n-1].At.UTC().Format(time.RFC3339Nano)
	}
	return v, err
}

// Outcome says in a word or two how a change has ended.
func (r ChangeRecord) Outcome() string {
	switch {
	case r.EndedAt == nil:
		return "not ended"
	case r.Error != "":
		return "failed"
	default:
		return "done"
	}
}

// Class marks what needs a look.
func (r ChangeRecord) Class() string {
	switch {
	case r.EndedAt == nil:
		return "warn"
	case r.Error != "":
		return "bad"
	default:
		return ""
	}
}
