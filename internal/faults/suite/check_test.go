package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// check holds the record against the database:
//
//   - what was answered as committed is there, what was rolled back is not, of an unknown answer either;
//   - each task of a committed intent has run, in a transaction exactly once, and no other task has; but for one that
//     is dead and of which no attempt came as far as to record its run;
//   - a claim begins one handler at most, but for one that a crash of the server has forgotten;
//   - tasks of a key in order ran in order;
//   - all tasks are delivered, but for those that always fail, which are dead;
//   - the versions of an entity are as many as were published, without a gap; both subscribers were given them in
//     order, the one in a transaction each exactly once;
//   - no more tasks of the limited queue were claimed at once than the highest limit allowed;
//   - nothing is left behind that `doctor` would name.
func (r *round) check(ctx context.Context) {
	kept := r.keptIntents(ctx)
	r.checkTasks(ctx, kept)
	r.checkOrder(ctx)
	r.checkEvents(ctx, kept)
	if r.most > atMost {
		r.found("%d tasks of the limited queue were claimed at once; the limit was %d at most", r.most, atMost)
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(': ', object, finding) FROM public.strunk_inconsistencies()`) {
		r.found("inconsistent: %s", line)
	}
}

// lines returns the texts that a query answers. A connection may be one that a crash of the server has ended.
func (r *round) lines(ctx context.Context, sql string, args ...any) (all []string) {
	r.must(await(settling, "the check's query is answered", func() (string, bool) {
		rows, err := r.pool.Query(ctx, sql, args...)
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		return fmt.Sprint(err), err == nil
	}))
	return all
}

// keptIntents returns the intents that the database has, and checks them against the answers.
func (r *round) keptIntents(ctx context.Context) (kept []*intent) {
	there := map[string]bool{}
	for _, id := range r.lines(ctx, `SELECT intent::text FROM public.orders`) {
		there[id] = true
	}
	for _, i := range r.record.intents {
		switch is := there[fmt.Sprint(i.id)]; {
		case i.answer == committed && !is:
			r.found("intent %d was answered as committed and is not there", i.id)
		case i.answer == rolledBack && is:
			r.found("intent %d was rolled back and is there", i.id)
		case is:
			kept = append(kept, i)
		}
	}
	return kept
}

// checkTasks compares the tasks that ran with those that were committed.
func (r *round) checkTasks(ctx context.Context, kept []*intent) {
	want := map[string]int{}
	tasks := map[string]int{}
	for _, i := range kept {
		for _, it := range i.items {
			want[fmt.Sprint(it.queue, " ", i.id, " ", it.n)]++
			tasks[it.queue]++
		}
	}
	got := map[string]int{}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', queue, intent, item) FROM (
		SELECT DISTINCT queue, intent, item FROM public.runs
		UNION ALL SELECT queue, intent, item FROM public.effects) x`) {
		got[line]++
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', key, payload::json ->> 'intent', payload::json ->> 'n')
		FROM public.strunk_outbox WHERE kind = 'task' AND status = 'dead'
			AND strpos(concat(errors, last_error), $1) = 0`, errAtRandom.Error()) {
		got[line] = max(got[line], 1)
	}
	r.compare("task", want, got)
	r.checkFences(ctx)
	wantEnds, gotEnds := map[string]int{}, map[string]int{}
	for queue, n := range tasks {
		end := "delivered"
		if queue == dyingQueue.Name() {
			end = "dead"
		}
		wantEnds[queue+" "+end] = n
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', key, status) FROM public.strunk_outbox
		WHERE kind = 'task'`) {
		gotEnds[line]++
	}
	r.compare("ends", wantEnds, gotEnds)
}

// checkFences looks for claims that have begun two handlers. A crash of the server forgets claims that were committed
// asynchronously, and the task is claimed again under the same number.
func (r *round) checkFences(ctx context.Context) {
	if r.crashed && !r.syncClaims {
		return
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', 'task', task, 'of', queue, 'was begun', count(*), 'times',
		'under fence', fence, 'by', array_agg(pid)) FROM public.runs GROUP BY task, queue, fence
		HAVING count(*) > 1`) {
		r.found("%s", line)
	}
}

// compare names what differs, the first few.
func (r *round) compare(what string, want, got map[string]int) {
	var all []string
	for k, n := range want {
		if got[k] != n {
			all = append(all, fmt.Sprintf("%s %s: %d, want %d", what, k, got[k], n))
		}
	}
	for k, n := range got {
		if _, known := want[k]; !known {
			all = append(all, fmt.Sprintf("%s %s: %d, want none", what, k, n))
		}
	}
	slices.Sort(all)
	if len(all) > 8 {
		all = append(all[:8], fmt.Sprint("… and ", len(all)-8, " more"))
	}
	r.findings = append(r.findings, all...)
}

func (r *round) checkOrder(ctx context.Context) {
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', 'key', key, 'ran place', place, 'after', before) FROM (
		SELECT key, place, lag(place) OVER (PARTITION BY key ORDER BY n) AS before FROM public.effects
		WHERE queue = 'in-order') x WHERE place <= before`) {
		r.found("%s", line)
	}
}

// checkEvents compares what was published with what each subscriber was given.
func (r *round) checkEvents(ctx context.Context, kept []*intent) {
	published := map[string]int{}
	for _, i := range kept {
		if i.entity != "" {
			published[fmt.Sprint(i.entity, " ", i.id)]++
		}
	}
	for _, subscriber := range []string{"plain", "in-tx"} {
		got := map[string]int{}
		for _, line := range r.lines(ctx, `SELECT DISTINCT concat_ws(' ', entity, intent, version) FROM public.seen
			WHERE subscriber = $1`, subscriber) {
			parts := strings.Fields(line)
			got[parts[0]+" "+parts[1]]++
		}
		r.compare("subscriber "+subscriber+", state", published, got)
		for _, line := range r.lines(ctx, `SELECT concat_ws(' ', entity, 'version', version, 'after', before) FROM (
			SELECT entity, version, coalesce(max(version) OVER (PARTITION BY entity ORDER BY n
				ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
			FROM public.seen WHERE subscriber = $1) x WHERE version > before + 1`, subscriber) {
			r.found("subscriber %s skipped: %s", subscriber, line)
		}
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', entity, 'version', version, count(*), 'times')
		FROM public.seen WHERE subscriber = 'in-tx' GROUP BY entity, version HAVING count(*) > 1`) {
		r.found("subscriber in-tx: %s", line)
	}
}
