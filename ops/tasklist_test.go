package ops_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// Each filter finds what it says, in every status, and nothing else.
func TestListFilters(t *testing.T) {
	t.Parallel()
	_, box, pool := serve(t, ops.Config{})
	ids := oneOfEach(t, pool)
	mail := queryOne[int64](t, pool, `SELECT public.strunk_enqueue('mail', '{"to": "bob", "n": 7}',
		dedup_key => 'welcome', metadata => '{"tenant": "acme"}')`)
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET created_at = now() - interval '2 hours',
		last_error = 'timeout after 3s' WHERE id = $1`, mail)
	yesterday := queryOne[int64](t, pool, `SELECT nextval('public.strunk_outbox_id_seq')`)
	exec(t, pool, `SELECT public.strunk_ensure_task_partition((now() AT TIME ZONE 'UTC')::date - 1)`)
	exec(t, pool, `INSERT INTO public.strunk_outbox (id, seq, created_at, finished_at, status, kind, key, payload)
		SELECT $1, $1, now() - interval '1 day', now() - interval '1 day', 'delivered', 'task', 'mail',
			'{"to": "ann"}'`, yesterday)
	for _, c := range []struct {
		name, reason string
		f            ops.TaskFilter
		want         []int64
	}{
		{"none", "all that wait or run, the newest first", ops.TaskFilter{},
			[]int64{mail, ids["scheduled"], ids["pending"], ids["claimed"]}},
		{"queue", "of a waiting task", ops.TaskFilter{Queue: "mail"}, []int64{mail}},
		{"pending", "one of those statuses", ops.TaskFilter{Status: "pending"}, []int64{mail, ids["pending"]}},
		{"claimed", "one of those statuses", ops.TaskFilter{Status: "claimed"}, []int64{ids["claimed"]}},
		{"dead", "without dead letters of subscribers", ops.TaskFilter{Status: "dead"}, []int64{ids["dead"]}},
		{"dead of a queue", "by the index of the queue", ops.TaskFilter{Status: "dead", Queue: "sms"},
			[]int64{ids["dead"]}},
		{"dead of another queue", "there are none", ops.TaskFilter{Status: "dead", Queue: "mail"}, nil},
		{"cancelled", "not discarded", ops.TaskFilter{Status: "cancelled"}, []int64{ids["cancelled"]}},
		{"discarded of a queue", "not cancelled", ops.TaskFilter{Status: "discarded", Queue: "sms"},
			[]int64{ids["discarded"]}},
		{"delivered", "the newest day first", ops.TaskFilter{Status: "delivered"},
			[]int64{ids["delivered"], yesterday}},
		{"delivered of a queue", "in any day", ops.TaskFilter{Status: "delivered", Queue: "mail"}, []int64{yesterday}},
		{"delivered by payload", "in any day", ops.TaskFilter{Status: "delivered",
			Payload: json.RawMessage(`{"to":"ann"}`)}, []int64{ids["delivered"], yesterday}},
		{"customer key", "as a whole", ops.TaskFilter{CustomerKey: "acme", Status: "pending"}, []int64{ids["pending"]}},
		{"part of a key", "as a whole", ops.TaskFilter{CustomerKey: "acm"}, nil},
		{"dedup key", "as a whole", ops.TaskFilter{DedupKey: "welcome"}, []int64{mail}},
		{"metadata", "contained", ops.TaskFilter{Metadata: json.RawMessage(`{"tenant":"acme"}`)}, []int64{mail}},
		{"payload", "contained", ops.TaskFilter{Payload: json.RawMessage(`{"n":7}`)}, []int64{mail}},
		{"payload of nobody", "another value", ops.TaskFilter{Payload: json.RawMessage(`{"n":8}`)}, nil},
		{"error", "contained", ops.TaskFilter{Error: "after 3"}, []int64{mail}},
		{"error group", "without its numbers", ops.TaskFilter{Fingerprint: "timeout after ?"}, []int64{mail}},
		{"old", "by the enqueue", ops.TaskFilter{OlderThan: time.Hour}, []int64{mail}},
		{"young", "by the enqueue", ops.TaskFilter{YoungerThan: time.Hour, Status: "pending"}, []int64{ids["pending"]}},
		{"two at once", "all must match", ops.TaskFilter{OlderThan: time.Hour, Queue: "sms"}, nil},
	} {
		list, err := ops.Tasks(t.Context(), box, c.f)
		if err != nil || list.Next != "" {
			t.Errorf("%s: %v, next %q", c.name, err, list.Next)
		}
		if diff := cmp.Diff(c.want, listedIDs(list.Tasks)); diff != "" {
			t.Errorf("%s (%s): %s", c.name, c.reason, diff)
		}
		checkPages(t, box, c.name, c.f, c.want)
	}
	for name, f := range map[string]ops.TaskFilter{"status": {Status: "retired"}, "limit": {Limit: ops.MaxLimit + 1},
		"examine": {Examine: -1}, "JSON": {Payload: json.RawMessage(`{`)}, "position": {After: "here"},
		"day": {After: "x/1", Status: "delivered"}, "position of another list": {After: "20260101/7"},
		"age": {OlderThan: -1}} {
		if _, err := ops.Tasks(t.Context(), box, f); !errors.Is(err, ops.ErrInvalid) {
			t.Errorf("a bad %s: %v", name, err)
		}
	}
}

// checkPages asks for one task at a time, and has each look at one task at a time: what is found is the same.
func checkPages(t *testing.T, box *outbox.Box, name string, f ops.TaskFilter, want []int64) {
	t.Helper()
	f.Limit, f.Examine = 1, 1
	var got []int64
	for range 100 {
		list, err := ops.Tasks(t.Context(), box, f)
		if err != nil || list.Examined > 1 {
			t.Errorf("%s: a page has looked at %d tasks: %v", name, list.Examined, err)
			return
		}
		got = append(got, listedIDs(list.Tasks)...)
		if f.After = list.Next; f.After == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, page by page: %s", name, diff)
	}
}

func listedIDs(tasks []ops.ListedTask) (ids []int64) {
	for _, task := range tasks {
		ids = append(ids, task.ID)
	}
	return ids
}

// A document that JSON allows and the database cannot hold is refused as the caller's mistake, in a listing and in the
// preview of a bulk job.
func TestDocumentsThatCannotBeComparedAreRefused(t *testing.T) {
	t.Parallel()
	_, box, _ := serve(t, ops.Config{})
	for _, doc := range []string{`"\u0000"`, `{"\u0000": 1}`, `"\ud800"`, `["\udc00\ud800"]`, `1e999999`, `{`} {
		for name, f := range map[string]ops.TaskFilter{"payload": {Queue: "q", Payload: json.RawMessage(doc)},
			"metadata": {Queue: "q", Metadata: json.RawMessage(doc)}} {
			if _, err := ops.Tasks(t.Context(), box, f); !errors.Is(err, ops.ErrInvalid) {
				t.Errorf("tasks with the %s %s: %v; want ErrInvalid", name, doc, err)
			}
			job := ops.NewJob{Act: ops.ActCancel, Filter: f}
			if _, err := ops.PreviewJob(t.Context(), box, job); !errors.Is(err, ops.ErrInvalid) {
				t.Errorf("a job for the %s %s: %v; want ErrInvalid", name, doc, err)
			}
		}
	}
}

// Over HTTP the same filters are parameters; to search documents takes the permission to read them.
func TestListTasksOverHTTP(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	ids := oneOfEach(t, pool)
	for query, want := range map[string][]int64{
		"?queue=sms&status=scheduled": {ids["scheduled"]}, "?status=dead&error=route": {ids["dead"]},
		"?customer_key=acme&status=cancelled&younger_than_seconds=3600&limit=5&examine=9": {ids["cancelled"]},
		"?older_than_seconds=3600": nil, "?fingerprint=no+route&status=dead": {ids["dead"]}, "?dedup_key=x": nil,
	} {
		if diff := cmp.Diff(want, listedIDs(get[ops.TaskList](t, h, "/v1/tasks"+query).Tasks)); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	for query, status := range map[string]int{"?payload_contains=" + url.QueryEscape(`{"to":"ann"}`): 403,
		"?metadata_contains=" + url.QueryEscape(`{"tenant":"acme"}`): 403, "?examine=all": 400,
		"?status=retired": 400} {
		got, body, _ := do(t, h, request{method: "GET", path: "/v1/tasks" + query, token: readToken})
		if got != status {
			t.Errorf("%s: %d %s; want %d", query, got, body, status)
		}
	}
}

// A listing costs what it may look at, however few tasks match: it says how far it has come.
func TestListEndsWhereItMay(t *testing.T) {
	t.Parallel()
	_, box, pool := serve(t, ops.Config{})
	last := manyTasks(t, pool, 500)
	list, err := ops.Tasks(t.Context(), box, ops.TaskFilter{Queue: "rare", Examine: 300})
	if err != nil || len(list.Tasks) != 0 || list.Examined != 300 || list.Next != fmt.Sprint(last-299) {
		t.Errorf("%+v, %v", list, err)
	}
	list, err = ops.Tasks(t.Context(), box, ops.TaskFilter{Queue: "rare", After: list.Next})
	if err != nil || len(list.Tasks) != 1 || list.Examined != 201 || list.Next != "" {
		t.Errorf("%+v, %v", list, err)
	}
}

// manyTasks enqueues one task of the queue rare and then n of another, and returns the id of the last.
func manyTasks(t *testing.T, pool *pgxpool.Pool, n int) int64 {
	t.Helper()
	exec(t, pool, `SELECT public.strunk_enqueue('rare')`)
	return queryOne[int64](t, pool, `SELECT max(public.strunk_enqueue('frequent')) FROM generate_series(1, $1)`, n)
}
