package ops_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/strunk-go/strunk/ops"
)

// TestPageOnManyRows measures each view beside a table of STRUNK_SLOW_ROWS rows: run it as
// STRUNK_SLOW_ROWS=2000000 go test ./ops -run PageOnManyRows -v -timeout 60m.
func TestPageOnManyRows(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(slowRows))
	if err != nil {
		t.Skipf("slow: set %s=2000000", slowRows)
	}
	h, _, pool := serve(t, ops.Config{})
	load(t, pool, n)
	exec(t, pool, `SELECT public.strunk_pause_queue('more-' || i, 'of many', 'test') FROM generate_series(1, 200) i`)
	exec(t, pool, `INSERT INTO public.strunk_snapshots (version, updated_at, deleted, entity_type, entity_id, state)
		VALUES (1, now(), false, 'type-1', '1', '{}')`)
	exec(t, pool, `ANALYZE`)
	b := browse(t, h, changeToken)
	for _, path := range []string{"./", "./?over=2d", "queues", "queues?sort=dead", "queue?name=queue-042", "tasks",
		"tasks?status=dead", "tasks?status=dead&queue=queue-007&error=nothing", "tasks?status=delivered",
		"task?id=60000500", "errors", "errors?group=failed+once", "jobs", "search?q=queue-0",
		"confirm?op=job_retry&status=dead&queue=queue-042", "events", "subscriber?name=sub-07",
		"entity?type=type-1&id=1", "schedules", "processes", "contracts", "database",
		"audit", "confirm?op=replay_subscriber&subscriber=sub-07&from=0"} {
		var took []time.Duration
		for range 20 {
			began := time.Now()
			b.see(path)
			took = append(took, time.Since(began))
		}
		first := took[0]
		slices.Sort(took)
		t.Logf("%-60s first %5d ms, p50 %5d ms, p95 %5d ms", path, first.Milliseconds(), took[9].Milliseconds(),
			took[18].Milliseconds())
	}
}
