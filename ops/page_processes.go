package ops

import (
	"slices"
	"time"
)

// processesShown is what the view of the processes shows.
type processesShown struct {
	// Queue is what is looked at; empty means all.
	Queue     string
	Processes []processRow
	Running   []runningRow
}

// processRow is a process with how much of it is used.
type processRow struct {
	Process
	State State
	Class string
	// Claimed counts the tasks that its workers hold, the next ones included.
	Claimed Count
}

// runningRow is a task that runs, and where.
type runningRow struct {
	RunningTask
	Host string
	PID  int
}

// longestRunning is how many tasks the view shows.
const longestRunning = 20

func processesView(c *call) (any, error) {
	queue := c.query.Get("queue")
	all, err := Processes(c.ctx, c.box, queue)
	return newProcesses(queue, all), err
}

// newProcesses shows processes, and of all their tasks those that run longest.
func newProcesses(queue string, all []Process) processesShown {
	v := processesShown{Queue: queue}
	for _, p := range all {
		v.Processes = append(v.Processes, p.row())
		for _, r := range p.Running {
			v.Running = append(v.Running, runningRow{r, p.Host, p.PID})
		}
	}
	slices.SortStableFunc(v.Running, func(a, b runningRow) int { return a.ClaimedAt.Compare(b.ClaimedAt) })
	v.Running = v.Running[:min(len(v.Running), longestRunning)]
	return v
}

// row is a process with its state and its tasks.
func (p Process) row() processRow {
	state := p.State()
	r := processRow{Process: p, State: state, Class: state.class(), Claimed: Count{Precision: Exact}}
	for _, w := range p.Workers {
		r.Claimed.N += w.Claimed.N
		if w.Claimed.Precision != Exact {
			r.Claimed.Precision, r.Claimed.Age = w.Claimed.Precision, w.Claimed.Age
		}
	}
	return r
}

// Silence is SilentFor, for templates.
func (r processRow) Silence() time.Duration { return r.SilentFor() }
