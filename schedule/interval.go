package schedule

import (
	"strconv"
	"strings"
	"time"
)

// interval is due every so often, counted from a due time already known.
type interval time.Duration

func (i interval) after(anchor, at time.Time) time.Time {
	d := time.Duration(i)
	if at.Before(anchor) {
		return anchor
	}
	return anchor.Add(d * (at.Sub(anchor)/d + 1))
}

// units are those of Go's durations from milliseconds up, and days of 24 hours and weeks of 7 days.
var units = []struct {
	name string
	unit time.Duration
}{ // ms before m
	{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
}

func parseInterval(f field) (timer, error) {
	total := time.Duration(0)
	for i := 0; i < len(f.text); {
		d, n, err := parsePart(f.text[i:], f.pos+i)
		if err != nil {
			return nil, err
		}
		total += d
		i += n
	}
	switch {
	case total < MinInterval:
		return nil, errAt(f.pos, "an interval must be at least %v", MinInterval)
	case total > MaxInterval:
		return nil, errAt(f.pos, "an interval must be at most %v", MaxInterval)
	}
	return interval(total), nil
}

// parsePart reads one number with its unit, at pos of the spec.
func parsePart(text string, pos int) (d time.Duration, length int, err error) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	if digits == 0 {
		return 0, 0, errAt(pos, "a number is missing; %s", wanted)
	}
	number, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil {
		return 0, 0, errAt(pos, "an interval must be at most %v", MaxInterval)
	}
	for _, u := range units {
		if !strings.HasPrefix(text[digits:], u.name) {
			continue
		}
		if number > int64(MaxInterval/u.unit) {
			return 0, 0, errAt(pos, "an interval must be at most %v", MaxInterval)
		}
		return time.Duration(number) * u.unit, digits + len(u.name), nil
	}
	return 0, 0, errAt(pos+digits, "the unit must be ms, s, m, h, d or w")
}
