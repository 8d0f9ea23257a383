package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/schedule"
)

const (
	processes = 4
	schedules = 4
	kills     = 8
)

// TestOneTaskPerTickAcrossProcesses has four processes run the same schedules while they are killed and replaced, and
// wants exactly one task for every due time: none twice, none left out.
func TestOneTaskPerTickAcrossProcesses(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool)
	for i := range schedules {
		mustRegister(t, box, fmt.Sprintf("tick-%d", i), "every 100ms",
			schedule.OnMisfire(schedule.CatchUp(schedule.MostCaughtUp)))
	}
	children := make([]*exec.Cmd, processes)
	for i := range children {
		children[i] = startChild(t, outboxtest.DSN(pool))
	}
	for kill := range kills {
		before := query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs`)
		testkit.Eventually(t, "the survivors go on", func() bool {
			return query[int](t, pool, `SELECT count(*) FROM public.strunk_schedule_runs`) >= before+2*schedules
		})
		time.Sleep(rand.N(50 * time.Millisecond)) // any point of a tick
		i := kill % processes
		killChild(children[i])
		children[i] = startChild(t, outboxtest.DSN(pool))
	}
	for _, c := range children {
		killChild(c)
	}
	checkTicks(t, pool)
}

func startChild(t *testing.T, dsn string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), envRunner+"="+dsn)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killChild(c) })
	return c
}

func killChild(c *exec.Cmd) {
	_ = c.Process.Kill() // one that is gone already is what we want
	_ = c.Wait()
}

// checkTicks wants as many tasks as due times between the first and the last, each of its own.
func checkTicks(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
		SELECT metadata->>'schedule', count(*), count(DISTINCT due_at), count(DISTINCT metadata->>'scheduled_for'),
			round(extract(epoch FROM max(due_at) - min(due_at)) * 10)::bigint + 1
		FROM public.strunk_outbox WHERE kind = 'task' GROUP BY 1 ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := 0
	for rows.Next() {
		var id string
		var tasks, dues, marks, want int
		if err := rows.Scan(&id, &tasks, &dues, &marks, &want); err != nil {
			t.Fatal(err)
		}
		if tasks != want || dues != want || marks != want {
			t.Errorf("%s: %d tasks for %d due times (%d in their metadata); want %d, one each", id, tasks, dues,
				marks, want)
		}
		seen++
	}
	if err := rows.Err(); err != nil || seen != schedules {
		t.Fatalf("%d schedules enqueued, %v; want %d", seen, err, schedules)
	}
	t.Logf("%d tasks over %d kills of %d "+
		"processes", query[int](t, pool, `SELECT count(*) FROM public.strunk_outbox`), kills, processes)
}
