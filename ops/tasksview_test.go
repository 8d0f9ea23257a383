package ops_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/ops"
)

// oneOfEach makes a task of each status, with customer key acme, and returns their ids by status.
func oneOfEach(t *testing.T, pool *pgxpool.Pool) map[string]int64 {
	t.Helper()
	exec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host)
		VALUES (7, 3600000, 1, 1, 'sms', 'web')`)
	put := func(queue, delay string) int64 {
		return queryOne[int64](t, pool, `SELECT public.strunk_enqueue($1, '{"to": "ann"}', delay => $2::interval,
			customer_key => 'acme')`, queue, delay)
	}
	ids := map[string]int64{"dead": die(t, pool, "sms", `{}`, "no route", 1)}
	for _, status := range []string{"claimed", "pending", "delivered", "cancelled", "discarded"} {
		ids[status] = put("sms", "0")
	}
	ids["scheduled"] = put("sms", "1 hour")
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET status = 'claimed', worker_id = 7, claim_no = 1,
		claimed_at = now(), admitted = true, slot = 1 WHERE id = ANY ($1)`, []int64{ids["claimed"], ids["delivered"]})
	exec(t, pool, `SELECT public.strunk_ensure_task_partitions()`)
	exec(t, pool, `SELECT public.strunk_complete(7, ARRAY[$1::bigint], ARRAY[1::bigint], true)`, ids["delivered"])
	exec(t, pool, `SELECT public.strunk_cancel($1)`, ids["cancelled"])
	exec(t, pool, `SELECT public.strunk_discard(ARRAY[$1::bigint], 'no longer needed')`, ids["discarded"])
	return ids
}

// What a person may change at psql does what it says, and what would break something is refused with a reason.
func TestTasksView(t *testing.T) {
	t.Parallel()
	_, _, pool := serve(t, ops.Config{})
	ids := oneOfEach(t, pool)
	for status, id := range ids {
		if got := queryOne[string](t, pool, `SELECT status FROM public.strunk_tasks WHERE id = $1`, id); got != status {
			t.Errorf("the %s task is %s in the view", status, got)
		}
	}
	for _, c := range []struct{ name, reason, sql, status, want, hint string }{
		{"insert", "it would have no seq", `INSERT INTO public.strunk_tasks (id, queue) SELECT $1, 'sms'`, "pending",
			"nothing is inserted here", "strunk_enqueue"},
		{"status", "it has functions", `UPDATE public.strunk_tasks SET status = 'dead', attempts = 3 WHERE id = $1`,
			"pending", "attempts, status cannot be changed", "strunk_cancel"},
		{"no due time", "it would never be due", `UPDATE public.strunk_tasks SET due_at = NULL WHERE id = $1`,
			"pending", "cannot be null", ""},
		{"priority", "there are ten", `UPDATE public.strunk_tasks SET priority = 10 WHERE id = $1`, "scheduled",
			"from 0 to 9", ""},
		{"running", "its handler has it", `UPDATE public.strunk_tasks SET payload = '1' WHERE id = $1`, "claimed",
			"only a task that waits", "strunk_cancel("},
		{"dead", "it is retried", `UPDATE public.strunk_tasks SET priority = 1 WHERE id = $1`, "dead",
			"only a task that waits", "strunk_retry_ended("},
		{"delete a running one", "its handler has it", `DELETE FROM public.strunk_tasks WHERE id = $1`, "claimed",
			"cannot be deleted", "strunk_cancel("},
		{"delete a done one", "retention does", `DELETE FROM public.strunk_tasks WHERE id = $1`, "delivered",
			"cannot be deleted", "enqueue another"},
	} {
		_, err := pool.Exec(t.Context(), c.sql, ids[c.status])
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || !strings.Contains(pgErr.Message, c.want) ||
			!strings.Contains(pgErr.Hint, c.hint) {
			t.Errorf("%s (%s): %v; want %q and the hint %q", c.name, c.reason, err, c.want, c.hint)
		}
	}
	checkEdits(t, pool, ids)
}

// checkEdits changes and deletes what may be.
func checkEdits(t *testing.T, pool *pgxpool.Pool, ids map[string]int64) {
	t.Helper()
	const state = `SELECT concat_ws(' ', t.status, t.priority, t.payload ->> 'to', t.due_at > now(),
		o.seq > $2, o.admitted) FROM public.strunk_tasks t JOIN public.strunk_outbox_tasks o USING (id) WHERE id = $1`
	for _, c := range []struct{ name, sql, status, want string }{
		{"run now", `UPDATE public.strunk_tasks SET due_at = now() WHERE id = $1`, "scheduled", "pending 0 ann f t f"},
		{"later, and first", `UPDATE public.strunk_tasks SET due_at = now() + interval '1 day', priority = 9
			WHERE id = $1`, "pending", "scheduled 9 ann t t f"},
		{"payload", `UPDATE public.strunk_tasks SET payload = jsonb_set(payload, '{to}', '"bob"') WHERE id = $1`,
			"pending", "scheduled 9 bob t f f"},
	} {
		highest := queryOne[int64](t, pool, `SELECT last_value FROM public.strunk_outbox_id_seq`)
		if tag, err := pool.Exec(t.Context(), c.sql, ids[c.status]); err != nil || tag.RowsAffected() != 1 {
			t.Errorf("%s: %v, %v", c.name, tag, err)
		}
		if got := queryOne[string](t, pool, state, ids[c.status], highest); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
	for _, status := range []string{"pending", "dead", "cancelled", "discarded"} {
		tag, err := pool.Exec(t.Context(), `DELETE FROM public.strunk_tasks WHERE id = $1`, ids[status])
		left := queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE id = $1`, ids[status])
		if err != nil || tag.RowsAffected() != 1 || left != 0 {
			t.Errorf("deleting the %s task: %v, %v, %d are left", status, tag, err, left)
		}
	}
	// A document that jsonb cannot hold keeps no other row from being read.
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET payload = '"\u0000"' WHERE id = $1`, ids["scheduled"])
	if doc := queryOne[string](t, pool, `SELECT payload #>> '{}' FROM public.strunk_tasks WHERE id = $1`,
		ids["scheduled"]); doc != `"\u0000"` {
		t.Errorf("the payload is shown as %s", doc)
	}
}

// The acts on tasks by their ids, in Go and over HTTP, say which they have changed.
func TestActsOnTasks(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	ids := oneOfEach(t, pool)
	all := []int64{1 << 40}
	for _, id := range ids {
		all = append(all, id)
	}
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	acted := func(path, more string) ops.Acted {
		body := strings.ReplaceAll(fmt.Sprintf(`{"ids":%v%s}`, all, more), " ", ",")
		return answer[ops.Acted](t, h, path, body)
	}
	waiting := []string{"pending", "scheduled"}
	for _, c := range []struct {
		name    string
		act     func() ops.Acted
		changed []string
		now     string // what the tasks that wait have become
	}{
		{"run now", func() ops.Acted {
			a, err := ops.RunNow(t.Context(), box, all...)
			if err != nil {
				t.Error(err)
			}
			return a
		}, waiting, "pending 0"},
		{"priority", func() ops.Acted { return acted("/v1/tasks/priority", `,"priority":4`) }, waiting, "pending 4"},
		{"reschedule", func() ops.Acted {
			return acted("/v1/tasks/reschedule", `,"due_at":"`+tomorrow.Format(time.RFC3339)+`"`)
		}, waiting, "scheduled 4"},
		{"run now again", func() ops.Acted { return acted("/v1/tasks/run-now", "") }, waiting, "pending 4"},
		{"discard", func() ops.Acted { return acted("/v1/tasks/discard", `,"reason":"obsolete"`) }, waiting,
			"discarded 4"},
		{"delete", func() ops.Acted { return acted("/v1/tasks/delete", "") },
			append([]string{"dead", "cancelled", "discarded"}, waiting...), ""},
	} {
		want := []int64{}
		for _, status := range c.changed {
			want = append(want, ids[status])
		}
		slices.Sort(want)
		got := c.act()
		if diff := cmp.Diff(want, got.Changed); diff != "" || len(got.Changed)+len(got.Unchanged) != len(all) {
			t.Errorf("%s: %s, unchanged %v of %v", c.name, diff, got.Unchanged, all)
		}
		for _, status := range waiting {
			now := queryOne[string](t, pool, `SELECT coalesce((SELECT status || ' ' || priority
				FROM public.strunk_tasks WHERE id = $1), '')`, ids[status])
			if now != c.now {
				t.Errorf("%s: the %s task is %q; want %q", c.name, status, now, c.now)
			}
		}
	}
	if got := queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_outbox`); got != 2 {
		t.Errorf("%d tasks are left; want the running and the done one", got)
	}
	for _, err := range []error{
		errorOf(ops.RunNow(t.Context(), box)), errorOf(ops.SetPriority(t.Context(), box, 10, 1)),
		errorOf(ops.Reschedule(t.Context(), box, time.Time{}, 1)), errorOf(ops.Discard(t.Context(), nil, "", 1)),
		errorOf(ops.DeleteTasks(t.Context(), box, make([]int64, ops.MaxChange+1)...)),
	} {
		if !errors.Is(err, ops.ErrInvalid) {
			t.Error(err)
		}
	}
}

func errorOf(_ ops.Acted, err error) error { return err }
