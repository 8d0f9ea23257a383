package schedule

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// words are the descriptors and what they stand for.
var words = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

func parseWord(f []field, loc *time.Location) (timer, error) {
	expr, ok := words[strings.ToLower(f[0].text)]
	if !ok {
		return nil, errAt(f[0].pos, "the word is unknown; there are @hourly, @daily, @weekly, @monthly and @yearly")
	}
	if len(f) > 1 {
		return nil, errAt(f[1].pos, "nothing may follow the word")
	}
	return parseCron(expr, fields(expr), loc)
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// dayOfWeek is the index of that field.
const dayOfWeek = 4

var cronFields = []string{"minute", "hour", "day of month", "month", "day of week"}

func parseCron(spec string, f []field, loc *time.Location) (timer, error) {
	if len(f) < len(cronFields) {
		return nil, errAt(len(spec), "the field %s is missing; %s", cronFields[len(f)], wanted)
	}
	if len(f) > len(cronFields) {
		return nil, errAt(f[len(cronFields)].pos, "a cron expression has five fields, from minute to day of week")
	}
	texts := make([]string, len(f))
	for i := range f {
		if err := checkField(i, f[i]); err != nil {
			return nil, err
		}
		texts[i] = f[i].text
	}
	texts[dayOfWeek] = withSunday(texts[dayOfWeek])
	parsed, err := cronParser.Parse(strings.Join(texts, " "))
	if err != nil {
		return nil, errAt(f[0].pos, "%v", err)
	}
	clock := *parsed.(*cron.SpecSchedule)
	clock.Location = time.UTC
	if clock.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, errAt(f[2].pos, "no month has such a day: it would never be due")
	}
	if hour := texts[1]; hour == "*" || hour == "*/1" {
		return passing{clock: clock, loc: loc}, nil
	}
	return daily{clock: clock, loc: loc}, nil
}

// days are the names of the days of the week, as the library knows them.
var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// withSunday writes the items of a list that have 7, which is Sunday as 0 is, so that the library knows them. What is
// faulty stays as it is: the library says what is wrong.
func withSunday(field string) string {
	items := strings.Split(field, ",")
	for i, item := range items {
		items[i] = upToSunday(item)
	}
	return strings.Join(items, ",")
}

// upToSunday lists the days of an item that is 7 or a range up to 7, with or without a step.
func upToSunday(item string) string {
	span, step, stepped := strings.Cut(item, "/")
	every := 1
	if stepped {
		n, err := strconv.ParseUint(step, 10, 31)
		if err != nil || n == 0 {
			return item
		}
		every = int(n)
	}
	from, isRange := strings.CutSuffix(span, "-7")
	first, err := strconv.ParseUint(from, 10, 8)
	if err != nil {
		first = uint64(slices.Index(days, strings.ToLower(from))) // beyond 7 for no name
	}
	if first > 7 || !isRange && span != "7" {
		return item
	}
	var list []string
	for day := int(first); day <= 7; day += every {
		list = append(list, strconv.Itoa(day%7))
	}
	return strings.Join(list, ",")
}

// checkField finds the first faulty item of a field's list, by asking the library about each alone.
func checkField(i int, f field) error {
	pos := f.pos
	for _, item := range strings.Split(f.text, ",") {
		if item == "" {
			return errAt(pos, "an item of the %s's list is empty", cronFields[i])
		}
		expr := slices.Repeat([]string{"*"}, len(cronFields))
		expr[i] = item
		if i == dayOfWeek {
			expr[i] = withSunday(item)
		}
		if _, err := cronParser.Parse(strings.Join(expr, " ")); err != nil {
			return errAt(pos, "%s: %v", cronFields[i], err)
		}
		pos += len(item) + 1
	}
	return nil
}

// passing is an expression for every hour: it is due whenever the clock on the wall shows a time that fits. Within one
// offset of the zone the library is asked; it knows changes of the clock less well.
type passing struct {
	clock cron.SpecSchedule
	loc   *time.Location
}

// maxChanges bounds the changes of the clock that a search goes through.
const maxChanges = 400

func (p passing) after(_, at time.Time) time.Time {
	from, zone := at, at.In(p.loc)
	for range maxChanges {
		_, end := zone.ZoneBounds()
		next := onWall(p.clock.Next(wall(from, offset(zone))), offset(zone))
		if next.IsZero() || end.IsZero() || next.Before(end) {
			return next
		}
		from, zone = end.Add(-1), end // the first moment of the new offset included
	}
	return time.Time{}
}

// daily is an expression with hours of its own: each time of day that it names is due once a day. A time that the clock
// leaves out is due when the clock is set forward, one that comes twice the first time.
type daily struct {
	clock cron.SpecSchedule
	loc   *time.Location
}

func (d daily) after(_, at time.Time) time.Time {
	at = at.In(d.loc)
	for shown := wall(at, offset(at)); ; {
		shown = d.clock.Next(shown)
		if shown.IsZero() {
			return shown
		}
		if due := d.moment(shown); due.After(at) {
			return due.UTC()
		}
	}
}

// moment returns when the clock on the wall first shows a time, or would have, had it not been set forward.
func (d daily) moment(shown time.Time) time.Time {
	year, month, day := shown.Date()
	at := time.Date(year, month, day, shown.Hour(), shown.Minute(), shown.Second(), 0, d.loc)
	begin, end := at.ZoneBounds()
	switch {
	case wall(at, offset(at)).After(shown):
		return begin // left out, and counted on from before the change
	case wall(at, offset(at)).Before(shown):
		return end // left out, and counted back from after the change
	case begin.IsZero():
		return at
	}
	if earlier := onWall(shown, offset(begin.Add(-1))); earlier.Before(begin) {
		return earlier
	}
	return at
}

// wall returns what a clock with an offset from UTC shows at a time, as if that were UTC.
func wall(at time.Time, offset int) time.Time {
	return at.Add(time.Duration(offset) * time.Second).UTC()
}

// onWall returns when a clock with the offset shows a time.
func onWall(shown time.Time, offset int) time.Time {
	if shown.IsZero() {
		return shown
	}
	return shown.Add(-time.Duration(offset) * time.Second)
}

// offset returns the seconds east of UTC that hold at a time in its location.
func offset(at time.Time) int {
	_, seconds := at.Zone()
	return seconds
}
