package ops

import (
	"fmt"
	"strings"
	"time"
)

// Question is a statement of this package, for the tests of plans and buffers.
type Question struct {
	Name, SQL string
	Args      []any
}

// Questions are all that is asked, of a queue, a subscriber, a task and a place in the dead letters.
func Questions(queue, subscriber string, task, dead int64) []Question {
	text, none := func(s string) *string { return &s }, (*string)(nil)
	return append(append(listings(queue), slicesOfJobs(queue)...), []Question{
		{"QueueStats", sqlQueue, []any{queue, CountCap}},
		{"Queues", sqlQueues, []any{"", DefaultLimit, ListCountCap}},
		{"Queues of health", sqlQueues, []any{"", MaxLimit, 0}},
		{"SubscriberStats", sqlSubscribers, []any{text(subscriber), "", 1, CountCap}},
		{"Subscribers", sqlSubscribers, []any{none, "", DefaultLimit, ListCountCap}},
		{"Workers", sqlWorkers, []any{none, int64(0), DefaultLimit, ListCountCap}},
		{"Schedules", sqlSchedules, []any{"", DefaultLimit}},
		{"OverallStats", sqlOverall, []any{CountCap}},
		{"Tables", sqlTables, nil},
		{"Backlog of health", sqlBacklog, nil},
		{"Horizon", sqlHorizon, []any{maxHolders}},
		{"Task", sqlTask, []any{task}},
		{"DeadLetters", sqlDeadLetters, []any{none, none, &dead, false, DefaultLimit, "dead"}},
		{"DeadLetters, newest", sqlDeadLetters, []any{none, none, &dead, true, DefaultLimit, "dead"}},
		{"DeadLetters of a queue", sqlDeadLetters, []any{text(queue), none, &dead, false, DefaultLimit, "dead"}},
		{"DeadLetters of a queue, newest", sqlDeadLetters, []any{text(queue), none, &dead, true, DefaultLimit, "dead"}},
		{"DeadLetters of a subscriber", sqlDeadLetters, []any{none, text(subscriber), &dead, false, DefaultLimit,
			"dead"}},
		{"cancelled tasks", sqlDeadLetters, []any{none, none, &dead, false, DefaultLimit, "cancelled"}},
		{"discarded tasks of a queue, newest", sqlDeadLetters, []any{text(queue), none, &dead, true, DefaultLimit,
			"discarded"}},
		{"Parked", sqlParked, []any{"parking", "", "", DefaultLimit, ListCountCap}},
		{"Rates", sqlRates, []any{"queue", none, "", DefaultLimit, DefaultRatesWindow.Microseconds(), 60}},
		{"totals of counters", sqlTotals, []any{"queue"}},
		{"Ready", sqlReady, nil},
		{"Snapshot", sqlSnapshot, []any{"type-1", "1"}},
		{"Versions", sqlVersions, []any{"type-1", "1", int64(1) << 62, examinedEvents, MaxVersions, comparedBytes}},
		{"Entity at subscribers", sqlEntityProgress, []any{"type-1", "1", MaxEntitySubscribers, examinedDead}},
		{"Replay preview", sqlReplayPreview, []any{subscriber, int64(0), CountCap}},
		{"Events by contract", sqlSchemaEvents, []any{"type-1", examinedUses}},
		{"Task states", sqlTaskStates, []any{fifty(task)}},
		{"Running tasks", sqlRunning, []any{none, DefaultLimit}},
		{"Audit", sqlAudit, []any{none, none, nil, DefaultLimit, examinedAtOnce}},
		{"queues of a page", sqlQueuesNamed, []any{hundredQueues(), ListCountCap}},
		{"rates of a page", sqlStepsOfEach, []any{hundredQueues(), DefaultRatesWindow.Microseconds(), 60}},
		{"rates of all queues together", sqlStepsOfAll, []any{DefaultRatesWindow.Microseconds(), 60}},
		{"rates of all queues together, of two days", sqlStepsOfAll, []any{MaxRatesWindow.Microseconds(), 3600}},
		{"Rates of two days", sqlRates, []any{"queue", none, "", DefaultLimit, MaxRatesWindow.Microseconds(), 3600}},
		{"Rates of a queue in two days", sqlRates, []any{"queue", text(queue), "", 1, MaxRatesWindow.Microseconds(),
			3600}},
		{"queues by dead letters", sqlCountEach, []any{hundredQueues(), "dead", ListCountCap}},
		{"queues by waiting tasks", sqlCountEach, []any{hundredQueues(), "pending", ListCountCap}},
		{"queues by running tasks", sqlCountEach, []any{hundredQueues(), "claimed", ListCountCap}},
		{"the result of a task", sqlTaskResult, []any{task}},
		{"error groups", sqlErrorGroups, []any{none, DefaultErrorsSince.Microseconds(), false, DefaultLimit}},
		{"error groups of 30 days", sqlErrorGroups, []any{none, 30 * DefaultErrorsSince.Microseconds(), false,
			DefaultLimit}},
		{"error groups that are new", sqlErrorGroups, []any{none, time.Hour.Microseconds(), true, maxGroups}},
		{"error groups of a queue", sqlErrorGroups, []any{text(queue), DefaultErrorsSince.Microseconds(), false,
			shownOfQueue}},
		{"trends of errors", sqlErrorTrends, []any{[]string{"failed again", "failed once"}, trendHours}},
		{"entities by id", sqlEntities, []any{"7", foundAtMost}},
	}...)
}

// hundredQueues are those of load: a page of the list of queues.
func hundredQueues() (names []string) {
	for i := range DefaultLimit {
		names = append(names, fmt.Sprintf("queue-%03d", i))
	}
	return names
}

// fifty are ids from one on, as a page of schedules asks for them.
func fifty(first int64) (ids []int64) {
	for i := range int64(schedulesPerPage) {
		ids = append(ids, first+i)
	}
	return ids
}

// listings are the two statements of a listing, of each part of the table: a window of a thousand tasks, and what a
// filter finds in such a window.
func listings(queue string) (all []Question) {
	for _, q := range []struct {
		name, status string
		of           *string
		low, before  int64 // a window of a thousand of load's tasks
	}{
		{"running tasks", "", nil, 30_000_001, 30_001_001},
		{"running tasks of a queue", "", &queue, 30_000_001, 30_001_001},
		{"dead tasks", "dead", nil, 60_004_001, 60_005_001},
		{"dead tasks of a queue", "dead", &queue, 60_004_001, 60_009_501}, // of six ids, one is of the queue
		{"discarded tasks", "discarded", nil, 60_004_001, 60_006_001},     // of two ids, one is discarded
		{"cancelled tasks of a queue", "cancelled", &queue, 60_004_001, 60_009_501},
		{"delivered tasks", "delivered", nil, 40_004_001, 40_005_001},
	} {
		window, list := sqlTaskWindow, sqlListTasks
		if q.status == "delivered" { // load fills one day, and there are others
			window = `SELECT w.* FROM {schema}.strunk_days_of_ids(0, 9223372036854775807) d CROSS JOIN LATERAL
				{schema}.strunk_task_window($1::text, $2::text, coalesce($3, d), $4::bigint, $5::integer) w`
			list = strings.Replace(sqlListTasks, "FROM {schema}.strunk_list_tasks($1::text, $2::text, $3::text,",
				"FROM {schema}.strunk_days_of_ids(0, 9223372036854775807) d CROSS JOIN LATERAL "+
					"{schema}.strunk_list_tasks($1::text, $2::text, coalesce($3::text, d),", 1)
		}
		all = append(all, Question{"window of " + q.name, window,
			[]any{q.status, q.of, (*string)(nil), q.before, 1000}})
		for _, f := range []struct{ name, filter string }{{"", ""}, {", by payload", `{"to":"ann"}`}} {
			args := []any{q.status, q.of, (*string)(nil), q.low, q.before, DefaultLimit, nil, nil, nil, nil, nil, nil,
				orNull(f.filter), nil, nil}
			all = append(all, Question{q.name + f.name, list, args})
		}
	}
	return all
}

// slicesOfJobs are what bulk jobs look at for a slice: a thousand tasks of each part of the table, by whatever filter.
func slicesOfJobs(queue string) (all []Question) {
	const sqlMatching = `SELECT m.* FROM {schema}.strunk_matching($1::text, {schema}.strunk_task_filter($1, $2::jsonb),
		$3::bigint, $4::bigint, 1000, 1000) m`
	for _, of := range []struct {
		act, tasks, filter string
		after              int64
	}{
		{"cancel", "running tasks", `{}`, 30_000_000},
		{"run_now", "running tasks of a queue", `{"status":"scheduled","queue":"` + queue + `"}`, 20_000_000},
		{"retry", "dead tasks", `{}`, 60_000_000},
		{"retry", "dead tasks of a queue", `{"queue":"` + queue + `","error":"fail"}`, 60_000_000},
		{"delete", "discarded tasks", `{"status":"discarded","older_than_seconds":3600}`, 60_000_000},
		{"retry", "cancelled tasks of a queue", `{"status":"cancelled","queue":"` + queue + `"}`, 60_000_000},
	} {
		none := strings.Replace(strings.Replace(of.filter, "{", `{"payload":{"to":"ann"},`, 1), ",}", "}", 1)
		for name, filter := range map[string]string{"": of.filter, ", of which none matches": none} {
			all = append(all, Question{of.tasks + ", to " + of.act + name, sqlMatching,
				[]any{of.act, filter, of.after, int64(1) << 62}})
		}
	}
	return all
}
