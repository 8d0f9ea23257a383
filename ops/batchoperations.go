package ops

import "github.com/strunk-go/strunk/queue"

// BatchList is a page of batches.
type BatchList struct {
	Batches []queue.BatchState `json:"batches"`
	// Next is what to give as before for the next page; it is missing on the last.
	Next int64 `json:"next,omitempty"`
}

func listBatches(c *call) (list BatchList, err error) {
	var f queue.BatchFilter
	if f.Unfinished, err = c.flag("unfinished"); err != nil {
		return list, err
	}
	if f.Before, err = parseID(c.query.Get("before")); err != nil {
		return list, err
	}
	if f.Limit, err = c.limit(); err == nil {
		list.Batches, err = queue.Batches(c.ctx, c.box, f)
	}
	if n := len(list.Batches); n > 0 && n == f.Limit {
		list.Next = list.Batches[n-1].ID
	}
	return list, err
}

func getBatch(c *call) (s queue.BatchState, err error) {
	id, err := c.id()
	if err != nil {
		return s, err
	}
	return queue.Batch{ID: id}.State(c.ctx, c.box)
}

func cancelBatch(c *call, b CancelBody) (Done, error) {
	id, err := c.id()
	if err != nil {
		return Done{}, err
	}
	did, err := queue.Batch{ID: id}.Cancel(c.ctx, c.box, b.Reason)
	return Done{Changed: did.Cancelled + did.Cancelling}, err
}
