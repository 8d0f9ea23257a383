package schedule_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/strunk-go/strunk/schedule"
)

func TestSpecs(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 6, 11, 10, 7, 30, 0, time.UTC) // a Wednesday
	for _, tt := range []struct{ spec, want string }{
		{"every 30s", "2025-06-11T10:08:00Z"},
		{"every 5m", "2025-06-11T10:12:30Z"},
		{"every 1h", "2025-06-11T11:07:30Z"},
		{"every 1d", "2025-06-12T10:07:30Z"},
		{"  every\t2w ", "2025-06-25T10:07:30Z"},
		{"@every 1h30m", "2025-06-11T11:37:30Z"},
		{"90s", "2025-06-11T10:09:00Z"},
		{"1d12h", "2025-06-12T22:07:30Z"},
		{"500ms", "2025-06-11T10:07:30.5Z"},
		{"@hourly", "2025-06-11T11:00:00Z"},
		{"@daily", "2025-06-12T00:00:00Z"},
		{"@weekly", "2025-06-15T00:00:00Z"},
		{"@monthly", "2025-07-01T00:00:00Z"},
		{"@yearly", "2026-01-01T00:00:00Z"},
		{"*/15 * * * *", "2025-06-11T10:15:00Z"},
		{"30 9 * * mon-fri", "2025-06-12T09:30:00Z"},
		{"0 0 29 2 *", "2028-02-29T00:00:00Z"},
		{"0 6 * * 7", "2025-06-15T06:00:00Z"}, // a Sunday
		{"0 6 * * 0", "2025-06-15T06:00:00Z"},
		{"0 6 * * 1,7", "2025-06-15T06:00:00Z"},
		{"0 6 * * 6-7", "2025-06-14T06:00:00Z"},
		{"0 6 14-15 * fri-7/2", "2025-06-13T06:00:00Z"},
		{"0 6 * * 1-7/3", "2025-06-12T06:00:00Z"},
		{"0 6 * * 5-7/2", "2025-06-13T06:00:00Z"},
		{"0 12 1,15 * ?", "2025-06-15T12:00:00Z"},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			spec, err := schedule.Parse(tt.spec, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := spec.Next(at).Format(time.RFC3339Nano); got != tt.want {
				t.Errorf("next after %v: %s; want %s", at, got, tt.want)
			}
		})
	}
}

func TestBadSpecsShowWhere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec string
		pos        int
		want       string
	}{
		{"nothing", "", 0, "empty"},
		{"an interval left out", "every ", 6, "interval is missing"},
		{"a unit left out", "every 5", 7, "unit"},
		{"a strange unit", "every 5min", 8, "number"}, // 5m, then "in"
		{"a fraction", "1.5h", 1, "unit"},
		{"a number left out", "every m", 6, "number"},
		{"a negative interval", "-5m", 0, "number"},
		{"too short", "every 1ms", 6, "at least 100ms"},
		{"too long", "every 99999999w", 6, "at most"},
		{"longer than a number", "99999999999999999999s", 0, "at most"},
		{"something behind an interval", "every 5m please", 9, "nothing may follow"},
		{"an unknown word", "@noon", 0, "unknown"},
		{"something behind a word", "@daily 5", 7, "nothing may follow"},
		{"a word of nobody's", "tomorrow", 0, "number"},
		{"four fields", "0 9 * *", 7, "day of week is missing"},
		{"six fields", "0 0 9 * * *", 10, "five fields"},
		{"a minute too many", "60 * * * *", 0, "minute"},
		{"an hour too many", "0 24 * * *", 2, "hour"},
		{"the second of a list", "0 1,25 * * *", 4, "hour"},
		{"a list with a hole", "0 1,,3 * * *", 4, "empty"},
		{"a range from behind", "0 9 * * fri-mon", 8, "day of week"},
		{"a step of nothing", "*/0 * * * *", 0, "minute"},
		{"a name unknown", "0 9 * * mon,freitag", 12, "day of week"},
		{"a day that never comes", "0 0 30 2 *", 4, "never"},
		{"a zone in front", "CRON_TZ=Europe/Berlin 0 9 * * *", 0, "TimeZone option"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := schedule.Parse(tt.spec, "")
			var bad *schedule.SpecError
			if !errors.As(err, &bad) || !errors.Is(err, schedule.ErrInvalid) {
				t.Fatalf("%v; want a SpecError that is ErrInvalid", err)
			}
			if bad.Pos != tt.pos || bad.Spec != tt.spec || !strings.Contains(bad.Reason, tt.want) {
				t.Errorf("at byte %d: %s; want byte %d: …%s…", bad.Pos, bad.Reason, tt.pos, tt.want)
			}
		})
	}
}

func ExampleSpecError() {
	_, err := schedule.Parse("0 9,25 * * *", "Europe/Berlin")
	fmt.Println(strings.ReplaceAll(err.Error(), "\t", "  "))
	// Output:
	// strunk/schedule: bad spec: hour: end of range (25) above maximum (23): 25, at character 5:
	//   0 9,25 * * *
	//       ^
}

// TestCronAgainstTheClock compares due times with a walk through every minute and what the clock on
// the wall shows then.
func TestCronAgainstTheClock(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo",
		"America/Santiago", "Asia/Kathmandu", "America/Havana"}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		minutes := rapid.SliceOfNDistinct(rapid.SampledFrom([]int{0, 15, 30, 45, 59}), 1, 3, rapid.ID).Draw(t,
			"minutes")
		hours := rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 0, 3, rapid.ID).Draw(t, "hours") // none: every hour
		begin := aroundAChange(t, loc)
		spec, err := schedule.Parse(list(minutes)+" "+list(hours)+" * * *", zone)
		if err != nil {
			t.Fatal(err)
		}
		want := walk(begin, begin.Add(72*time.Hour), minutes, hours)
		var got []time.Time
		for at := spec.Next(begin); !at.After(begin.Add(72 * time.Hour)); at = spec.Next(at) {
			got = append(got, at)
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Errorf("%q in %s from %v:\n got %v\nwant %v", spec, zone, begin, got, want)
		}
	})
}

func list(items []int) string {
	if len(items) == 0 {
		return "*"
	}
	texts := make([]string, len(items))
	for i, n := range items {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// aroundAChange draws a minute within a day before a change of the clock, or anywhere in 2025.
func aroundAChange(t *rapid.T, loc *time.Location) time.Time {
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, loc).Add(time.Duration(rapid.IntRange(0, 365*24*60).Draw(t,
		"minute")) * time.Minute)
	if _, end := at.ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "change") {
		at = end.Add(-time.Duration(rapid.IntRange(0, 24*60).Draw(t, "before")) * time.Minute).Truncate(time.Minute)
	}
	return at
}

// walk is the rule of Parse, minute by minute: each reading of the clock that fits counts the first
// time it is shown; a reading that is jumped over counts at the jump, unless every hour fits, when
// only what is shown counts, and each time.
func walk(begin, end time.Time, minutes, hours []int) (due []time.Time) {
	fits := func(shown time.Time) bool {
		return slices.Contains(minutes, shown.Minute()) && (len(hours) == 0 || slices.Contains(hours, shown.Hour()))
	}
	reading := func(at time.Time) time.Time {
		_, offset := at.Zone()
		return at.UTC().Add(time.Duration(offset) * time.Second)
	}
	shownBefore := map[time.Time]bool{}
	from := begin.Add(-4 * time.Hour) // for what was shown before
	last := reading(from.Add(-time.Minute))
	for at := from; !at.After(end); at = at.Add(time.Minute) {
		shown := reading(at)
		counts := fits(shown) && (len(hours) == 0 || !shownBefore[shown])
		if len(hours) > 0 {
			for skipped := last.Add(time.Minute); skipped.Before(shown); skipped = skipped.Add(time.Minute) {
				counts = counts || fits(skipped)
			}
		}
		shownBefore[shown], last = true, shown
		if counts && at.After(begin) {
			due = append(due, at.UTC())
		}
	}
	return due
}
