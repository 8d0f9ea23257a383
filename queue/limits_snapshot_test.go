package queue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// isAdmission tells the statements within strunk_admit, strunk_admit_keys and strunk_claim that search the table, and
// those of turns.sql.
func (p *plan) isAdmission() bool {
	return strings.Contains(p.Query, "WITH quota AS MATERIALIZED") ||
		strings.Contains(p.Query, "WITH c AS MATERIALIZED") ||
		strings.Contains(p.Query, "NOT t.admitted AND t.seq > ") || strings.Contains(p.Query, "ORDER BY t.slot + 0") ||
		strings.Contains(p.Query, ".strunk_turns t") || strings.Contains(p.Query, "AS m(watermark, o)")
}

// admissionIndexes are the indexes that each search must use, by how its plan names it: a plan with
// another walks what is done.
var admissionIndexes = []string{claimIndex, "strunk_outbox_tasks_arrived", "strunk_outbox_tasks_backlog",
	"strunk_outbox_tasks_returning",
	"strunk_outbox_tasks_slots", "strunk_outbox_tasks_low_slot", "strunk_turns_pkey", "strunk_turns_key"}

func TestOpenSnapshotDoesNotSlowLimited(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		limits queue.Limits
	}{
		{"in order", queue.Limits{FIFO: true}},
		{"by number", queue.Limits{RunningPerKey: 2}},
		{"in turn", queue.Limits{Fair: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSnapshotBed(t)
			s.q = queue.Define[note]("snapshot", queue.Config{Limits: c.limits})
			// No sweep over all keys: those take what time they may, whatever they touch.
			s.far.run(s.q.Worker(s.handle, queue.Concurrency(8), queue.PollInterval(time.Hour)))
			// Before those that count the indexes get their second level, to which each search descends from then on.
			const rounds, settled, each = 60, 12, 60
			var touched [][]int // by round, what each claim touched of the indexes
			for range rounds {
				s.addKeys(each)
				s.awaitDone(0)
				var pages []int
				for _, p := range s.plans.take() {
					if n, ok := touchedByAdmission(t, p); ok {
						pages = append(pages, n)
					}
				}
				touched = append(touched, pages)
			}
			perTask := func(rounds [][]int) float64 {
				sum := 0
				for _, pages := range rounds {
					for _, n := range pages {
						sum += n
					}
				}
				return float64(sum) / float64(len(rounds)*each)
			}
			first, last := perTask(touched[settled:settled+10]), perTask(touched[3*rounds/4:])
			t.Logf("%d tasks; searches touch %.1f pages of indexes a task at first, %.1f at the end", s.done(),
				first, last)
			if last > 1.7*first {
				t.Errorf("searches touch %.1f pages a task at the end, %.1f at first: they grow with the tasks done",
					last, first)
			}
			for _, id := range s.all {
				if s.handled[id] != 1 {
					t.Errorf("task %d was handled %d times; want once", id, s.handled[id])
				}
			}
		})
	}
}

// touchedByAdmission sums what a search touched of the tasks' indexes, less the rows it found.
func touchedByAdmission(t *testing.T, p plan) (n int, ok bool) {
	if !p.isAdmission() {
		return 0, false
	}
	p.Root.walk(func(node *planNode) {
		if (node.Relation != "strunk_outbox_tasks" && node.Relation != "strunk_turns") || node.Loops == 0 {
			return
		}
		switch {
		case slices.Contains(admissionIndexes, node.Index):
			n += node.Hit + node.Read - int(node.Rows*node.Loops)
		case node.Type != "Tid Scan" && node.Type != "ModifyTable":
			t.Errorf("an admission reads the tasks by %s %s:\n%s", node.Type, node.Index, p.Query)
		}
	})
	return n, true
}

// addKeys enqueues n tasks, two in five of one busy key and the others of twenty.
func (s *snapshotBed) addKeys(n int) {
	s.t.Helper()
	s.in(func(tx *outbox.OwnedTx) error {
		items := make([]queue.Item, n)
		for i := range items {
			key := fmt.Sprint("key-", i%20)
			if i%5 < 2 {
				key = "busy"
			}
			items[i] = s.q.Item(note{}, queue.CustomerKey(key), queue.Priority([]int{0, 4, 9}[i%3]))
		}
		done, err := queue.EnqueueAll(context.Background(), tx, items...)
		for _, d := range done {
			s.all = append(s.all, d.ID)
		}
		return err
	})
}
