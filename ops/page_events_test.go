package ops_test

import (
	"fmt"
	"testing"

	"github.com/strunk-go/strunk/ops"
)

// scriptTag is what a payload, a name or an error may hold.
const scriptTag = "<script>alert(1)</script>"

// The views of events show where subscribers are and what fails, and act through the API.
func TestViewsOfEvents(t *testing.T) {
	t.Parallel()
	const everything = "everything-secret-0123456789"
	h, box, pool := serve(t, ops.Config{Tokens: append(tokens(), ops.Token{Name: "olga", Secret: everything,
		Permissions: []ops.Permission{ops.PermissionRead, ops.PermissionPayloads, ops.PermissionChange}})})
	seedEntity(t, pool)
	exec(t, pool, `INSERT INTO public.strunk_retries (position, attempts, subscriber, entity_id, last_error)
		VALUES (1, 7, 'slow', 'A', $1)`, scriptTag)
	rita, olga := browse(t, h, readToken), browse(t, h, everything)
	shows(t, rita.see("events"), "the feed is at position 6", `href="subscriber?name=broken"`, "blocked at 1")
	view := rita.see("subscriber?name=slow")
	shows(t, view, "Position 1 has failed 7 times", "&lt;script&gt;", "Nothing is parked")
	hides(t, view, scriptTag, "Skip …", "Pause …", "Replay")
	shows(t, olga.see("subscriber?name=broken"), "boom &lt;b&gt;", "Retry all …", "Give up …",
		"Count what a replay repeats")
	shows(t, olga.act("confirm?op=pause_subscriber&subscriber=slow&back=subscriber%3Fname%3Dslow"), "Resume …")
	skip := "confirm?op=skip_event&subscriber=slow&position=1&back=subscriber%3Fname%3Dslow"
	shows(t, olga.see(skip), "passes the event at position 1", "strunk skip slow --position 1 --yes")
	olga.act(skip)
	if _, text, _ := olga.send("GET", "confirm?op=skip_event&subscriber=slow&position=2", ""); text != "" {
		shows(t, text, "does not block slow any more")
	}
	replay := "confirm?op=replay_subscriber&subscriber=broken&from=3&back=subscriber%3Fname%3Dbroken"
	shows(t, olga.see(replay), "goes back from position 6 to 3", "<b>4</b> in all", "strunk replay broken --from 3")
	shows(t, olga.act(replay), "the cursor was at 6", "Nothing is parked")
	reset := "confirm?op=reset_subscriber&subscriber=gone&back=events"
	shows(t, olga.see(reset), "Its cursor is at 6", "<b>6</b> in all")
	shows(t, olga.act(reset), "the cursor was at 6")
	if s, err := ops.SubscriberStats(t.Context(), box, "gone"); err != nil || s.Cursor != 0 {
		t.Errorf("not reset: %v, %+v", err, s)
	}
	dead := queryOne[int64](t, pool, `SELECT id FROM public.strunk_outbox_dead WHERE subscriber = 'gone'`)
	retry := fmt.Sprintf("confirm?op=retry_dead_events&subscriber=gone&ids=%d&back=events", dead)
	shows(t, olga.act(retry), "Retry dead letters: ")
	shows(t, rita.see("audit"), "retry_dead_events", "olga", "skip_event")
}

// An entity's states are shown to whom payloads are permitted, and through the redaction alone.
func TestViewOfAnEntity(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	seedEntity(t, pool)
	paul, rita := browse(t, h, payloadToken), browse(t, h, readToken)
	view := paul.see("entity?type=order&id=A")
	shows(t, view, "Version 3", "Version 1", "the first version", "&lt;script&gt;", "/note", "version 2 fails",
		"version 2 is a dead letter", "has handled all of them", "3 of 4, not slow", "1 of 4, not broken, gone, slow")
	hides(t, view, scriptTag)
	view = rita.see("entity?type=order&id=A")
	shows(t, view, "hidden from you", "Version 3")
	hides(t, view, "/note", "total")
	shows(t, rita.see("entity"), "Which one?")
	if status, _, _ := rita.send("GET", "entity?type=order&id=none", ""); status != 404 {
		t.Errorf("an entity that is not there: %d", status)
	}
}

// The views of what runs the installation, each with what it is there for.
func TestViewsOfTheInstallation(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	seed(t, pool)
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET status = 'claimed', worker_id = 7, claim_no = 1,
		claimed_at = now() - interval '1 hour' WHERE key = 'emails'`)
	rita, carl := browse(t, h, readToken), browse(t, h, changeToken)
	shows(t, rita.see("processes"), "web-1/42", "emails", "1h", `href="task?id=1"`)
	shows(t, rita.see("processes?queue=sms"), "No process works this queue")
	shows(t, rita.see("contracts"), "order", "1.0", "1.1", "backward")
	shows(t, rita.see("contract?subject=order"), "/title", "strunk schema diff order 1.0 1.1", "indexer",
		"without a version")
	shows(t, rita.see("contract?subject=order&to=1.0"), "Version 1.0 is the first")
	shows(t, rita.see("database"), "PostgreSQL", "relay", "strunk_outbox_tasks", "horizon")
	view := rita.see("schedules")
	shows(t, view, "daily", "every 1d", "reports")
	hides(t, view, "Run now …")
	shows(t, carl.see("confirm?op=run_schedule&schedule=daily&back=schedules"), "strunk schedules run daily")
	carl.act("confirm?op=run_schedule&schedule=daily&back=schedules")
	if n := queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_outbox_tasks WHERE key = 'reports'`); n != 1 {
		t.Errorf("%d tasks were enqueued", n)
	}
	shows(t, carl.act("confirm?op=disable_schedule&schedule=daily&back=schedules"), "disabled", "Enable …")
	shows(t, carl.act("confirm?op=enable_schedule&schedule=daily&back=schedules"), "Disable …")
	hides(t, carl.act("confirm?op=remove_schedule&schedule=daily&back=schedules"), `id="sch-daily"`)
	shows(t, rita.see("audit?actor=carl&action=remove_schedule"), "daily", "remove_schedule")
	shows(t, rita.see("audit?actor=nobody"), "Nothing like that")
}
