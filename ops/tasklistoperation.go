package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/strunk-go/strunk/queue"
)

// filterParameters choose tasks, taskParameters a page of them.
var filterParameters = []parameter{
	{"status", "string", "scheduled, pending, claimed, dead, cancelled, discarded or delivered; the first three " +
		"where it is missing"},
	{"queue", "string", "of this queue"},
	{"customer_key", "string", "with this customer key"},
	{"dedup_key", "string", "with this dedup key"},
	{"error", "string", "whose last error contains this text"},
	{"fingerprint", "string", "whose last error is of this group"},
	{"metadata_contains", "string", "whose metadata contain this JSON: needs the permission payloads"},
	{"payload_contains", "string", "whose payload contains this JSON: needs the permission payloads"},
	{"older_than_seconds", "integer", "enqueued at least so long ago"},
	{"younger_than_seconds", "integer", "enqueued at most so long ago"},
}

var taskParameters = append(slices.Clip(filterParameters),
	parameter{"examine", "integer", fmt.Sprintf("how many tasks to look at, 1 to %d; %d where it is missing",
		MaxExamine, DefaultExamine)},
	parameter{"after", "string", "next of the page before"}, upTo)

// taskFilter returns the parameters that choose tasks. Whoever may search a document may guess what it says: that
// needs the permission payloads.
func (c *call) taskFilter() (TaskFilter, error) {
	f := TaskFilter{Status: queue.Status(c.query.Get("status")), Queue: c.query.Get("queue"),
		CustomerKey: c.query.Get("customer_key"), DedupKey: c.query.Get("dedup_key"), Error: c.query.Get("error"),
		Fingerprint: c.query.Get("fingerprint"), Metadata: json.RawMessage(c.query.Get("metadata_contains")),
		Payload: json.RawMessage(c.query.Get("payload_contains"))}
	var errs [2]error
	f.OlderThan, errs[0] = c.seconds("older_than_seconds")
	f.YoungerThan, errs[1] = c.seconds("younger_than_seconds")
	if err := errors.Join(errs[:]...); err != nil {
		return f, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return f, c.maySearch(f)
}

// maySearch refuses a filter by documents to who may not see them.
func (c *call) maySearch(f TaskFilter) error {
	if len(f.Metadata)+len(f.Payload) == 0 {
		return nil
	}
	_, err := c.s.cfg.Authorize(c.r, PermissionPayloads)
	return err
}

func listTasks(c *call) (list TaskList, err error) {
	f, err := c.taskFilter()
	if err != nil {
		return list, err
	}
	var errs [2]error
	f.After = c.query.Get("after")
	f.Limit, errs[0] = c.limit()
	if text := c.query.Get("examine"); text != "" {
		f.Examine, errs[1] = strconv.Atoi(text)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return list, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return Tasks(c.ctx, c.box, f)
}
