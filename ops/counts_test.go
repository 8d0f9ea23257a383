package ops_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// shown is one number that a place shows.
type shown struct {
	place string
	count ops.Count
	sql   string // counts what it should be
}

// Whatever shows a number shows count(*): at once where it is few, else as of the last pass, with its
// age. Before a pass has counted, a number is a lower bound and says so.
func TestCountsAreExact(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{Refresh: time.Nanosecond})
	for _, s := range everyNumber(t, box, "nobody", "big") {
		wantExact(t, pool, s)
	}
	manyRows(t, pool)
	for _, s := range everyNumber(t, box, "big", "unused") {
		wantBound(t, pool, s)
	}
	countOnce(t, box, pool)
	checkEveryNumber(t, h, box, pool)

	if n, err := queue.RetryDead(t.Context(), box, outbox.DeadFilter{Queue: "big", Limit: 3_000}); n != 3_000 ||
		err != nil {
		t.Fatalf("retried %d, %v", n, err)
	}
	if q, err := ops.QueueStats(t.Context(), box, "big"); err != nil || q.WaitingFor.Hours() > 1 {
		t.Errorf("retried tasks have waited since they are due, not since their enqueue: %v, %v", q.WaitingFor, err)
	}
	if n, err := queue.PurgeDead(t.Context(), box, outbox.DeadFilter{Queue: "purged"}); n != 1_700 || err != nil {
		t.Fatalf("purged %d, %v", n, err)
	}
	for _, s := range everyNumber(t, box, "purged") {
		if s.place == "queue purged: dead" {
			wantExact(t, pool, s)
		}
	}
	hasQueue(t, box, "planned", true)
	exec(t, pool, `DELETE FROM public.strunk_outbox WHERE key = 'planned'`)
	exec(t, pool, `SELECT public.strunk_count(1000000)`)
	checkEveryNumber(t, h, box, pool)
	hasQueue(t, box, "planned", false)

	exec(t, pool, `SELECT public.strunk_count(1500)`)
	q, err := ops.QueueStats(t.Context(), box, "big")
	if err != nil || q.Delivered.Precision != ops.AtLeast || q.Delivered.N != 1_500 {
		t.Errorf("beyond the bound of a pass: %v, %v", q.Delivered, err)
	}
}

// hasQueue looks for a queue in the list.
func hasQueue(t *testing.T, box *outbox.Box, name string, want bool) {
	t.Helper()
	all, err := ops.Queues(t.Context(), box, ops.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if found := slices.ContainsFunc(all, func(q ops.Queue) bool { return q.Name == name }); found != want {
		t.Errorf("queue %s is listed: %v", name, found)
	}
}

// manyRows puts more rows of each kind into the database than are counted at once.
func manyRows(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	seed(t, pool)
	exec(t, pool, `SELECT public.strunk_publish('order', (i % 100)::text, '{}') FROM generate_series(1, 1300) i`)
	relay(t, pool)
	exec(t, pool, `SELECT public.strunk_publish('order', '1', '{}') FROM generate_series(1, 1200) i`)
	for _, rows := range []struct {
		queue, status string
		n             int
	}{{"big", "pending", 1_200}, {"big", "dead", 5_000}, {"purged", "dead", 1_700}, {"other", "scheduled", 1_800},
		{"big", "scheduled", 10}, {"planned", "scheduled", 5}, {"big", "cancelled", 1_100},
		{"other", "discarded", 1_050}, {"big", "delivered", 2_500}, {"other", "delivered", 3},
		{"worked", "claimed", 1_400}} {
		exec(t, pool, `INSERT INTO public.strunk_outbox (id, seq, created_at, due_at, finished_at, worker_id, claim_no,
			status, kind, key, payload)
			SELECT x, x, now() - CASE WHEN $2 = 'pending' THEN interval '0' ELSE interval '3 days' END,
			CASE WHEN $2 = 'scheduled' THEN now() + interval '1 day' END,
			CASE WHEN $2 IN ('pending', 'scheduled', 'claimed') THEN NULL ELSE now() END,
			CASE WHEN $2 = 'claimed' THEN 8 END, 1, $2, 'task', $1, '{}'
			FROM (SELECT nextval('public.strunk_outbox_id_seq') AS x FROM generate_series(1, $3)) i`,
			rows.queue, rows.status, rows.n)
	}
	exec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (8,
		30000000, 43, 2000, 'worked', 'web-1')`)
	exec(t, pool, `INSERT INTO public.strunk_outbox (id, seq, created_at, finished_at, status, kind, key,
		entity_id, subscriber, position, version)
	SELECT nextval('public.strunk_outbox_id_seq'), i, now(), now(), s, 'delivery', 'order', '1', 'indexer', i, i
	FROM generate_series(1, 1150) i, unnest(ARRAY['dead', 'pending']) s`)
}

// countOnce lets the loop of a process count, as it does in an installation.
func countOnce(t *testing.T, box *outbox.Box, pool *pgxpool.Pool) {
	t.Helper()
	only, err := outbox.Open(t.Context(), pool, outbox.Config{Disable: []outbox.Loop{outbox.LoopPromoter,
		outbox.LoopRescue, outbox.LoopRelay, outbox.LoopReaper}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- only.Run(ctx) }()
	testkit.Eventually(t, "a process has counted", func() bool {
		return queryOne[bool](t, pool, `SELECT count(counted_at) > 0 FROM public.strunk_count_passes`)
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// everyNumber reads what package ops shows of everything, and of these queues alone.
func everyNumber(t *testing.T, box *outbox.Box, queues ...string) (all []shown) {
	t.Helper()
	list, err := ops.Queues(t.Context(), box, ops.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range queues {
		q, err := ops.QueueStats(t.Context(), box, name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ofQueue("queue "+name, q)...)
	}
	for _, q := range list {
		all = append(all, ofQueue("list "+q.Name, q)...)
	}
	return append(append(all, ofWhole(t, box)...), ofSubscribers(t, box)...)
}

func ofQueue(place string, q ops.Queue) (all []shown) {
	counts := map[string]ops.Count{"pending": q.Pending, "scheduled": q.Scheduled, "claimed": q.Claimed,
		"dead": q.Dead, "cancelled": q.Cancelled, "discarded": q.Discarded}
	if q.Delivered != nil {
		counts["delivered"] = *q.Delivered
	}
	for status, n := range counts {
		all = append(all, shown{place + ": " + status, n, fmt.Sprintf(
			"kind = 'task' AND key = '%s' AND status = '%s'", q.Name, status)})
	}
	return all
}

func ofWhole(t *testing.T, box *outbox.Box) []shown {
	t.Helper()
	o, err := ops.OverallStats(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	workers, err := ops.Workers(t.Context(), box, ops.WorkerFilter{})
	if err != nil {
		t.Fatal(err)
	}
	all := []shown{{"pending", o.Pending, "kind = 'task' AND status = 'pending'"},
		{"scheduled", o.Scheduled, "status = 'scheduled'"}, {"claimed", o.Claimed, "status = 'claimed'"},
		{"dead", o.Dead, "status = 'dead'"}, {"cancelled", o.Cancelled, "status = 'cancelled'"},
		{"discarded", o.Discarded, "status = 'discarded'"},
		{"delivered", o.Delivered, "kind = 'task' AND status = 'delivered'"},
		{"events waiting", o.EventsWaiting, "kind = 'event' AND status = 'pending'"},
		{"events kept", o.EventsKept, "kind = 'event' AND status = 'delivered'"},
		{"deliveries", o.Deliveries, "kind = 'delivery' AND status = 'pending'"}}
	for _, w := range workers {
		all = append(all, shown{fmt.Sprintf("worker %d", w.ID), w.Claimed,
			fmt.Sprintf("status = 'claimed' AND worker_id = %d", w.ID)})
	}
	return all
}

func ofSubscribers(t *testing.T, box *outbox.Box) (all []shown) {
	t.Helper()
	list, err := ops.Subscribers(t.Context(), box, ops.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		all = append(all,
			shown{s.Name + ": waiting", s.Waiting, fmt.Sprintf("kind = 'event' AND key = '%s' AND position > %d",
				s.EntityType, s.Cursor)},
			shown{s.Name + ": deliveries", s.Deliveries, "kind = 'delivery' AND status = 'pending'"},
			shown{s.Name + ": dead", s.Dead, "kind = 'delivery' AND status = 'dead'"})
	}
	return all
}

func truth(t *testing.T, pool *pgxpool.Pool, s shown) int64 {
	t.Helper()
	return queryOne[int64](t, pool, `SELECT count(*) FROM public.strunk_outbox WHERE `+s.sql)
}

func wantExact(t *testing.T, pool *pgxpool.Pool, s shown) {
	t.Helper()
	if want := truth(t, pool, s); s.count != (ops.Count{N: want, Precision: ops.Exact}) {
		t.Errorf("%s: %v (%s), there are %d", s.place, s.count, s.count.Precision, want)
	}
}

// wantBound accepts what is exact, and a lower bound that says so.
func wantBound(t *testing.T, pool *pgxpool.Pool, s shown) {
	t.Helper()
	want := truth(t, pool, s)
	if s.count.Precision == ops.AtLeast && s.count.N <= want {
		return
	}
	wantExact(t, pool, s)
}

// checkEveryNumber holds all places against count(*): Go, JSON, the page and the metrics.
func checkEveryNumber(t *testing.T, h http.Handler, box *outbox.Box, pool *pgxpool.Pool) {
	t.Helper()
	counted := 0
	for _, s := range everyNumber(t, box, "big", "purged", "other", "unused") {
		want := truth(t, pool, s)
		switch {
		case s.count.N != want:
		case s.count.Precision == ops.Exact && s.count.Age == nil:
			continue
		case s.count.Precision == ops.Counted && s.count.Age != nil:
			counted++
			continue
		}
		t.Errorf("%s: %v (%s), there are %d", s.place, s.count, s.count.Precision, want)
	}
	if counted < 10 {
		t.Errorf("only %d numbers went over their cap", counted)
	}
	checkMetricNumbers(t, h, pool)
}

var queueTasks = regexp.MustCompile(`(?m)^strunk_queue_tasks\{queue="([^"]+)",status="([^"]+)"\} (\S+)$`)

func checkMetricNumbers(t *testing.T, h http.Handler, pool *pgxpool.Pool) {
	t.Helper()
	_, body, _ := do(t, h, request{method: "GET", path: "/metrics", token: readToken})
	series := queueTasks.FindAllStringSubmatch(body, -1)
	if len(series) == 0 {
		t.Fatalf("no series of queues in %s", body)
	}
	for _, m := range series {
		n, err := strconv.ParseFloat(m[3], 64)
		want := truth(t, pool, shown{sql: fmt.Sprintf("kind = 'task' AND key = '%s' AND status = '%s'", m[1], m[2])})
		if err != nil || int64(n) != want {
			t.Errorf("%s, there are %d (%v)", m[0], want, err)
		}
	}
}

// A pass that took long keeps the next one away for twenty times as long, in whichever process.
func TestCountingKeepsItsBudget(t *testing.T) {
	t.Parallel()
	_, pool := open(t)
	begin := func() bool {
		return queryOne[bool](t, pool, `SELECT public.strunk_count_begin(15000, 20, 'vm/1')`)
	}
	back := func(by string) {
		exec(t, pool, `UPDATE public.strunk_loops SET begun_at = begun_at - $1::interval WHERE loop = 'counter'`, by)
	}
	if !begin() || begin() {
		t.Error("one process counts, and no other within the time")
	}
	back("16 s")
	if !begin() {
		t.Error("nobody counts again after the time")
	}
	exec(t, pool, `SELECT public.strunk_count_gave_up(60000)`)
	back("10 min")
	if begin() {
		t.Error("a pass of a minute is followed by another after ten minutes")
	}
	back("11 min")
	if !begin() {
		t.Error("a pass of a minute keeps the next one away for more than twenty minutes")
	}
}
