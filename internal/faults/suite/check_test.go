package suite

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/faults/histories"
)

// check holds the record against the database:
//
//   - what was answered as committed is there, what was rolled back is not, of an unknown answer either;
//   - each task of a committed intent has run, in a transaction exactly once, and no other task has; but for one that
//     is dead and of which no attempt came as far as to record its run;
//   - the claim under which a task was delivered has begun its handler before: no stale token has changed it;
//   - a claim begins one handler at most, but for one that a crash of the server has forgotten;
//   - tasks of a key in order ran in order;
//   - all tasks are delivered, but for those that always fail, which are dead;
//   - the versions of an entity are as many as were published, without a gap; both subscribers were given them in
//     order, the one in a transaction each exactly once;
//   - so was whoever has followed the broker of the forwarder, and whoever reads its log at the end, though it was
//     emptied and filled again by a replay;
//   - no more tasks of the limited queue were claimed at once than the highest limit allowed;
//   - nothing is left behind that `doctor` would name.
//
// Where the database has gone back in time, what was answered meanwhile may be lost, and with it what its handlers did
// in transactions. A handler without one may still record what it did before, and the broker keeps what it was sent: of
// the plain subscriber and of the broker it is then checked only that they were given each state, and no fence is.
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
	r.gone = []int64{}
	there := map[string]bool{}
	for _, id := range r.lines(ctx, `SELECT intent::text FROM public.orders`) {
		there[id] = true
	}
	for _, i := range r.record.intents {
		switch is := there[fmt.Sprint(i.id)]; {
		case !is && r.mayBeLost(i):
			r.gone = append(r.gone, i.id)
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
		SELECT DISTINCT queue, intent, item FROM public.runs WHERE intent <> ALL ($1)
		UNION ALL SELECT queue, intent, item FROM public.effects) x`, r.gone) {
		got[line]++
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', key, payload::json ->> 'intent', payload::json ->> 'n')
		FROM public.strunk_outbox WHERE kind = 'task' AND status = 'dead'
			AND strpos(concat(errors, last_error), $1) = 0`, errAtRandom.Error()) {
		got[line] = max(got[line], 1)
	}
	if len(r.lapses) > 0 { // the outcome of a handler may be stored after what it recorded was lost
		for _, line := range r.lines(ctx, `SELECT concat_ws(' ', key, payload::json ->> 'intent', payload::json ->> 'n')
			FROM public.strunk_outbox WHERE kind = 'task' AND status IN ('delivered', 'dead')
				AND key NOT IN ('in-tx', 'in-order')`) {
			got[line] = max(got[line], 1)
		}
	}
	r.compare("task", want, got)
	r.checkFences(ctx)
	r.checkTokens(ctx)
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
// asynchronously, and the task is claimed again under the same number; so it is where the database goes back in time.
func (r *round) checkFences(ctx context.Context) {
	if r.crashed && !r.syncClaims || len(r.lapses) > 0 {
		return
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', 'task', task, 'of', queue, 'was begun', count(*), 'times',
		'under fence', fence, 'by', array_agg(pid)) FROM public.runs GROUP BY task, queue, fence
		HAVING count(*) > 1`) {
		r.found("%s", line)
	}
}

// checkTokens looks for tasks that were delivered under a claim whose handler had not recorded its run by then:
// somebody else's token has done it. Handlers in transactions record theirs together with the outcome.
func (r *round) checkTokens(ctx context.Context) {
	if r.clockMoved || len(r.lapses) > 0 {
		return
	}
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', 'task', t.id, 'of', t.key, 'was delivered under fence',
			t.seq, 'at', t.finished_at, 'and its handler recorded its run', coalesce(min(u.at)::text, 'never'))
		FROM public.strunk_outbox_delivered_tasks t LEFT JOIN public.runs u ON u.task = t.id AND u.fence = t.seq
		WHERE t.key IN ('plain', 'limited', 'delayed')
		GROUP BY t.id, t.key, t.seq, t.finished_at HAVING count(*) FILTER (WHERE u.at <= t.finished_at) = 0`) {
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
	r.findings = append(r.findings, first(8, all, "")...)
}

func (r *round) checkOrder(ctx context.Context) {
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', 'key', key, 'ran place', place, 'after', before) FROM (
		SELECT key, place, lag(place) OVER (PARTITION BY key ORDER BY n) AS before FROM public.effects
		WHERE queue = 'in-order') x WHERE place <= before`) {
		r.found("%s", line)
	}
}

// checkEvents compares what was published with what each subscriber was given, and with what the broker has.
func (r *round) checkEvents(ctx context.Context, kept []*intent) {
	var published []histories.State
	for _, i := range kept {
		if i.entity != "" {
			published = append(published, histories.State{Entity: i.entity, Mark: i.id})
		}
	}
	r.checkHistory("subscriber in-tx", published, r.seenBy(ctx, "in-tx"))
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', entity, 'version', version, count(*), 'times')
		FROM public.seen WHERE subscriber = 'in-tx' GROUP BY entity, version HAVING count(*) > 1`) {
		r.found("subscriber in-tx: %s", line)
	}
	all, held := r.broker.Log(sentTo)
	if len(r.lapses) > 0 {
		r.checkSeen("subscriber plain", published, r.seenBy(ctx, "plain"))
		r.checkSeen("who has followed the broker", published, r.seenAtBroker(all))
		return
	}
	r.checkHistory("subscriber plain", published, r.seenBy(ctx, "plain"))
	r.checkHistory("who has followed the broker", published, r.seenAtBroker(all))
	r.checkHistory("who reads the broker's log at the end", published, histories.InOrder(r.seenAtBroker(held)))
}

// seenBy returns what a subscriber saw, in the order in which its handler stored it.
func (r *round) seenBy(ctx context.Context, subscriber string) (seen []histories.Seen) {
	for _, line := range r.lines(ctx, `SELECT concat_ws(' ', entity, version, intent) FROM public.seen
		WHERE subscriber = $1 ORDER BY n`, subscriber) {
		var s histories.Seen
		_, err := fmt.Sscan(line, &s.Entity, &s.Version, &s.Mark)
		r.must(err)
		seen = append(seen, s)
	}
	return seen
}

// checkHistory records what is wrong with what a consumer saw, the first few.
func (r *round) checkHistory(consumer string, published []histories.State, seen []histories.Seen) {
	r.findings = append(r.findings, first(8, histories.Check(published, seen), consumer+": ")...)
}

// checkSeen records which states a consumer did not see, the first few.
func (r *round) checkSeen(consumer string, published []histories.State, seen []histories.Seen) {
	there := map[histories.State]bool{}
	for _, s := range seen {
		there[s.State] = true
	}
	var missing []string
	for _, s := range published {
		if !there[s] {
			missing = append(missing, fmt.Sprintf("%s: mark %d was not seen", s.Entity, s.Mark))
		}
	}
	r.findings = append(r.findings, first(8, missing, consumer+": ")...)
}

// first returns the first n lines, with a prefix, and says how many more there are.
func first(n int, lines []string, prefix string) (all []string) {
	for _, line := range lines[:min(n, len(lines))] {
		all = append(all, prefix+line)
	}
	if more := len(lines) - n; more > 0 {
		all = append(all, fmt.Sprint("… and ", more, " more"))
	}
	return all
}
