package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// What is measured, in the order of the report.
const (
	drainRate     = "drain, tasks/s"
	batchRate     = "batch enqueue, tasks/s"
	single1       = "single enqueue, own transaction, 1 client, tasks/s"
	single8       = "single enqueue, own transaction, 8 clients, tasks/s"
	borrowed1     = "single enqueue, application's transaction, 1 client, tasks/s"
	borrowed8     = "single enqueue, application's transaction, 8 clients, tasks/s"
	latency50     = "commit to handler, p50, ms"
	latency99     = "commit to handler, p99, ms"
	batchWAL      = "WAL of the enqueue, bytes/task"
	drainWAL      = "WAL of the drain, bytes/task"
	totalWAL      = "WAL of both, bytes/task"
	batchCPU      = "server CPU of the enqueue, µs/task"
	drainCPU      = "server CPU of the drain, µs/task"
	totalCPU      = "server CPU of both, µs/task"
	snapshotRate  = "drain under an open snapshot, tasks/s"
	snapshotFirst = "  its first quarter, tasks/s"
	snapshotLast  = "  its last quarter, tasks/s"
)

var order = []string{
	drainRate, batchRate, single1, single8, borrowed1, borrowed8, latency50, latency99,
	batchWAL, drainWAL, totalWAL, batchCPU, drainCPU, totalCPU, snapshotRate, snapshotFirst, snapshotLast,
}

// report collects what the rounds measured.
type report struct {
	values map[[2]string][]float64
}

func newReport() *report { return &report{values: map[[2]string][]float64{}} }

func (r *report) add(what, name string, value float64) {
	key := [2]string{what, name}
	r.values[key] = append(r.values[key], value)
}

func (r *report) median(what, name string) (float64, bool) {
	values := slices.Sorted(slices.Values(r.values[[2]string{what, name}]))
	if len(values) == 0 {
		return 0, false
	}
	return (values[len(values)/2] + values[(len(values)-1)/2]) / 2, true
}

// print writes one line for each measure: the medians, and what strunk's is of River's.
func (r *report) print(out io.Writer) error {
	lines := []string{fmt.Sprintf(lineFormat, "", "strunk", "river", "strunk/river")}
	for _, what := range order {
		strunk, ok := r.median(what, "strunk")
		river, also := r.median(what, "river")
		line := fmt.Sprintf(lineFormat, what, "-", "-", "-")
		if ok && also {
			line = fmt.Sprintf(lineFormat, what, figure(strunk), figure(river), fmt.Sprintf("%.2f", strunk/river))
		}
		lines = append(lines, line)
	}
	_, err := io.WriteString(out, strings.Join(lines, ""))
	return err
}

const lineFormat = "%-60s %10s %10s %13s\n"

// figure drops the digits that mean nothing.
func figure(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
