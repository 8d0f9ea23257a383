package ops

import (
	"fmt"
	"net/url"
)

// queueActions are what can be done to queues.
func queueActions() []action {
	queue := hidden(fieldText, "queue")
	return []action{
		{op: "pause_queue", title: "Pause the queue", fields: append(queue[:1:1],
			prompt("reason", "Reason", fieldText, "for those who find it paused")), says: saysQueue(
			"No more tasks of %s will be begun, by any process; those that run go on."),
			cli: func(f url.Values) []string {
				return append([]string{"pause", f.Get("queue")}, flags(f, "reason", "reason")...)
			}},
		{op: "resume_queue", title: "Resume the queue", fields: queue,
			says: saysQueue("The tasks of %s are begun again."),
			cli:  func(f url.Values) []string { return []string{"resume", f.Get("queue")} }},
		{op: "resume_all_queues", title: "Resume all queues", cli: func(url.Values) []string {
			return []string{"resume", "--all"}
		}, says: func(*call, url.Values) (Said, error) {
			return Said{Text: "The tasks of all queues are begun again, but for queues that are paused by " +
				"themselves."}, nil
		}},
		{op: "pause_all_queues", title: "Pause all queues", fields: []field{prompt("reason", "Reason", fieldText,
			"for those who find them paused")}, cli: func(f url.Values) []string {
			return append([]string{"pause", "--all"}, flags(f, "reason", "reason")...)
		}, says: func(*call, url.Values) (Said, error) {
			return Said{Text: "No more tasks of any queue will be begun, also of queues that appear later."}, nil
		}},
	}
}

// saysQueue tells what will happen to a queue, and how many tasks wait in it.
func saysQueue(format string) func(*call, url.Values) (Said, error) {
	return func(c *call, form url.Values) (Said, error) {
		q, err := QueueStats(c.ctx, c.box, form.Get("queue"))
		text := fmt.Sprintf(format, q.Name)
		return Said{Text: fmt.Sprintf("%s %s of its tasks wait, %s run.", text, q.Pending, q.Claimed)}, err
	}
}
