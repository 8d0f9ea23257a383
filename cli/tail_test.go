package cli

import (
	"testing"
	"time"

	"github.com/strunk-go/strunk/ops"
)

// A line of tail says what has happened, tells a retry from a delay, and has the error.
func TestTailTellsARetryFromADelay(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 18, 0, 0, 0, time.UTC)
	due := at.Add(time.Minute)
	for _, c := range []struct {
		name, reason string
		change       ops.Change
		colours      bool
		want         string
	}{
		{"a delay", "whoever enqueued it said so", ops.Change{At: at, ID: 1, Kind: ops.KindTask, Queue: "mails",
			Happened: ops.ChangeDelayed, DueAt: &due}, false,
			"18:00:00.000Z  delayed    task      1  mails  due 2026-01-31 18:01:00 UTC"},
		{"a retry", "an attempt has failed", ops.Change{At: at, ID: 1, Kind: ops.KindTask, Queue: "mails", Attempts: 2,
			Happened: ops.ChangeRetry, DueAt: &due, Error: "the mailbox is\x1b full"}, false,
			"18:00:00.000Z  retry      task      1  mails  due 2026-01-31 18:01:00 UTC  the mailbox is  full"},
		{"a dead letter", "red on a terminal", ops.Change{At: at, ID: 1, Kind: ops.KindTask, Queue: "mails",
			Happened: ops.ChangeDead, Error: "no"}, true,
			"18:00:00.000Z  \x1b[31mdead     \x1b[0m  task      1  mails  no"},
	} {
		if got := changeLine(c.change, c.colours); got != c.want {
			t.Errorf("%s (%s):\n%q, want\n%q", c.name, c.reason, got, c.want)
		}
	}
}
