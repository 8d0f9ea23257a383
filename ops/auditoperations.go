package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// ChangeRecordList is a page of what people have changed.
type ChangeRecordList struct {
	Changes []ChangeRecord `json:"changes"`
	// Next is what to give as before for the next page; it is missing on the last.
	Next *time.Time `json:"next,omitempty"`
}

func auditReadings() []operation {
	return []operation{
		reading("list_audit", "/v1/audit",
			"What people have changed, by the program strunk and over HTTP, newest first",
			listAudit, parameter{"actor", "string", "by this actor"},
			parameter{"action", "string", "only this command or operation"},
			parameter{"before", "string", "the time of the last change of the page before (RFC 3339)"}, upTo),
	}
}

func listAudit(c *call) (list ChangeRecordList, err error) {
	f := ChangeRecordFilter{Actor: c.query.Get("actor"), Action: c.query.Get("action")}
	if f.Before, err = c.time("before"); err != nil {
		return list, err
	}
	if f.Limit, err = c.limit(); err == nil {
		list.Changes, err = ChangesMade(c.ctx, c.box, f)
	}
	if n := len(list.Changes); n > 0 && n == f.Limit {
		list.Next = &list.Changes[n-1].At
	}
	return list, err
}

// time returns a parameter that is a time; the zero time where it is missing.
func (c *call) time(name string) (at time.Time, err error) {
	if text := c.query.Get(name); text != "" {
		if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return at, fmt.Errorf("%s: %q is no time such as 2026-01-31T15:04:05Z: %w", name, text, ErrInvalid)
		}
	}
	return at, nil
}

// noted runs a change between the two notes that the audit keeps of it. A change that cannot be noted is not made.
func noted[B, A any](c *call, id string, body B, run func(*call, B) (A, error)) (answer A, err error) {
	note, err := NoteChange(c.ctx, c.box, NewChange{Actor: c.actor(), Action: id, Target: c.auditTarget(),
		Reason: reasonOf(c.body)})
	if err != nil {
		return answer, err
	}
	answer, err = run(c, body)
	// The change is made or refused: its end is noted also where the request is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), c.s.cfg.Timeout)
	defer cancel()
	if noteErr := note.End(ctx, changedBy(answer, err), err); noteErr != nil {
		core.BoxHost(c.box).Logger().Error("strunk: the end of a change could not be noted", "action", id, "error",
			noteErr)
	}
	return answer, err
}

// auditTarget is what an operation's path and body name.
func (c *call) auditTarget() string {
	name := target(c.r)
	if c.body == nil {
		return name
	}
	body := c.body
	if job, ok := body.(JobBody); ok { // who may read the audit need not be allowed to see payloads
		job.Metadata, job.Payload = hide(job.Metadata), hide(job.Payload)
		body = job
	}
	doc, err := json.Marshal(body)
	switch {
	case err != nil || string(doc) == "{}":
		return name
	case name == "":
		return string(doc)
	}
	return name + " " + string(doc)
}

// hide replaces what a document says.
func hide(doc json.RawMessage) json.RawMessage {
	if doc == nil {
		return nil
	}
	return json.RawMessage(`"hidden"`)
}

// reasonOf is why, of a body that says so.
func reasonOf(body any) string {
	switch b := body.(type) {
	case PauseBody:
		return b.Reason
	case CancelBody:
		return b.Reason
	case DiscardBody:
		return b.Reason
	case JobBody:
		return b.Reason
	case HoldBody:
		return b.Reason
	}
	return ""
}

// changedBy is how many an answer says to have changed.
func changedBy(answer any, err error) int64 {
	switch a := answer.(type) {
	case Done:
		if err == nil {
			return a.Changed
		}
	case Acted:
		return int64(len(a.Changed))
	default:
		if err == nil {
			return 1
		}
	}
	return 0
}
