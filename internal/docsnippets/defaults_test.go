package docsnippets_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// defaults are what the table in the README may name.
var defaults = map[string]any{
	"events.DefaultConcurrency":         events.DefaultConcurrency,
	"events.DefaultMaxAttempts":         events.DefaultMaxAttempts,
	"events.DefaultMaxState":            events.DefaultMaxState,
	"outbox.DefaultDeadLetterRetention": outbox.DefaultDeadLetterRetention,
	"outbox.DefaultEventRetention":      outbox.DefaultEventRetention,
	"outbox.DefaultTaskRetention":       outbox.DefaultTaskRetention,
	"outbox.DefaultGrace":               outbox.DefaultGrace,
	"outbox.DefaultPollInterval":        outbox.DefaultPollInterval,
	"outbox.DefaultSchema":              outbox.DefaultSchema,
	"queue.DefaultBackoff.First":        queue.DefaultBackoff.First,
	"queue.DefaultBackoff.Max":          queue.DefaultBackoff.Max,
	"queue.DefaultBatchSize":            queue.DefaultBatchSize,
	"queue.DefaultBatchWait":            queue.DefaultBatchWait,
	"queue.DefaultConcurrency":          queue.DefaultConcurrency,
	"queue.DefaultMaxAttempts":          queue.DefaultMaxAttempts,
	"queue.DefaultMaxPayload":           queue.DefaultMaxPayload,
	"queue.DefaultPriority":             queue.DefaultPriority,
	"queue.DefaultTimeout":              queue.DefaultTimeout,
	"queue.DefaultVisibilityTimeout":    queue.DefaultVisibilityTimeout,
}

// defaultRow is a row whose second cell is a value and whose third names a constant.
var defaultRow = regexp.MustCompile("(?m)^\\|[^|]*\\| ([^|]*) \\| `([a-z]+\\.Default[A-Za-z.]*)` \\|$")

func TestDefaultsInTheReadmeAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, match := range defaultRow.FindAllStringSubmatch(text(t, "README.md"), -1) {
		written, name := match[1], match[2]
		seen[name] = true
		value, ok := defaults[name]
		if !ok {
			t.Errorf("README.md names %s, which this test does not know: add it", name)
		} else if got := parse(written); got != fmt.Sprint(value) {
			t.Errorf("README.md says that %s is %s; it is %v", name, written, value)
		}
	}
	for name := range defaults {
		if !seen[name] {
			t.Errorf("README.md does not list %s", name)
		}
	}
}

// parse turns what a person writes (5m, 30 days, 1 MiB) into what Go prints.
func parse(written string) string {
	if d, err := time.ParseDuration(written); err == nil && d != 0 {
		return d.String()
	}
	number, unit, _ := strings.Cut(written, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return written
	}
	switch unit {
	case "MiB":
		return strconv.Itoa(n << 20)
	case "day", "days":
		return (time.Duration(n) * 24 * time.Hour).String()
	}
	return written
}
