package ops

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Names as they must not break a view: markup, very long, from right to left.
const hostileName = `<script>alert("x")</script>&'`

var (
	longName  = strings.Repeat("a-very-long-name.", 11) + "end"
	arabicRTL = "طابور الفواتير"
	goldenNow = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
)

// checkGolden renders a view's main element in several states, and compares with testdata/page/<view>-<state>.html;
// with -update it writes them. Every view has the states empty, busy and hostile.
func checkGolden(t *testing.T, view string, states map[string]any) {
	t.Helper()
	for _, state := range []string{"empty", "busy", "hostile"} {
		data, there := states[state]
		if !there {
			t.Fatalf("%s: the state %s is missing", view, state)
		}
		checkGoldenState(t, view, state, data)
	}
}

func checkGoldenState(t *testing.T, view, state string, data any) {
	t.Helper()
	page := &screen{Title: view, Installation: "shop", Actor: "carl", MayChange: true, MayPayloads: true, At: goldenNow,
		Self: view, Token: "the-token", Data: data, template: view}
	var got bytes.Buffer
	if err := pageTemplates[view].ExecuteTemplate(&got, "main", page); err != nil {
		t.Fatalf("%s, %s: %v", view, state, err)
	}
	text := got.String()
	if strings.Contains(text, "<script") || strings.Contains(text, " style=") || strings.Contains(text, "ZgotmplZ") {
		t.Errorf("%s, %s: there is a script, a style or what the template refused in\n%s", view, state, text)
	}
	if strings.Count(text, "<h1") != 1 {
		t.Errorf("%s, %s: %d headings of the first level", view, state, strings.Count(text, "<h1"))
	}
	file := filepath.Join("testdata", "page", view+"-"+state+".html")
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) //nolint:gosec // of testdata
	if err != nil || string(want) != text {
		t.Errorf("%s differs, or is missing (%v): run the test with -update and look at the difference. Got\n%s", file,
			err, text)
	}
}

func someCount(n int64) Count {
	seconds := Duration{12 * time.Second}
	if n > ListCountCap {
		return Count{N: n, Precision: Counted, Age: &seconds}
	}
	return Count{N: n, Precision: Exact}
}

func goldenQueue(name string, waiting, dead int64, workers int64, state State) queueRow {
	since := goldenNow.Add(-14 * time.Minute)
	q := Queue{Name: name, Pending: someCount(waiting), Claimed: someCount(workers), Dead: someCount(dead),
		Workers: workers, Concurrency: 6 * workers, WaitingSince: &since, WaitingFor: Duration{14 * time.Minute}}
	trend := queueTrend{Done: []float64{3, 1, 4, 1, 5, 9, 2, 6}, Total: QueueStep{Done: 31, FailedShare: 0.08}}
	return queueRow{Queue: q, Queued: trend, Over: 8 * time.Minute, State: state, Class: state.class()}
}

func TestGoldenNow(t *testing.T) {
	t.Parallel()
	busy := state{facts: facts{now: goldenNow, queues: []Queue{
		goldenQueue("invoices", 62830, 339, 0, StateNoWorker).Queue,
		goldenQueue("emails", 7904, 100, 1, StateBehind).Queue, goldenQueue("sms", 4269, 3, 1, StatePaused).Queue}}}
	paused := goldenNow.Add(-20 * time.Minute)
	busy.queues[2].PausedAt, busy.queues[2].PausedBy, busy.queues[2].PauseReason = &paused, "oncall", "maintenance"
	busy.subscribers = []Subscriber{{Name: "ledger", Blocked: &Blocked{Position: 921, Attempts: 3, Error: "rejected"}}}
	busy.overall.Dead = Count{N: 1000, Precision: AtLeast}
	busy.fresh = []ErrorGroup{{Example: "dial tcp: connection refused"}}
	busy.report = Report{Checks: []Check{{CheckRelay, StatusOK, "fine"}, {CheckHorizon, StatusWarn, "an old session"}}}
	plots := newTrends([]countedStep{{goldenNow.Add(-2 * time.Minute), counted{enqueued: 60, done: 30}}},
		goldenNow.Add(-4*time.Minute), goldenNow, time.Minute).plots()
	limits := Thresholds{}.withDefaults()
	checkGolden(t, "now", map[string]any{
		"empty": nowShown{Over: "hour", Last: "last minute", Fine: fine(Report{}), Plots: trends{}.plots()},
		"busy": nowShown{Over: "hour", Last: "last minute", Fine: fine(busy.report), Plots: plots,
			Needs: busy.needs(limits), AllQueues: 3, Queues: []queueRow{
				goldenQueue("invoices", 62830, 339, 0, StateNoWorker),
				goldenQueue("emails", 7904, 100, 1, StateBehind), goldenQueue("sms", 4, 3, 1, StatePaused)}},
		"hostile": nowShown{Over: "2d", Last: "last hour", Plots: plots, Needs: []need{{"bad", hostileName, longName,
			"Show", "queues?state=no+worker", true}, {"calm", arabicRTL, hostileName, "Look", "events", false}},
			AllQueues: 300, Queues: []queueRow{
				goldenQueue(hostileName, 1, 0, 1, StateWorking), goldenQueue(longName, 0, 0, 0, StateIdle),
				goldenQueue(arabicRTL, 10, 1, 1, StateBehind)}},
	})
}

func TestGoldenConfirm(t *testing.T) {
	t.Parallel()
	many := Count{N: 4957, Precision: Exact}
	checkGolden(t, "confirm", map[string]any{
		"empty": confirmation{Op: "resume_all_queues", Title: "Resume all queues", Back: "./"},
		"busy": confirmation{Op: "start_job", Title: "Delete tasks", Danger: true, Expect: "4957", Back: "errors",
			Said: said{Text: "Dead letters are deleted for good.", Count: &many}, CLI: "strunk jobs start delete",
			Hidden: []hiddenField{{"act", "delete"}}, Asked: []askedField{{"reason", "Reason", "why", "", "text",
				true}}},
		"hostile": confirmation{Op: "pause_queue", Title: hostileName, CLI: command([]string{"pause", hostileName}),
			Said: said{Text: longName}, Back: "queue?name=%3Cscript%3E", Hidden: []hiddenField{{"queue", hostileName}},
			Asked: []askedField{{"reason", arabicRTL, hostileName, longName, "text", false}}},
	})
	checkGoldenState(t, "problem", "hostile", problemView{Problem{"invalid", hostileName}, 400, "./"})
}

// The navigation counts what is wrong and what waits for a decision, as exactly as it is known, and shows no zero.
func TestNavigationCounts(t *testing.T) {
	t.Parallel()
	age := Duration{12 * time.Second}
	st := state{overall: Overall{Dead: Count{N: 10582, Precision: Counted, Age: &age},
		Deliveries: Count{N: 1000, Precision: AtLeast}}}
	st.report = Report{Checks: []Check{{CheckHorizon, StatusWarn, "old"}, {CheckRelay, StatusFail, "late"}}}
	render := func(asked <-chan state) string {
		page := &screen{Nav: slices.Clone(navigation)}
		page.count(asked, Thresholds{})
		var got bytes.Buffer
		for _, e := range page.Nav {
			if err := pageTemplates["now"].ExecuteTemplate(&got, "nav-entry", e); err != nil {
				t.Fatal(err)
			}
		}
		return got.String()
	}
	asked := make(chan state, 1)
	asked <- st
	got := render(asked)
	const narrow = "\u202f"
	for _, want := range []string{
		`<a href="./">Now <span class="b bad">2<span class="said"> what is wrong</span></span></a>`,
		`<a href="queues">Queues</a>`,
		`>Errors <span class="b"><span title="counted 12s ago">10` + narrow + `582</span><span class="said"> dead`,
		`>Events <span class="b">1` + narrow + `000+<span class="said"> deliveries that failed, or wait`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	close(asked) // the database cannot be asked
	if got := render(asked); strings.Contains(got, "<span") {
		t.Errorf("counts of nothing: %s", got)
	}
}
