package ops

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// pageFuncs are what the templates of all views can call.
var pageFuncs = template.FuncMap{
	"count": countHTML, "n": grouped[int64], "int": grouped[int], "age": age, "at": at, "iso": iso, "clock": clock,
	"perSecond": perSecond, "percent": percent,
	"spark": spark, "mb": megabytes, "text": func(doc any) string { return fmt.Sprintf("%s", doc) },
	"list": func(all ...any) []any { return all },
}

// grouped renders 1 234 567: groups are parted by a narrow space.
func grouped[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// countHTML renders a count with how far to trust it: 12, 1 000+, ~3 100 000, and how long ago it was counted.
func countHTML(c Count) template.HTML {
	switch n := grouped(c.N); {
	case c.Precision == Estimate:
		return template.HTML("~" + n) //nolint:gosec // digits
	case c.Precision == AtLeast:
		return template.HTML(n + "+") //nolint:gosec // digits
	case c.Age != nil:
		return template.HTML(`<span title="counted ` + age(*c.Age) + ` ago">` + n + `</span>`) //nolint:gosec // digits
	default:
		return template.HTML(n) //nolint:gosec // digits
	}
}

// plural renders "1 task", "2 tasks".
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + one + "s"
}

// age renders a span in one or two units: 0.4s, 12s, 14m, 2h 5m, 3d 4h.
func age(span any) string {
	var d time.Duration
	switch v := span.(type) {
	case time.Duration:
		d = v
	case Duration:
		d = v.Duration
	case *Duration:
		if v == nil {
			return "–"
		}
		d = v.Duration
	}
	two := func(big, small int64, a, b string) string {
		if small == 0 {
			return fmt.Sprintf("%d%s", big, a)
		}
		return fmt.Sprintf("%d%s %d%s", big, a, small, b)
	}
	s := int64(d.Round(time.Second).Seconds())
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'g', 3, 64) + "s"
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 600:
		return two(s/60, s%60, "m", "s")
	case s < 3600:
		return fmt.Sprintf("%dm", s/60)
	case s < 86400:
		return two(s/3600, s%3600/60, "h", "m")
	default:
		return two(s/86400, s%86400/3600, "d", "h")
	}
}

// moment is a time that may be missing.
func moment(t any) (time.Time, bool) {
	switch v := t.(type) {
	case time.Time:
		return v.UTC(), !v.IsZero()
	case *time.Time:
		if v != nil {
			return v.UTC(), true
		}
	}
	return time.Time{}, false
}

// at renders a time in UTC, without the day where that is the day of now.
func at(now time.Time, t any) template.HTML {
	v, ok := moment(t)
	if !ok {
		return "–"
	}
	short := v.Format(time.DateTime)
	if v.Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		short = v.Format(time.TimeOnly)
	}
	return template.HTML(`<time datetime="` + v.Format(time.RFC3339) + `">` + short +
		`</time>`) //nolint:gosec // digits
}

// clock renders the hour and the minute, with the day where it is not that of now.
func clock(now, t time.Time) template.HTML {
	layout := "01-02 15:04"
	if t = t.UTC(); t.Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		layout = "15:04"
	}
	return template.HTML(`<time datetime="` + iso(t) + `">` + t.Format(layout) + `</time>`) //nolint:gosec // digits
}

// iso renders a time as RFC 3339; empty where there is none.
func iso(t any) string {
	if v, ok := moment(t); ok {
		return v.Format(time.RFC3339)
	}
	return ""
}

// perSecond renders n in a span as a rate.
func perSecond(n int64, over time.Duration) string {
	if n == 0 || over <= 0 {
		return "–"
	}
	rate := float64(n) / over.Seconds()
	if rate < 0.1 {
		return strconv.FormatFloat(rate*60, 'g', 2, 64) + "/min"
	}
	return strconv.FormatFloat(rate, 'f', max(0, 1-int(math.Log10(max(rate, 1)))), 64) + "/s"
}

// percent renders a share from 0 to 1.
func percent(share float64) string {
	if share == 0 {
		return "–"
	}
	return strconv.FormatFloat(100*share, 'g', 2, 64) + "\u202f%"
}

func megabytes(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.0f kB", float64(n)/1e3)
}

// spark draws values as a line in a box of so many pixels, from zero up; nothing where all are zero.
func spark(width, height int, values []float64) template.HTML {
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	if top == 0 || len(values) < 2 {
		return template.HTML(fmt.Sprintf(`<svg width="%d" height="%d" viewBox="0 0 %d %d" aria-hidden="true"></svg>`,
			width, height, width, height)) //nolint:gosec // digits
	}
	var points strings.Builder
	for i, v := range values {
		x := float64(width) * float64(i) / float64(len(values)-1)
		fmt.Fprintf(&points, "%.1f,%.1f ", x, 1+(1-v/top)*float64(height-2))
	}
	return template.HTML(fmt.Sprintf(`<svg width="%d" height="%d" viewBox="0 0 %d %d" `+
		`preserveAspectRatio="none" aria-hidden="true"><polyline points="%s"/></svg>`, width, height, width, height,
		strings.TrimSpace(points.String()))) //nolint:gosec // digits
}
