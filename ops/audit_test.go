package ops_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/strunk-go/strunk/ops"
)

// The audit says who has changed what, why, and how many; what was refused or cut off is seen too.
func TestChangesAreNoted(t *testing.T) {
	t.Parallel()
	const everything = "everything-secret-0123456789"
	h, box, pool := serve(t, ops.Config{Tokens: append(tokens(), ops.Token{Name: "olga", Secret: everything,
		Permissions: []ops.Permission{ops.PermissionRead, ops.PermissionPayloads, ops.PermissionChange}})})
	seed(t, pool)
	post(t, h, "/v1/queues/emails/pause", `{"reason":"provider <down>"}`)
	post(t, h, "/v1/dead-letters/retry", `{"queue":"dead"}`)
	if status, _, _ := do(t, h, request{method: "POST", path: "/v1/subscribers/nobody/pause",
		token: changeToken}); status != http.StatusNotFound {
		t.Errorf("nobody was paused: %d", status)
	}
	if status, doc, _ := do(t, h, request{method: "POST", path: "/v1/jobs/start", token: everything,
		body: `{"act":"cancel","queue":"emails","payload_contains":{"card":"4242"}}`}); status != http.StatusOK {
		t.Errorf("no job was started: %d %s", status, doc)
	}
	note, err := ops.NoteChange(t.Context(), box, ops.NewChange{Actor: "ann@laptop", Action: "purge-dead",
		Target: "--queue dead", Reason: "old"})
	if err != nil {
		t.Fatal(err)
	}
	list := get[ops.ChangeRecordList](t, h, "/v1/audit")
	var got []string
	for _, r := range list.Changes {
		got = append(got, fmt.Sprintf("%s %s %s why=%q n=%d failed=%t ended=%t", r.Actor, r.Action, r.Target,
			r.Reason, r.Changed, r.Error != "", r.EndedAt != nil))
	}
	want := []string{
		`ann@laptop purge-dead --queue dead why="old" n=0 failed=false ended=false`,
		`olga start_job {"act":"cancel","queue":"emails","payload_contains":"hidden"} why="" n=1 failed=false ` +
			`ended=true`,
		`carl pause_subscriber nobody why="" n=0 failed=true ended=true`,
		`carl retry_dead_letters {"queue":"dead"} why="" n=3 failed=false ended=true`,
		`carl pause_queue emails {"reason":"provider \u003cdown\u003e"} why="provider <down>" n=1 failed=false ` +
			`ended=true`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if err := note.End(t.Context(), 3, errors.New("cut off")); err != nil {
		t.Fatal(err)
	}
	all, err := ops.ChangesMade(t.Context(), box, ops.ChangeRecordFilter{Actor: "ann@laptop"})
	if err != nil || len(all) != 1 || all[0].Changed != 3 || all[0].Error != "cut off" || all[0].EndedAt == nil {
		t.Errorf("%v, %+v", err, all)
	}
	before := all[0].At.UTC().Format(time.RFC3339Nano)
	if list := get[ops.ChangeRecordList](t, h, "/v1/audit?limit=1&before="+before); len(list.Changes) != 1 ||
		list.Changes[0].Action != "start_job" || list.Next == nil {
		t.Errorf("the page after: %+v", list)
	}
}
