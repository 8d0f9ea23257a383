package ops_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/ops"
)

var rowsShown = regexp.MustCompile(`<tr id="t-(\d+)"`)

func TestTasksAreListedFilteredAndPaged(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	const script = `<script>alert(1)</script>`
	die(t, pool, "emails", `{}`, "smtp: "+script, 3)
	die(t, pool, "sms", `{}`, "no route", 60)
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}')`)
	carl, rita := browse(t, h, changeToken), browse(t, h, readToken)
	list := carl.see("tasks?status=dead&queue=emails")
	shows(t, list, "smtp: &lt;script&gt;", "Retry …", "Retry all …", `aria-current="page">dead`)
	shows(t, list, "All 3 that match")
	hides(t, list, script, "no route", "pending</td>")
	hides(t, carl.see("tasks?status=dead&queue=emails&error=smtp"), "All 3") // only looking at all of them would tell
	if n := len(rowsShown.FindAllString(list, -1)); n != 3 {
		t.Errorf("%d rows: %s", n, list)
	}
	hides(t, rita.see("tasks?status=dead"), "Retry …", "Retry all …", `type="checkbox"`)
	first := rita.see("tasks?status=dead&queue=sms")
	next := regexp.MustCompile(`rel="next" href="([^"]*)"`).FindStringSubmatch(first)
	if next == nil {
		t.Fatalf("no next page in %s", first)
	}
	second := rita.see(unescape.Replace(next[1]))
	if a, b := rowsShown.FindAllString(first, -1), rowsShown.FindAllString(second, -1); len(a) != 50 || len(b) != 10 ||
		strings.Contains(first, b[0]) {
		t.Errorf("%d and %d rows", len(a), len(b))
	}
	shows(t, rita.see("tasks"), "pending</td>")
	shows(t, rita.see("tasks?status=scheduled"), "No task matches")
	if status, _, _ := rita.send("GET", "tasks?payload_contains=%7B%7D", ""); status != http.StatusForbidden {
		t.Errorf("a reader searches payloads: %d", status)
	}
	if status, _, _ := rita.send("GET", "tasks?quue=x", ""); status != http.StatusBadRequest {
		t.Errorf("a misspelt filter: %d", status)
	}
}

func TestSelectedTasksAreRetriedAndDeleted(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	first := die(t, pool, "sms", `{}`, "no route", 5)
	carl := browse(t, h, changeToken)
	ids := "&ids=" + str(first) + "&ids=" + str(first+1)
	shows(t, carl.see("confirm?op=retry_dead_letters&status=dead"+ids), "<b>2</b> in all",
		"strunk retry "+str(first)+" "+str(first+1))
	shows(t, carl.act("confirm?op=retry_dead_letters&status=dead"+ids+"&back=tasks"), "Retry: 2 changed",
		`id="t-`+str(first))
	gone := "confirm?op=delete_tasks&ids=" + str(first+2) + "&ids=" + str(first+3) + "&back=tasks"
	form := carl.form(gone)
	form.Set("typed", "3")
	if status, text, _ := carl.send("POST", "do", form.Encode()); status != http.StatusForbidden ||
		!strings.Contains(text, "nothing was done") {
		t.Errorf("deleted though the number was wrong: %d %s", status, text)
	}
	shows(t, carl.act(gone, "typed", "2"), "Delete: 2 tasks changed")
	if q, err := ops.QueueStats(t.Context(), box, "sms"); err != nil || q.Pending.N != 2 || q.Dead.N != 1 {
		t.Errorf("%+v %v", q, err)
	}
	if status, _, _ := carl.send("GET", "confirm?op=retry_dead_letters", ""); status != http.StatusBadRequest {
		t.Errorf("nothing was selected: %d", status)
	}
}

// The task's view shows what its status allows, and each action does it.
func TestTaskActions(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{TraceURL: "https://traces.example/?id={trace}&all=1"})
	ids := oneOfEach(t, pool)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, id := range map[string]string{"dead": trace, "pending": `"><script>alert(1)</script>xxxxx`} {
		exec(t, pool, `UPDATE public.strunk_outbox SET metadata = json_build_object('traceparent', $2::text)
			WHERE id = $1`, ids[name], "00-"+id+"-00f067aa0ba902b7-01")
	}
	carl, rita := browse(t, h, changeToken), browse(t, h, readToken)
	status := func(id int64) string {
		t.Helper()
		d, err := ops.Task(t.Context(), box, id)
		if err != nil {
			t.Fatal(err)
		}
		return string(d.Status)
	}
	for name, want := range map[string][]string{"claimed": {"Cancel …"}, "dead": {"Retry …", "Delete …"},
		"scheduled": {"Run now …", "Reschedule …", "Change the priority …", "Discard …"}, "delivered": nil} {
		view := carl.see("task?id=" + str(ids[name]))
		shows(t, view, want...)
		if want == nil {
			hides(t, view, "confirm?op=")
		}
		hides(t, rita.see("task?id="+str(ids[name])), "confirm?op=")
	}
	shows(t, carl.see("task?id="+str(ids["dead"])), "no route", "attempt 12 failed", "a stack", "hidden from you",
		"strunk show "+str(ids["dead"]))
	shows(t, carl.see("task?id="+str(ids["dead"])), `<a href="https://traces.example/?id=`+trace+`&amp;all=1"`)
	hides(t, carl.see("task?id="+str(ids["pending"])), "traces.example", "<script>alert")
	shows(t, browse(t, h, payloadToken).see("task?id="+str(ids["scheduled"])), "ann", "acme", "it is due in")
	link := func(op string, id int64) string {
		return "confirm?op=" + op + "&ids=" + str(id) + "&back=task%3Fid%3D" + str(id)
	}
	shows(t, carl.act(link("set_priority", ids["scheduled"])+"&priority=5", "priority", "2"), "<dt>Priority</dt><dd>2<")
	shows(t, carl.act(link("reschedule_tasks", ids["scheduled"]), "due_at", "2099-01-31T15:04"), "2099-01-31 15:04:00")
	carl.act(link("run_tasks_now", ids["scheduled"]))
	if got := status(ids["scheduled"]); got != "pending" {
		t.Errorf("run now: %s", got)
	}
	carl.act("confirm?op=cancel_task&id="+str(ids["pending"]), "reason", "by mistake")
	carl.act(link("discard_tasks", ids["scheduled"]))
	carl.act(link("retry_dead_letters", ids["discarded"]) + "&status=discarded")
	for name, want := range map[string]string{"pending": "cancelled", "scheduled": "discarded",
		"discarded": "pending"} {
		if got := status(ids[name]); got != want {
			t.Errorf("the %s task is %s, want %s", name, got, want)
		}
	}
	if code, text, _ := carl.send("GET", "task?id=999999", ""); code != 404 || !strings.Contains(text, "not found") {
		t.Errorf("no such task: %d %s", code, text)
	}
}

// A bulk job is previewed, started, stopped and resumed from the page; a job of everything must be meant.
func TestBulkJobsOnThePage(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	die(t, pool, "sms", `{}`, "no route", 7)
	carl := browse(t, h, changeToken)
	const start = "confirm?op=job_delete&status=dead&queue=sms&back=jobs"
	shows(t, carl.see(start), "<b>7</b> in all", "strunk jobs start delete --status dead --queue sms --yes<",
		"Type 7 to confirm")
	const due = "&due_at=2099-01-31T15:04"
	for query, command := range map[string]string{ // what only the form can say is a word in capitals
		"job_reschedule&queue=sms":               "jobs start reschedule --queue sms --at TIME",
		"job_reschedule&queue=sms" + due:         "jobs start reschedule --queue sms --at 2099-01-31T15:04:00Z",
		"job_set_priority&queue=sms":             "jobs start priority --queue sms --to PRIORITY",
		"reschedule_tasks&ids=1" + due + ":05Z":  "reschedule 1 --at 2099-01-31T15:04:05Z",
		"set_priority&ids=1&ids=2&priority=3":    "priority 1 2 --to 3",
		"set_job_rate&id=4":                      "jobs rate 4 --to RATE",
		"hold_queue&queue=sms&customer_key=acme": "holds set sms --for DURATION --key acme",
		"hold_queue&queue=sms&for_seconds=1h":    "holds set sms --for 1h",
	} {
		shows(t, carl.see("confirm?op="+query), "<pre dir=\"auto\">strunk "+command+"<")
	}
	view := carl.act(start, "typed", "7", "per_second", "0.5", "reason", "test data")
	shows(t, view, "Delete all that match: the job is running", "delete: queue sms, status dead", "test data",
		"Stop …", "0.5/s", "by <span dir=\"auto\">carl")
	jobs, err := ops.Jobs(t.Context(), box, ops.JobFilter{})
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%+v %v", jobs, err)
	}
	id := str(jobs[0].ID)
	shows(t, carl.act("confirm?op=stop_job&id="+id+"&back=job%3Fid%3D"+id), "stopped", "Resume …")
	shows(t, carl.act("confirm?op=set_job_rate&id="+id+"&back=job%3Fid%3D"+id, "per_second", "2"), "2/s")
	shows(t, carl.act("confirm?op=resume_job&id="+id+"&back=jobs"), `id="j-`+id, "running")
	form := carl.form("confirm?op=job_cancel")
	if status, text, _ := carl.send("POST", "do", form.Encode()); status != http.StatusBadRequest ||
		!strings.Contains(text, "give all") {
		t.Errorf("a job of everything that nobody meant: %d %s", status, text)
	}
}
