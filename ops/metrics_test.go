package ops_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	seed(t, pool)
	c := ops.Collector(box, ops.MetricsConfig{})
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if err := prometheus.NewPedanticRegistry().Register(c); err != nil {
		t.Error(err)
	}
	const about = "Events after the subscriber's cursor; beyond a cap as counted last."
	want := `# HELP strunk_subscriber_waiting_events ` + about + `
# TYPE strunk_subscriber_waiting_events gauge
strunk_subscriber_waiting_events{entity_type="order",subscriber="indexer"} 5
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "strunk_subscriber_waiting_events"); err != nil {
		t.Error(err)
	}
}

// Ten times the tasks, dead letters, events and workers make no series more; ten queues make as
// many more as ten queues do; and beyond the bound none.
func TestMetricsAreBoundedByNamesNotByIDs(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	seed(t, pool)
	series := func(most int) int {
		return testutil.CollectAndCount(ops.Collector(box, ops.MetricsConfig{Series: most}))
	}
	before := series(100)
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}'), public.strunk_enqueue('later', '{}', delay =>
		'1 hour') FROM generate_series(1, 100)`)
	die(t, pool, "dead", `{}`, "no", 100)
	exec(t, pool, `SELECT public.strunk_publish('order', i::text, '{}') FROM generate_series(1, 100) i`)
	relay(t, pool)
	exec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) SELECT i,
		30000, i, 8, 'emails', 'web-' || i FROM generate_series(10, 50) i`)
	exec(t, pool, `ANALYZE`)
	if n := series(100); n != before {
		t.Errorf("%d series with one of each, %d with a hundred", before, n)
	}
	exec(t, pool, `SELECT public.strunk_enqueue('queue-' || i, '{}') FROM generate_series(1, 90) i`)
	const perQueue = 20
	if n := series(100); n != before+90*perQueue {
		t.Errorf("90 queues more made %d series more, not %d each", n-before, perQueue)
	}
	if n := series(10); n > before+10*perQueue {
		t.Errorf("%d series with a bound of 10 queues", n)
	}
	_, body, _ := metrics(t, box, ops.Config{Insecure: true, MetricSeries: 10})
	if !strings.Contains(body, "strunk_series_truncated 1\n") {
		t.Error("nothing says that queues were left out")
	}
}

func TestMetricsLabelsAreNeverIDs(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	seed(t, pool)
	_, body, header := metrics(t, box, ops.Config{Insecure: true})
	if !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Errorf("content type %q", header.Get("Content-Type"))
	}
	allowed := map[string]bool{"queue": true, "status": true, "subscriber": true, "entity_type": true, "part": true,
		"loop": true, "check": true, "forwarder": true, "kind": true, "le": true}
	for _, m := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(body, -1) {
		if !allowed[m[1]] {
			t.Errorf("a label %q", m[1])
		}
	}
	for _, part := range regexp.MustCompile(`part="(\w+)"`).FindAllStringSubmatch(body, -1) {
		if regexp.MustCompile(`\d`).MatchString(part[1]) {
			t.Errorf("a partition has a series of its own: %q", part[1])
		}
	}
	for _, name := range []string{"strunk_up 1", `strunk_queue_tasks{queue="emails",status="pending"} 1`,
		`strunk_health_status{check="relay"}`} {
		if !strings.Contains(body, name) {
			t.Errorf("without %s:\n%s", name, body)
		}
	}
}

func TestMetricsSayThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	pool.Close()
	_, body, _ := metrics(t, box, ops.Config{Insecure: true})
	if !strings.Contains(body, "strunk_up 0\n") || strings.Contains(body, "strunk_queue") {
		t.Errorf("%s", body)
	}
}

func metrics(t *testing.T, box *outbox.Box, cfg ops.Config) (int, string, http.Header) {
	t.Helper()
	cfg.Timeout = testkit.Soon
	h, err := ops.Handler(box, cfg)
	if err != nil {
		t.Fatal(err)
	}
	status, body, header := do(t, h, request{method: "GET", path: "/metrics"})
	if status != 200 {
		t.Fatal(fmt.Sprint(status, body))
	}
	return status, body, header
}
