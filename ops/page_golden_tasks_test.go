package ops

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/strunk-go/strunk/queue"
)

func goldenTask(id int64, queueName, why string, status queue.Status) ListedTask {
	due := goldenNow.Add(-time.Minute)
	return ListedTask{ID: id, Queue: queueName, Status: status, Attempts: 2, MaxAttempts: 12, DueAt: &due,
		CreatedAt: goldenNow.Add(-26 * time.Hour), Error: why}
}

func TestGoldenTasks(t *testing.T) {
	t.Parallel()
	show := func(query string, tasks ...ListedTask) tasksShown {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f := TaskFilter{Status: queue.Status(q.Get("status")), Queue: q.Get("queue"), Error: q.Get("error")}
		return tasksShown{Tabs: tabs(q), Filter: filterFields(q, true), Status: q.Get("status"),
			TaskList: TaskList{Tasks: tasks, Examined: 10000}, Acts: selectedActs(q.Get("status")),
			All: matchingActs(q, f)}
	}
	busy := show("status=dead&queue=emails", goldenTask(43, "emails", "no route", queue.StatusDead),
		goldenTask(42, "emails", "time-out", queue.StatusDead))
	busy.Older, busy.Short, busy.Next = "tasks?after=42", true, "42"
	checkGolden(t, "tasks", map[string]any{"empty": show(""), "busy": busy,
		"hostile": show("error="+url.QueryEscape(hostileName), goldenTask(1, hostileName, hostileName,
			queue.StatusPending), goldenTask(2, longName, longName, queue.StatusClaimed), goldenTask(3, arabicRTL,
			arabicRTL, queue.StatusScheduled))})
}

func TestGoldenTask(t *testing.T) {
	t.Parallel()
	at := func(ago time.Duration) *time.Time { v := goldenNow.Add(-ago); return &v }
	show := func(d TaskDetails) taskShown {
		return taskShown{TaskDetails: d, Timeline: timeline(d), Actions: taskLinks(d), CLI: "strunk show 42"}
	}
	percent := 40
	busy := show(TaskDetails{ID: 42, Kind: KindTask, Queue: "emails", Status: queue.StatusDead, Attempts: 2,
		MaxAttempts: 2, CreatedAt: *at(time.Hour), ClaimedAt: at(time.Minute), FinishedAt: at(50 * time.Second),
		LastError: "no route", Percent: &percent, Message: "2 of 5", DedupKey: "order-7", Worker: 7,
		History: []queue.Attempt{{Number: 1, At: *at(30 * time.Minute), Error: "time-out", Worker: "web/1"},
			{Number: 2, At: *at(50 * time.Second), Error: "no route", Stack: "goroutine 1", Worker: "web/2"}}})
	busy.Shown, busy.Payload, busy.Metadata = true, json.RawMessage(`{"a":1}`), json.RawMessage(`{"k":"v"}`)
	busy.Result, busy.CustomerKey, busy.Trace = json.RawMessage(`[1]`), "acme", "4bf92f3577b34da6a3ce929d0e0e4736"
	hostile := show(TaskDetails{ID: 1, Kind: KindDelivery, EntityType: hostileName, EntityID: longName,
		Subscriber: arabicRTL, Status: queue.StatusScheduled, CreatedAt: goldenNow, DueAt: at(-time.Minute),
		Attempts:  1,
		LastError: hostileName, History: []queue.Attempt{{Number: 1, At: goldenNow, Error: hostileName,
			Stack: hostileName, Worker: longName}}})
	hostile.Shown, hostile.Payload = true, json.RawMessage(`"`+"<script>alert(1)</script>"+`"`)
	hostile.Why = []queue.Reason{{Text: hostileName}}
	checkGolden(t, "task", map[string]any{"busy": busy, "hostile": hostile,
		"empty": show(TaskDetails{ID: 42, Kind: KindTask, Queue: "emails", Status: queue.StatusPending,
			CreatedAt: goldenNow})})
}

func TestGoldenJobs(t *testing.T) {
	t.Parallel()
	rate := 20.0
	job := func(id int64, state JobState, filter, text string) Job {
		return Job{ID: id, State: state, Act: ActRetry, Filter: json.RawMessage(filter), Reason: text, StartedBy: text,
			StartedAt: goldenNow, ChangedAt: goldenNow, Done: 12345, Failed: 1, Skipped: 2, Examined: 20000,
			Position: 40, UntilID: 100, Process: text, LastError: text}
	}
	stopped := job(2, JobStopped, `{"queue":"emails","older_than_seconds":60}`, "carl")
	stopped.PerSecond, stopped.OneFirst = &rate, true
	bad := job(1, JobFailed, `{"queue":"<script>alert(1)</script>"}`, hostileName)
	checkGolden(t, "jobs", map[string]any{"empty": jobsShown{Tabs: []tab{{"all", "jobs?", true}}},
		"busy": jobsShown{Jobs: []jobRow{newJobRow(job(3, JobRunning, `{}`, "ann")), newJobRow(stopped)},
			Older: "jobs?after=2"},
		"hostile": jobsShown{Jobs: []jobRow{newJobRow(bad)}}})
	checkGolden(t, "job", map[string]any{"empty": newJobRow(Job{ID: 1, State: JobDone, StartedAt: goldenNow}),
		"busy": newJobRow(stopped), "hostile": newJobRow(bad)})
}
