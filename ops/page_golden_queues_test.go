package ops

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"
)

func TestGoldenQueues(t *testing.T) {
	t.Parallel()
	show := func(query string, rows ...queueRow) queuesShown {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		return queuesShown{Q: q.Get("q"), State: State(q.Get("state")), States: queueStates, Heads: sortHeads(q),
			Rows: rows, Total: len(rows)}
	}
	busy := show("sort=oldest", goldenQueue("invoices", 62830, 339, 0, StateNoWorker),
		goldenQueue("emails", 7904, 100, 1, StateBehind))
	busy.Next = "queues?from=100&sort=oldest"
	busy.AllPaused = &Pause{Since: goldenNow, By: "ann", Reason: "maintenance"}
	checkGolden(t, "queues", map[string]any{"empty": show(""), "busy": busy,
		"hostile": show("state=idle&q="+url.QueryEscape(hostileName), goldenQueue(hostileName, 1, 1, 1, StateIdle),
			goldenQueue(longName, 1, 1, 1, StateIdle), goldenQueue(arabicRTL, 1, 1, 1, StateIdle))})
}

func goldenGroup(name, queue string) ErrorGroup {
	return ErrorGroup{Fingerprint: name, Example: panicPrefix + name, Failures: 4957, FirstAt: goldenNow,
		LastAt: goldenNow, LastHour: 7, HourBefore: 3, Queues: []string{queue, "b", "c"}, Subscribers: []string{queue}}
}

func TestGoldenQueue(t *testing.T) {
	t.Parallel()
	show := func(name string, state State) queueShown {
		v := queueShown{queueRow: goldenQueue(name, 12, 3, 1, state), Span: "hour", Last: "last minute",
			Plots: trends{}.plots(), Limits: Limits{Queue: name}}
		v.Actions = queueLinks(v)
		return v
	}
	busy, running := show("emails", StatePaused), 5
	busy.PausedAt, busy.PausedBy, busy.PauseReason = &goldenNow, "ann", "maintenance"
	busy.Limits.LimitValues = LimitValues{Running: &running, RunningPerKey: 2, FIFO: true, HoldDead: true,
		Rate: &Rate{Count: 100, Per: Duration{time.Minute}, Burst: 20}}
	busy.Delivered = &Count{N: 1000, Precision: AtLeast}
	fill := func(v *queueShown, text string) {
		v.Workers = []Worker{{ID: 7, Queue: v.Name, Host: text, PID: 42, Release: text, Concurrency: 8,
			StartedAt: goldenNow, SilentFor: Duration{time.Second}, Silent: true}}
		v.Errors = []ErrorGroup{goldenGroup(text, v.Name)}
		v.Holds = []Hold{{Queue: v.Name, CustomerKey: text, Since: goldenNow, Until: goldenNow, HeldBy: text,
			Reason: text}}
		v.KeyLimits = []KeyLimits{{Queue: v.Name, CustomerKey: text, Weight: 3}, {Queue: v.Name, CustomerKey: "acme",
			Running: 20, Rate: &Rate{Count: 100, Per: micros(60_000_000), Burst: 10}}}
		v.Running = []ListedTask{{ID: 1, Queue: v.Name, ClaimedAt: &goldenNow, CustomerKey: text, MaxAttempts: 3}}
		v.Actions = queueLinks(*v)
	}
	hostile := show(hostileName, StateNoWorker)
	fill(&busy, "web")
	fill(&hostile, hostileName)
	empty := queueShown{queueRow: queueRow{Queue: Queue{Name: "new"}, State: "idle"}, Span: "2d", Last: "last hour",
		Plots: trends{}.plots()}
	empty.Actions = queueLinks(empty)
	checkGolden(t, "queue", map[string]any{"empty": empty, "busy": busy, "hostile": hostile})
}

func TestGoldenErrors(t *testing.T) {
	t.Parallel()
	show := func(query url.Values, groups ...ErrorGroup) errorsShown {
		v := errorsShown{Of: query.Get("of"), Tabs: []tab{{"a day", "errors?", true}}}
		for _, g := range groups {
			v.Groups = append(v.Groups, newErrorRow(g, []float64{1, 2, 3}, query, goldenNow))
		}
		return v
	}
	open := func(v errorsShown, g ErrorGroup, tasks ...ListedTask) errorsShown {
		of := url.Values{"status": {"dead"}, "fingerprint": {g.Fingerprint}}
		v.Chosen = &errorChosen{ErrorGroup: g, Newest: tasks, More: "tasks?" + of.Encode(), Actions: errorLinks(of)}
		return v
	}
	died := goldenTask(43, "emails", "no route", "dead")
	died.FinishedAt = &goldenNow
	group, bad := goldenGroup("dial tcp ?: refused", "emails"), goldenGroup(hostileName, longName)
	bad.Example = arabicRTL
	checkGolden(t, "errors", map[string]any{"empty": show(url.Values{}),
		"busy": open(show(url.Values{"group": {group.Fingerprint}}, group), group, died),
		"hostile": open(show(url.Values{"of": {hostileName}}, bad), bad,
			goldenTask(1, hostileName, hostileName, "dead"))})
}

func TestGoldenSearch(t *testing.T) {
	t.Parallel()
	checkGolden(t, "search", map[string]any{"empty": searchShown{},
		"busy": searchShown{Q: "emails", Further: further("emails"), Groups: []foundGroup{{"Queues", []found{
			{"emails", "queue?name=emails", ""}, {"emails.bulk", "queue?name=emails.bulk", ""}}}}},
		"hostile": searchShown{Q: hostileName, Further: further(hostileName), Groups: []foundGroup{{"Errors", []found{
			{hostileName, "errors?group=x", arabicRTL}, {longName, "task?id=1", hostileName}}}}}})
}

// What the form of limits begins with is what its fields become again.
func TestLimitsFormIsWhatTheLimitsAre(t *testing.T) {
	t.Parallel()
	n := 5
	want := LimitValues{Running: &n, RunningPerKey: 2, Rate: &Rate{Count: 100, Per: Duration{90 * time.Second},
		Burst: 3},
		FIFO: true}
	a, err := actionOf("set_limits")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := a.body(operation{path: "/v1/queues/{queue}/set-limits", body: want}, want.form())
	if err != nil {
		t.Fatal(err)
	}
	var got LimitValues
	if err := json.Unmarshal(doc, &got); err != nil || *got.Running != 5 || *got.Rate != *want.Rate || !got.FIFO ||
		got.RunningPerKey != 2 || got.HoldDead || got.RatePerKey != nil {
		t.Errorf("%s: %+v %v", doc, got, err)
	}
}

// Without a limit the command would show the limits, and change none.
func TestLimitsCommandSetsALimit(t *testing.T) {
	t.Parallel()
	for want, form := range map[string]url.Values{
		"strunk limits emails --running RUNNING": {},
		"strunk limits emails --running 5":       {"running": {"5"}},
		"strunk limits emails --fifo":            {"fifo": {"true"}},
	} {
		form.Set("queue", "emails")
		if got := command(limitsCommand(form)); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

// Each action of the page is one of the API's, with a form that the API understands.
func TestActionsAreOperations(t *testing.T) {
	t.Parallel()
	s := &server{}
	paths := map[string]string{}
	for _, o := range s.operations() {
		paths[o.id] = o.path
	}
	for _, a := range actions() {
		if paths[a.op] == "" {
			t.Errorf("%q: the API has no such operation", a.op)
		}
		if a.title == "" || a.typed && !a.danger {
			t.Errorf("%q has no title, or asks for a number without danger", a.op)
		}
	}
	for _, v := range views() {
		if pageTemplates[v.template] == nil {
			t.Errorf("the view %q has no template", v.path)
		}
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{0: "0s", 420 * time.Millisecond: "0.4s", 12 * time.Second: "12s",
		59600 * time.Millisecond: "1m", 90 * time.Second: "1m 30s", 14 * time.Minute: "14m", 125 * time.Minute: "2h 5m",
		76 * time.Hour: "3d 4h"} {
		if got := age(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1\u202f000", -1234567: "-1\u202f234\u202f567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "–", 1: "1/min", 30: "0.5/s", 240: "4.0/s", 2460: "41/s",
		60000: "1000/s"} {
		if got := perSecond(n, time.Minute); got != want {
			t.Errorf("%d in a minute is %q, want %q", n, got, want)
		}
	}
}
