package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// MinInterval is the shortest interval that a spec may name.
	MinInterval = 100 * time.Millisecond
	// MaxInterval is the longest.
	MaxInterval = 10 * 366 * 24 * time.Hour
	// DefaultTimeZone is the time zone of cron expressions where none is given.
	DefaultTimeZone = "UTC"
)

// Spec says when a schedule is due. It is made by [Parse], is immutable, and may be shared.
type Spec struct {
	text  string
	zone  string
	timer timer
}

// timer computes due times.
type timer interface {
	// after returns the first due time after at, or the zero time where there is none. anchor is a
	// due time already known: intervals are counted from it.
	after(anchor, at time.Time) time.Time
}

// Parse reads a spec:
//
//	every 30s, every 5m, every 1h30m, every 1d    a fixed interval: units ms, s, m, h, d (24 hours), w (7 days)
//	30s, 5m, 1h, 1d                               the same
//	@hourly @daily @weekly @monthly @yearly       the beginning of each hour, day, week (Sunday), month, year
//	30 9 * * mon-fri                              cron: minute, hour, day of month, month, day of week (Sunday: 0, 7)
//
// Cron expressions and the words with an @ follow the clock of timeZone, a name such as "Europe/Berlin"; empty means
// DefaultTimeZone. Intervals know no time zone. Errors: a [*SpecError], which is also an [ErrInvalid].
//
// When clocks are set forward, a time of day that is left out is due at the moment of the change;
// when they are set back, a time of day that comes twice is due the first time only. A cron
// expression whose hour is * follows the hours as they pass instead: it leaves nothing out and
// repeats what is repeated.
func Parse(spec, timeZone string) (Spec, error) {
	zone, loc, err := location(timeZone)
	if err != nil {
		return Spec{}, err
	}
	s := Spec{text: spec, zone: zone}
	s.timer, err = parseTimer(spec, loc)
	return s, err
}

// String returns the spec as it was given to Parse.
func (s Spec) String() string { return s.text }

// TimeZone returns the name of the time zone.
func (s Spec) TimeZone() string { return s.zone }

// Next returns the first due time after t: for an interval, one interval later. It is the zero time
// where there is none, which for a Spec from Parse takes a date such as February 29 and centuries.
func (s Spec) Next(t time.Time) time.Time {
	if s.timer == nil {
		return time.Time{}
	}
	return s.timer.after(t, t)
}

func location(name string) (string, *time.Location, error) {
	if name == "" {
		name = DefaultTimeZone
	}
	if name == "Local" {
		return "", nil, fmt.Errorf("strunk/schedule: the time zone Local differs from process to process; give "+
			"its name, as in Europe/Berlin: %w", ErrInvalid)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return "", nil, fmt.Errorf("strunk/schedule: the time zone %q is unknown here (where a machine has no "+
			"time zone database, import time/tzdata): %w: %w", name, err, ErrInvalid)
	}
	return name, loc, nil
}

// SpecError says what is wrong with a spec, and where.
type SpecError struct {
	// Spec is the whole spec.
	Spec string
	// Pos is the byte of Spec at which the fault begins, from 0; len(Spec) where something is missing at the end.
	Pos int
	// Reason says what is wrong there.
	Reason string
}

// Error names the reason, and shows the place under the spec.
func (e *SpecError) Error() string {
	spec := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, e.Spec)
	column := utf8.RuneCountInString(e.Spec[:e.Pos])
	return fmt.Sprintf("strunk/schedule: bad spec: %s, at character %d:\n\t%s\n\t%s^", e.Reason, column+1, spec,
		strings.Repeat(" ", column))
}

// Unwrap returns ErrInvalid.
func (e *SpecError) Unwrap() error { return ErrInvalid }

// field is a part of a spec and where it begins.
type field struct {
	text string
	pos  int
}

func fields(spec string) (all []field) {
	for pos := 0; pos < len(spec); {
		rest := strings.TrimLeft(spec[pos:], " \t")
		pos = len(spec) - len(rest)
		n := strings.IndexAny(rest, " \t")
		if n < 0 {
			n = len(rest)
		}
		if n > 0 {
			all = append(all, field{text: rest[:n], pos: pos})
		}
		pos += n
	}
	return all
}

const wanted = `give an interval ("every 5m"), a word ("@daily") or five cron fields ("30 9 * * mon-fri")`

// errAt makes a fault; parseTimer adds the spec.
func errAt(pos int, format string, args ...any) error {
	return &SpecError{Pos: pos, Reason: fmt.Sprintf(format, args...)}
}

func parseTimer(spec string, loc *time.Location) (timer, error) {
	t, err := parseFields(spec, fields(spec), loc)
	var bad *SpecError
	if errors.As(err, &bad) {
		bad.Spec = spec
	}
	return t, err
}

func parseFields(spec string, f []field, loc *time.Location) (timer, error) {
	if len(f) == 0 {
		return nil, errAt(len(spec), "it is empty; %s", wanted)
	}
	switch first := f[0]; {
	case first.text == "every" || first.text == "@every":
		return parseEvery(spec, f)
	case strings.HasPrefix(first.text, "@"):
		return parseWord(f, loc)
	case strings.HasPrefix(first.text, "TZ=") || strings.HasPrefix(first.text, "CRON_TZ="):
		return nil, errAt(first.pos, "the time zone is not part of the spec; use the TimeZone option")
	case len(f) == 1:
		return parseInterval(first)
	}
	return parseCron(spec, f, loc)
}

func parseEvery(spec string, f []field) (timer, error) {
	switch {
	case len(f) == 1:
		return nil, errAt(len(spec), `the interval is missing; give one as in "every 5m"`)
	case len(f) > 2:
		return nil, errAt(f[2].pos, "nothing may follow the interval")
	}
	return parseInterval(f[1])
}
