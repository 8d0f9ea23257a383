package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// row is a piece of work whose measures are lines of the table.
type row struct {
	name    string
	kinds   []kind
	lines   []*line
	measure func(*bench, context.Context) error
}

// line is one measure.
type line struct {
	what string
	unit string
	more bool // whether more is better
}

func (r row) has(p peer) bool { return slices.Contains(r.kinds, p.kind) }

var (
	lineDrain     = &line{"drain of tasks whose handler does nothing", "tasks/s", true}
	lineBatch     = &line{"batch enqueue, 5,000 a transaction, one client", "tasks/s", true}
	lineWAL       = &line{"WAL of a task, enqueued and done", "bytes", false}
	lineServerCPU = &line{"CPU of the server for a task, enqueued and done", "µs", false}
	lineClientCPU = &line{"CPU of the client for a task, enqueued and done", "µs", false}

	lineSnapshot     = &line{"drain under an open snapshot", "tasks/s", true}
	lineSnapshotTail = &line{"drain under an open snapshot, its last tenth", "tasks/s", true}

	lineProcesses = &line{"drain by 4 worker processes on one queue", "tasks/s", true}

	lineSlow50 = &line{"commit to handler at 200/s, p50", "ms", false}
	lineSlow99 = &line{"commit to handler at 200/s, p99", "ms", false}

	lineDue50 = &line{"lateness of due tasks, p50", "ms", false}
	lineDue99 = &line{"lateness of due tasks, p99", "ms", false}

	lineIdleQueries     = &line{"idle worker process, 50 queues: queries", "queries/s", false}
	lineIdleConnections = &line{"idle worker process, 50 queues: connections", "connections", false}
	lineIdleServerCPU   = &line{"idle worker process, 50 queues: CPU of the server", "s a minute", false}
	lineIdleClientCPU   = &line{"idle worker process, 50 queues: CPU of the client", "s a minute", false}

	lineStart = &line{"start of a worker to its first handler", "ms", false}

	linePublishBatch  = &line{"publish, 1,000 a transaction, one client", "events/s", true}
	linePublishSingle = &line{"publish, one a transaction, 8 clients", "events/s", true}
	lineSubscribers   = &line{"8 subscribers, all that was published", "deliveries/s", true}
	lineSubscribers2  = &line{"8 more subscribers, the same events again", "deliveries/s", true}
)

// paced are the lines of a rate under which nobody may fall behind.
type paced struct{ p50, p99, p999, most, reached *line }

func pacedLines(when string) paced {
	return paced{
		p50:     &line{"commit to handler at 2,000/s" + when + ", p50", "ms", false},
		p99:     &line{"commit to handler at 2,000/s" + when + ", p99", "ms", false},
		p999:    &line{"commit to handler at 2,000/s" + when + ", p99.9", "ms", false},
		most:    &line{"commit to handler at 2,000/s" + when + ", the longest", "ms", false},
		reached: &line{"commit to handler at 2,000/s" + when + ", enqueued in fact", "tasks/s", true},
	}
}

func (p paced) all() []*line { return []*line{p.p50, p.p99, p.p999, p.most, p.reached} }

var linesFast, linesFastSnapshot = pacedLines(""), pacedLines(" under an open snapshot")

// single is a way to enqueue in transactions.
type single struct {
	line    *line
	clients int
	worker  bool // whether a worker process runs beside it
	row     bool // whether each transaction is the application's, with a row of its own
}

// singles are in the order of measuring: a worker finds no backlog.
var singles = []single{
	newSingle(8, true, false), newSingle(32, true, false), newSingle(8, true, true), newSingle(32, true, true),
	newSingle(8, false, false), newSingle(32, false, false), newSingle(8, false, true), newSingle(32, false, true),
}

func newSingle(clients int, worker, row bool) single {
	what := "enqueue in a transaction that holds nothing else"
	if row {
		what = "enqueue in the application's transaction, with a row"
	}
	beside := "no worker"
	if worker {
		beside = "a worker process"
	}
	l := &line{fmt.Sprintf("%s, %d clients, %s", what, clients, beside), "tasks/s", true}
	return single{line: l, clients: clients, worker: worker, row: row}
}

func singleLines() (lines []*line) {
	for _, row := range []bool{false, true} {
		for _, worker := range []bool{false, true} {
			for _, s := range singles {
				if s.row == row && s.worker == worker {
					lines = append(lines, s.line)
				}
			}
		}
	}
	return lines
}

// allRows is the whole table.
func allRows() []row {
	onlyTasks, onlyEvents := []kind{forTasks}, []kind{forEvents}
	return []row{
		{"drain", onlyTasks, []*line{lineDrain, lineBatch, lineWAL, lineServerCPU, lineClientCPU}, (*bench).drain},
		{"snapshot", onlyTasks, []*line{lineSnapshot, lineSnapshotTail}, (*bench).drainUnderSnapshot},
		{"processes", onlyTasks, []*line{lineProcesses}, (*bench).drainByProcesses},
		{"singles", []kind{forTasks, forFloor}, singleLines(), (*bench).addSingly},
		{"latency", onlyTasks, []*line{lineSlow50, lineSlow99}, (*bench).slowPace},
		{"rate", onlyTasks, linesFast.all(), (*bench).fastPace},
		{"rate-snapshot", onlyTasks, linesFastSnapshot.all(), (*bench).fastPaceUnderSnapshot},
		{"due", onlyTasks, []*line{lineDue50, lineDue99}, (*bench).dueTasks},
		{"idle", onlyTasks, []*line{lineIdleQueries, lineIdleConnections, lineIdleServerCPU, lineIdleClientCPU},
			(*bench).idle},
		{"start", onlyTasks, []*line{lineStart}, (*bench).start},
		{"publish", onlyEvents, []*line{linePublishBatch}, (*bench).publishBatches},
		{"publish-single", []kind{forEvents, forEventFloor}, []*line{linePublishSingle}, (*bench).publishSingly},
		{"subscribers", onlyEvents, []*line{lineSubscribers, lineSubscribers2}, (*bench).subscribers},
	}
}

func rowNames() (names []string) {
	for _, r := range allRows() {
		names = append(names, r.name)
	}
	return names
}

// chosenRows returns those that are named; none means all.
func chosenRows(names []string) (chosen []row, err error) {
	for _, name := range names {
		if !slices.Contains(rowNames(), name) {
			return nil, fmt.Errorf("there is no row %q; there are: %s", name, strings.Join(rowNames(), ", "))
		}
	}
	for _, r := range allRows() {
		if len(names) == 0 || slices.Contains(names, r.name) {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}
