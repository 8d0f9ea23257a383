package queue

import (
	"errors"
	"fmt"
	"time"
)

// Snooze is what a handler returns to have its task again after d, without spending an attempt and without an error. In a
// handler in a transaction the transaction is rolled back.
func Snooze(d time.Duration) error { return &snoozed{min(max(d, 0), longestDuration)} }

type snoozed struct{ d time.Duration }

func (s *snoozed) Is(target error) bool { return target == ErrSnoozed }

func (s *snoozed) Error() string { return fmt.Sprintf("snoozed for %v", s.d) }

// Discard is what a handler returns to give its task up: a dead letter at once, whatever attempts are left, whose error is
// "discarded: " and the reason. In a handler in a transaction the transaction is rolled back.
func Discard(reason string) error { return &discarded{reason} }

type discarded struct{ reason string }

func (d *discarded) Is(target error) bool { return target == ErrDiscarded }

func (d *discarded) Error() string { return "discarded: " + d.reason }

// cancelled is the cause of the context of a task that was cancelled; its text is that of the dead letter.
type cancelled struct{ text string }

func (c *cancelled) Error() string        { return c.text }
func (c *cancelled) Is(target error) bool { return target == ErrCancelled }

// asked is the outcome that a handler asked for with what it returned.
func asked(j *job, err error) (outcome, bool) {
	var s *snoozed
	if errors.As(err, &s) {
		return outcome{job: j, kind: outcomeRetry, delay: s.d, refund: true}, true
	}
	var d *discarded
	if errors.As(err, &d) {
		return outcome{job: j, kind: outcomeBury, err: err}, true
	}
	var u *unspent
	if errors.As(err, &u) {
		return outcome{job: j, kind: outcomeRetry, delay: u.delay, refund: true, err: u.err}, true
	}
	return outcome{}, false
}
