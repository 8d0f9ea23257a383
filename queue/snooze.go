package queue

import (
	"fmt"
	"time"
)

// Snooze is what a handler returns to have its task again after d, without spending an attempt and
// without an error. In a handler in a transaction the transaction is rolled back.
func Snooze(d time.Duration) error { return &snoozed{min(max(d, 0), maxDuration)} }

type snoozed struct{ d time.Duration }

func (s *snoozed) Is(target error) bool { return target == ErrSnoozed }

func (s *snoozed) Error() string { return fmt.Sprintf("snoozed for %v", s.d) }

// Discard is what a handler returns to give its task up: it ends as [StatusDiscarded] at once,
// whatever attempts are left, with the error "discarded: " and the reason. It is no dead letter,
// except where a broker carries the tasks (queue/jetstream). In a handler in a transaction the
// transaction is rolled back.
func Discard(reason string) error { return &discarded{reason} }

type discarded struct{ reason string }

func (d *discarded) Is(target error) bool { return target == ErrDiscarded }

func (d *discarded) Error() string { return "discarded: " + d.reason }
