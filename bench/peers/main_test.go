package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestEveryMeasureIsTaken runs all of it, very small: whether it works, not what it measures.
func TestEveryMeasureIsTaken(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tiny := sizes{rounds: 1, tasks: 400, singles: 10, latency: 200 * time.Millisecond, rate: 100, snapshots: true}
	if err := run(t.Context(), &out, tiny); err != nil {
		t.Fatal(err)
	}
	for _, what := range order {
		line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(what) +
			` +\S+ +\S+ +(\S+)$`).FindStringSubmatch(out.String())
		if line == nil {
			t.Errorf("the report has no line for %q:\n%s", what, out.String())
			continue
		}
		if line[1] == "-" && (!strings.Contains(what, "CPU") || seesServer()) {
			t.Errorf("the report has no ratio for %q:\n%s", what, out.String())
		}
	}
}

// seesServer says whether the server is a child of this machine's /proc: not with DATABASE_URL, not on other systems.
func seesServer() bool {
	_, ok := readProcess(os.Getpid())
	return ok && os.Getenv("DATABASE_URL") == ""
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		values       []float64
		want         float64
	}{
		{"odd", "the one in the middle, whatever the order", []float64{9, 1, 5}, 5},
		{"even", "half way between the two in the middle", []float64{4, 1, 2, 100}, 3},
		{"one", "itself", []float64{7}, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newReport()
			for _, v := range c.values {
				r.add("x", "strunk", v)
			}
			if got, ok := r.median("x", "strunk"); !ok || got != c.want {
				t.Errorf("median %v, %v; want %v: %s", got, ok, c.want, c.reason)
			}
		})
	}
}

func TestQuartersAddUp(t *testing.T) {
	t.Parallel()
	q := newQuarters(8)
	q.begin()
	for range 8 {
		q.tick()
	}
	for i, at := range q.at {
		if at.IsZero() {
			t.Errorf("quarter %d of 8 calls was not noted", i+1)
		}
	}
}
