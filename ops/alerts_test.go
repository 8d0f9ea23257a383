package ops_test

import (
	"encoding/json"
	"fmt"
	"os"
	program "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
)

// well is an installation of which nothing is wrong, in the notation of promtool.
var well = func() map[string]string {
	all := map[string]string{"strunk_up{}": "1", "strunk_notify_queue_usage_ratio{}": "0.01",
		"strunk_horizon_transactions{}": "1000", `strunk_forwarder_failing{forwarder="mailer",kind="events"}`: "0",
		`strunk_forwarder_lag_seconds{forwarder="mailer",kind="events"}`: "1"}
	for _, check := range []string{"relay", "promoter", "rescue", "scheduler", "reaper", "partitions", "counter"} {
		all[`strunk_health_status{check="`+check+`"}`] = "0"
	}
	for _, q := range []string{"a", "b", "c"} {
		for metric, n := range map[string]string{"oldest_pending_seconds": "5", "paused": "0", "workers": "2",
			"dead_total": "88212", "done_total": "5000", "failed_total": "500"} {
			all[`strunk_queue_`+metric+`{queue="`+q+`"}`] = n
		}
	}
	for _, s := range []string{"indexer", "mailer"} {
		for metric, n := range map[string]string{"lag_seconds": "1", "paused": "0", "needs_restart": "0",
			"dead_total": "5", "parked_total": "7"} {
			all[`strunk_subscriber_`+metric+`{entity_type="order",subscriber="`+s+`"}`] = n
		}
	}
	return all
}()

// A cause begins in minute 30 and ends in minute 110.
const (
	step               = 2 // minutes from sample to sample, and from evaluation to evaluation
	begins, ends, over = 30, 110, 180
	missing            = "_"
)

// cause is what happens to series: what a key matches has these values meanwhile, such as "0" or "0+120" (120 more each
// step).
type cause struct {
	name, reason string
	series       map[string]string
	instances    string // which of them show it
	lasts        int    // minutes, where it is shorter
	after        map[string]string
	alert        string // the one that fires; empty: none
	summary      string
}

var causes = []cause{
	{name: "nothing", reason: "nobody is woken"},
	{name: "database away", reason: "it explains the rest, also while the backlog is worked off",
		series: map[string]string{"^strunk_": missing, "strunk_up": "0"},
		after:  map[string]string{"oldest_pending|lag_seconds": "5000"},
		alert:  "StrunkDatabaseAway", summary: "No process can ask the database of strunk."},
	{name: "database restarts", reason: "counters go on", lasts: step,
		series: map[string]string{"^strunk_": missing, "strunk_up": "0"}},
	{name: "failover", reason: "a standby that was three behind is no reset",
		series: map[string]string{"queue_dead": "88209"}, after: map[string]string{"queue_dead": "88209"}},
	{name: "not scraped", reason: "silence is no health", series: map[string]string{"^strunk_": missing},
		alert: "StrunkNotScraped", summary: "No process shows metrics of strunk."},
	{name: "one process cut off", reason: "the others see everything", instances: "2",
		series: map[string]string{"^strunk_": missing, "strunk_up": "0"}, alert: "StrunkProcessCutOff",
		summary: "1 processes cannot ask the database, others can; one is web-2."},
	{name: "no process runs", reason: "all that follows from it is silent",
		series: map[string]string{`check="(relay|promoter|rescue|scheduler|partitions)"`: "2",
			`check="(reaper|counter)"`: "1", "queue_workers": "0", "oldest_pending|lag_seconds": "0+120"},
		after:   map[string]string{"oldest_pending|lag_seconds": "5000"},
		alert:   "StrunkNothingRuns",
		summary: "No process runs the maintenance loops; nothing is promoted, rescued or relayed."},
	{name: "partitions", reason: "no task can be completed, so queues are behind",
		series:  map[string]string{`"partitions"`: "2", `"reaper"`: "1", "oldest_pending": "0+120"},
		alert:   "StrunkPartitionsMissing",
		summary: "Today's partition of delivered tasks is missing; no task can be completed."},
	{name: "relay", reason: "the loop is named", series: map[string]string{`"relay"`: "2"}, alert: "StrunkLoopsBehind",
		summary: "1 loops leave due work lying: relay "},
	{name: "a fleet is down", reason: "one page for its queues, with their number and the worst",
		series:  map[string]string{`workers.*"[abc]"`: "0", `oldest_pending.*"[ac]"`: "0+120", `oldest.*"b"`: "0+180"},
		alert:   "StrunkQueuesWithoutWorkers",
		summary: "Tasks wait in 3 queues that no process works; longest in b, for 1h 54m 0s."},
	{name: "slow workers", reason: "the same",
		series: map[string]string{`oldest_pending.*"a"`: "0+120", `oldest.*"b"`: "0+180"},
		alert:  "StrunkQueuesBehind", summary: "2 queues are behind; the worst is b, by 1h 54m 0s."},
	{name: "paused", reason: "they wait because they were told to",
		series: map[string]string{"oldest_pending|lag_seconds": "0+120", "paused": "1", "queue_workers": "0"}},
	{name: "attempts fail", reason: "before a task dies", series: map[string]string{`failed_total.*"a"`: "500+40",
		`done_total.*"a"`: "5000+8"},
		after: map[string]string{`failed_total.*"a"`: "2060", `done_total.*"a"`: "5312"}, alert: "StrunkTasksFail",
		summary: "In 1 queues most attempts fail; the worst is a, with 83.33% in 15 minutes."},
	{name: "some attempts fail", reason: "a third of many", series: map[string]string{`failed_total.*"a"`: "500+40",
		`done_total.*"a"`: "5000+80"},
		after: map[string]string{`failed_total.*"a"`: "2060", `done_total.*"a"`: "8120"}},
	{name: "attempts fail until tasks die", reason: "the deaths are told alone",
		series: map[string]string{`failed_total.*"a"`: "500+40", `dead_total.*"a"`: "88212+4"},
		after:  map[string]string{`failed_total.*"a"`: "2060", `dead_total.*"a"`: "88368"}, alert: "StrunkDeadLetters",
		summary: "32 tasks became dead letters in 15 minutes, most of them of a."},
	{name: "deaths", reason: "by the counter", series: map[string]string{`dead_total.*"a"`: "88212+4"},
		after: map[string]string{`dead_total.*"a"`: "88368"}, alert: "StrunkDeadLetters",
		summary: "32 tasks became dead letters in 15 minutes, most of them of a."},
	{name: "subscriber behind", reason: "it is told how far", series: map[string]string{`lag.*"indexer"`: "0+120"},
		alert: "StrunkSubscribersBehind", summary: "1 subscribers are behind; the worst is indexer, by 1h 16m 0s."},
	{name: "subscriber stopped", reason: "that it falls behind follows",
		series:  map[string]string{`(lag).*"indexer"`: "0+120", `restart.*"indexer"`: "1"},
		alert:   "StrunkSubscribersStopped",
		summary: "1 subscribers lost events and wait for a replay or a reset; one is indexer."},
	{name: "events given up", reason: "parked ones too", series: map[string]string{`parked_total.*"indexer"`: "7+2"},
		after: map[string]string{`parked_total.*"indexer"`: "85"}, alert: "StrunkEventsGivenUp",
		summary: "16 events were parked or became dead letters in 15 minutes, most of them of indexer."},
	{name: "destination away", reason: "that its subscriber falls behind follows",
		series: map[string]string{`lag.*"mailer"`: "0+120", "forwarder_failing": "1"}, alert: "StrunkForwardersFail",
		summary: "The destinations of 1 forwarders take nothing; longest of mailer, for 1h 16m 0s."},
	{name: "notifications", reason: "what holds them back holds the horizon back too",
		series: map[string]string{"notify": "0.6", "horizon": "20000000"}, alert: "StrunkNotifyQueueFills",
		summary: "PostgreSQL's queue of notifications is 60% full; when it is full, commits fail."},
	{name: "horizon", reason: "alone", series: map[string]string{"horizon": "20000000"}, alert: "StrunkHorizonHeldBack",
		summary: "An old transaction keeps PostgreSQL from cleaning up."},
	{name: "reaper", reason: "there is time", series: map[string]string{`"reaper"`: "1"}, alert: "StrunkReaperBehind",
		summary: "The reaper does not run or fails; tables grow, and partitions may soon be missing."},
	{name: "counts", reason: "numbers are old", series: map[string]string{`"counter"`: "1"}, alert: "StrunkCountsOld",
		summary: "Nobody counts large numbers; those that are shown are old."},
}

// values are a series' in the notation of promtool.
func (c cause) values(series, instance, usual string) string {
	pick := func(from map[string]string) string {
		value, longest := usual, ""
		for pattern, v := range from {
			if regexp.MustCompile(pattern).MatchString(series) && len(pattern) > len(longest) {
				value, longest = v, pattern
			}
		}
		return value
	}
	end := ends
	if c.lasts > 0 {
		end = begins + c.lasts
	}
	meanwhile, after := usual, pick(c.after)
	if c.instances == "" || c.instances == instance {
		meanwhile = pick(c.series)
	}
	settled := usual
	if strings.Contains(series, "_total") {
		settled = after
	}
	samples := func(minutes int) int { return minutes/step - 1 } // how often the first is followed by another
	return fmt.Sprintf("%sx%d %sx%d %sx%d %sx%d", usual, samples(begins), meanwhile, samples(end-begins), after,
		samples(8), settled, samples(over-end))
}

// promtoolTest is the test of one cause: of all alerts, at all times, one fires and says what it is.
func (c cause) promtoolTest() map[string]any {
	series := []any{}
	for name, usual := range well {
		for _, instance := range []string{"1", "2"} {
			labelled := strings.Replace(strings.Replace(name, "}", `,instance="web-`+instance+`"}`, 1), "{,", "{", 1)
			series = append(series, map[string]string{"series": labelled, "values": c.values(name, instance, usual)})
		}
	}
	fired := []any{}
	test := map[string]any{"name": c.name, "interval": interval, "input_series": series}
	if c.alert != "" {
		severity := severities[c.alert]
		fired = append(fired, map[string]any{"labels": fmt.Sprintf(`{alertname=%q}`, c.alert), "value": 1})
		test["alert_rule_test"] = []any{map[string]any{"eval_time": "106m", "alertname": c.alert,
			"exp_alerts": []any{map[string]any{"exp_labels": map[string]string{"severity": severity},
				"exp_annotations": map[string]string{"summary": c.summary, "runbook_url": runbookOf(c.alert)}}}}}
	}
	test["promql_expr_test"] = []any{
		map[string]any{"eval_time": fmt.Sprintf("%dm", over), "exp_samples": fired,
			"expr": fmt.Sprintf(`max by (alertname) (max_over_time(ALERTS{alertstate="firing"}[%dm]))`, over)},
		map[string]any{"eval_time": fmt.Sprintf("%dm", over), "exp_samples": []any{}, "expr": "ALERTS"},
	}
	return test
}

var interval = fmt.Sprintf("%dm", step)

const alertsFile = "../docs/alerts.yml"

var (
	anAlert    = regexp.MustCompile(`(?s)- alert: (\w+)\n.*?severity: (\w+)`)
	severities = map[string]string{}
)

func runbookOf(alert string) string {
	return "https://github.com/strunk-go/strunk/blob/main/docs/runbooks.md#" + strings.ToLower(alert)
}

func readAlerts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// One cause gives one alert, whatever follows from it.
func TestOneCauseOneAlert(t *testing.T) {
	t.Parallel()
	for _, alert := range anAlert.FindAllStringSubmatch(readAlerts(t), -1) {
		severities[alert[1]] = alert[2]
	}
	tests, covered := []any{}, map[string]bool{}
	for _, c := range causes {
		tests, covered[c.alert] = append(tests, c.promtoolTest()), true
	}
	for alert := range severities {
		if !covered[alert] {
			t.Errorf("no cause gives %s", alert)
		}
	}
	rules, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": interval,
		"tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "alerts_test.yml") // JSON is YAML
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", rules)
	promtool(t, "", "test", "rules", file)
}

func TestPromtoolLikesTheMetrics(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	seed(t, pool)
	_, body, _ := metrics(t, box, ops.Config{Insecure: true, Timeout: testkit.Soon})
	if !strings.Contains(body, "strunk_up 1\n") {
		t.Fatal(body)
	}
	promtool(t, body, "check", "metrics")
}

// promtool must have nothing to say.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := program.CommandContext(t.Context(), testkit.Program(t, "promtool"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
