package ops

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// errorsShown is what the view of errors shows.
type errorsShown struct {
	Tabs []tab
	// Of is a queue or a subscriber; empty means any.
	Of     string
	Groups []errorRow
	// Chosen is the group that was opened; nil where none was.
	Chosen *errorChosen
}

// errorRow is an error group as a table shows it.
type errorRow struct {
	ErrorGroup
	// Trend are the failures of the last 24 hours of the clock, the last of them not over yet.
	Trend             []float64
	New, Panic, Shown bool
	Link              string
}

// errorChosen is the group that was opened, with the newest of its dead letters.
type errorChosen struct {
	ErrorGroup
	Newest  []ListedTask
	More    string
	Actions []actionLink
}

const (
	// trendHours is how many hours the trend of an error group covers.
	trendHours = 24
	// newFor is how long an error group is new.
	newFor = time.Hour
	// newestShown is how many dead letters of a group are shown.
	newestShown = 5
	// newestExamined is how many dead letters are looked at for those: each is fingerprinted.
	newestExamined = 2_000
	// panicPrefix begins the errors of handlers that panicked: see queue.PanicError.
	panicPrefix = "the handler panicked: "
	// sqlErrorTrends counts the failures of the groups $1 by the hour of the clock, $2 hours back. It locks nothing.
	sqlErrorTrends = `SELECT f.fingerprint, (floor(extract(epoch FROM now()) / 3600) -
	floor(extract(epoch FROM f.at) / 3600))::integer AS hours_ago, sum(f.n)::bigint AS n
FROM (SELECT g.fingerprint, c.counted_at AS at, c.n FROM {schema}.strunk_failure_groups g
	JOIN {schema}.strunk_failure_counts c ON c.group_id = g.id AND c.span_s = 3600
		AND c.counted_at > now() - $2::integer * interval '1 hour'
	WHERE g.fingerprint = ANY ($1::text[])
	UNION ALL SELECT r.fingerprint, r.failed_at, r.n FROM {schema}.strunk_failures r
	WHERE r.failed_at > now() - $2::integer * interval '1 hour' AND r.fingerprint = ANY ($1::text[])) f
GROUP BY 1, 2`
)

// errorTabs are the lists of the view.
var errorTabs = []struct{ title, since, fresh string }{
	{"a day", "", ""}, {"an hour", "3600", ""}, {"30 days", "2592000", ""}, {"new in a day", "", "true"},
}

func errorsView(c *call) (any, error) {
	f := ErrorFilter{Name: c.query.Get("of")}
	var err error
	if f.Since, err = c.seconds("since_seconds"); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if f.New, err = c.flag("new"); err != nil {
		return nil, err
	}
	found, err := c.s.groups.get(c.ctx, c.box, f)
	if err != nil {
		return nil, err
	}
	v := errorsShown{Of: f.Name}
	for _, t := range errorTabs {
		q := changedQuery(changedQuery(changedQuery(c.query, "group", ""), "since_seconds", t.since), "new", t.fresh)
		v.Tabs = append(v.Tabs, tab{t.title, "errors?" + q.Encode(), c.query.Get("since_seconds") == t.since &&
			c.query.Get("new") == t.fresh})
	}
	chosen := c.query.Get("group")
	for _, g := range found.groups {
		row := newErrorRow(g, found.trends[g.Fingerprint], c.query, time.Now())
		if v.Groups = append(v.Groups, row); row.Shown {
			v.Chosen = &errorChosen{ErrorGroup: g}
		}
	}
	if chosen != "" && v.Chosen == nil {
		v.Chosen = &errorChosen{ErrorGroup: ErrorGroup{Fingerprint: chosen}}
	}
	if v.Chosen != nil {
		err = c.fillGroup(v.Chosen)
	}
	return v, err
}

func newErrorRow(g ErrorGroup, trend []float64, query url.Values, now time.Time) errorRow {
	return errorRow{ErrorGroup: g, Trend: trend, New: now.Sub(g.FirstAt) < newFor,
		Panic: strings.HasPrefix(g.Example, panicPrefix), Shown: query.Get("group") == g.Fingerprint,
		Link: "errors?" + changedQuery(query, "group", g.Fingerprint).Encode()}
}

// errorTrends counts the failures of groups by the hour, the oldest first.
func errorTrends(ctx context.Context, box *outbox.Box, groups []ErrorGroup) (map[string][]float64, error) {
	type hour struct {
		fingerprint string
		ago         int
		n           int64
	}
	trends, names, hours := map[string][]float64{}, make([]string, 0, len(groups)), []hour{}
	for _, g := range groups {
		names, trends[g.Fingerprint] = append(names, g.Fingerprint), make([]float64, trendHours)
	}
	err := ask(ctx, box, many(&hours, sqlErrorTrends, []any{names, trendHours}, func(rows pgx.Rows) (h hour,
		err error) {
		return h, rows.Scan(&h.fingerprint, &h.ago, &h.n)
	}))
	for _, h := range hours {
		if h.ago >= 0 && h.ago < trendHours {
			trends[h.fingerprint][trendHours-1-h.ago] += float64(h.n)
		}
	}
	return trends, wrap("errors", err)
}

// fillGroup reads the newest dead letters of a group, and adds what can be done to all of them.
func (c *call) fillGroup(g *errorChosen) error {
	f := TaskFilter{Status: queue.StatusDead, Fingerprint: g.Fingerprint, Limit: newestShown,
		Examine: newestExamined}
	list, err := Tasks(c.ctx, c.box, f)
	if err != nil {
		return err
	}
	g.Newest = list.Tasks
	of := url.Values{"status": {"dead"}, "fingerprint": {g.Fingerprint}}
	g.More, g.Actions = "tasks?"+of.Encode(), errorLinks(of)
	return nil
}

// errorLinks are what can be done to the dead letters of a group.
func errorLinks(of url.Values) (all []actionLink) {
	add := func(title, op string, danger bool, more url.Values) {
		all = append(all, newActionLink(title, op, "errors", danger, of, more))
	}
	add("Retry one first …", "job_retry", false, url.Values{"one_first": {"true"}})
	add("Retry all …", "job_retry", false, nil)
	add("Retry at 20/s …", "job_retry", false, url.Values{"per_second": {"20"}})
	add("Delete …", "job_delete", true, nil)
	return all
}
