package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strunk-go/strunk/schedule"
)

// TestDaylightSaving pins down what is due around changes of the clock. Times are UTC, so that they are unambiguous.
func TestDaylightSaving(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason string
		spec, zone   string
		after        string
		want         []string
	}{
		{name: "Berlin forward, a time that is left " +
			"out", reason: "02:30 does not exist on March 30: it is due at the change, and that day's job is not lost",
			spec: "30 2 * * *", zone: "Europe/Berlin", after: "2025-03-28T12:00:00Z",
			want: []string{"2025-03-29T01:30:00Z", "2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"}},
		{name: "Berlin forward, several times in the gap",
			reason: "what is left out falls on one moment, and one moment is one due time",
			spec:   "0,15,30 2,3 * * *", zone: "Europe/Berlin", after: "2025-03-30T00:59:59Z",
			want: []string{"2025-03-30T01:00:00Z", "2025-03-30T01:15:00Z", "2025-03-30T01:30:00Z",
				"2025-03-31T00:00:00Z"}},
		{name: "Berlin back, a time that comes " +
			"twice", reason: "02:30 is shown twice on October 26: a daily job runs once, the first time",
			spec: "30 2 * * *", zone: "Europe/Berlin", after: "2025-10-25T12:00:00Z",
			want: []string{"2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"}},
		{name: "Berlin back, asked between the " +
			"two", reason: "the second 02:15 is past the first 02:30: the next is tomorrow's",
			spec: "30 2 * * *", zone: "Europe/Berlin", after: "2025-10-26T01:15:00Z",
			want: []string{"2025-10-27T01:30:00Z"}},
		{name: "Berlin back, every half hour", reason: "an hour of * follows the hours as they pass, both of them",
			spec: "*/30 * * * *", zone: "Europe/Berlin", after: "2025-10-25T23:45:00Z",
			want: []string{"2025-10-26T00:00:00Z", "2025-10-26T00:30:00Z", "2025-10-26T01:00:00Z",
				"2025-10-26T01:30:00Z", "2025-10-26T02:00:00Z"}},
		{name: "Berlin forward, every half hour", reason: "no hour passes that is not there, and the pace stays",
			spec: "*/30 * * * *", zone: "Europe/Berlin", after: "2025-03-30T00:15:00Z",
			want: []string{"2025-03-30T00:30:00Z", "2025-03-30T01:00:00Z", "2025-03-30T01:30:00Z"}},
		{name: "Berlin, a working day's morning", reason: "09:00 on the wall moves by an hour in UTC over the weekend",
			spec: "0 9 * * mon-fri", zone: "Europe/Berlin", after: "2025-03-28T00:00:00Z",
			want: []string{"2025-03-28T08:00:00Z", "2025-03-31T07:00:00Z"}},
		{name: "Berlin, @daily", reason: "the day that is 23 hours long is followed by the next midnight on the wall",
			spec: "@daily", zone: "Europe/Berlin", after: "2025-03-29T23:00:00Z",
			want: []string{"2025-03-30T22:00:00Z", "2025-03-31T22:00:00Z"}},
		{name: "New York forward", reason: "02:30 does not exist on March 9: it is due at 03:00 EDT",
			spec: "30 2 * * *", zone: "America/New_York", after: "2025-03-08T12:00:00Z",
			want: []string{"2025-03-09T07:00:00Z", "2025-03-10T06:30:00Z"}},
		{name: "New York back", reason: "01:30 is shown twice on November 2",
			spec: "30 1 * * *", zone: "America/New_York", after: "2025-11-01T12:00:00Z",
			want: []string{"2025-11-02T05:30:00Z", "2025-11-03T06:30:00Z"}},
		{name: "New York back, every second " +
			"hour", reason: "hours by name are times of day: once each, however long the day",
			spec: "0 */2 * * *", zone: "America/New_York", after: "2025-11-02T03:00:00Z",
			want: []string{"2025-11-02T04:00:00Z", "2025-11-02T07:00:00Z", "2025-11-02T09:00:00Z"}},
		{name: "New York, @hourly back", reason: "25 hours pass that day",
			spec: "@hourly", zone: "America/New_York", after: "2025-11-02T04:30:00Z",
			want: []string{"2025-11-02T05:00:00Z", "2025-11-02T06:00:00Z", "2025-11-02T07:00:00Z"}},
		{name: "Cairo, midnight left " +
			"out", reason: "where clocks change at midnight the day still begins once, on its own date",
			spec: "0 0 25 4 *", zone: "Africa/Cairo", after: "2025-04-01T00:00:00Z",
			want: []string{"2025-04-24T22:00:00Z", "2026-04-24T21:00:00Z"}},
		{name: "Cairo, every hour of a day without midnight", reason: "an hour of the day before must not slip in",
			spec: "0 * 25 4 *", zone: "Africa/Cairo", after: "2025-04-01T00:00:00Z",
			want: []string{"2025-04-24T22:00:00Z", "2025-04-24T23:00:00Z"}},
		{name: "Lord Howe, half an hour back", reason: "changes are not whole hours everywhere",
			spec: "15,45 * * * *", zone: "Australia/Lord_Howe", after: "2025-04-05T14:30:00Z",
			want: []string{"2025-04-05T14:45:00Z", "2025-04-05T15:15:00Z", "2025-04-05T15:45:00Z"}},
		{name: "Apia, a day left out", reason: "December 30, 2011 does not exist in Samoa: it is due as the 31st " +
			"begins",
			spec: "0 12 * * *", zone: "Pacific/Apia", after: "2011-12-29T00:00:00Z",
			want: []string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
		{name: "an interval", reason: "a day of 24 hours knows no clock on a wall",
			spec: "every 1d", zone: "Europe/Berlin", after: "2025-03-29T12:00:00Z",
			want: []string{"2025-03-30T12:00:00Z", "2025-03-31T12:00:00Z"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			spec, err := schedule.Parse(tt.spec, tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, tt.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range tt.want {
				at = spec.Next(at)
				got = append(got, at.Format(time.RFC3339))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tt.reason, diff)
			}
		})
	}
}
