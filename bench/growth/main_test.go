package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// A small run has a line for each of its parts, and some while a snapshot is open.
func TestSmallRun(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), &out, sizes{waiting: 2 * batchSize, rate: 500, lasts: 6 * time.Second,
		every: 500 * time.Millisecond, report: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	_, lines, _ := strings.Cut(out.String(), "|---|\n")
	if n := strings.Count(lines, "\n"); n < 2 || !strings.Contains(lines, "| open |") {
		t.Errorf("%d lines; want some, and one with an open snapshot", n)
	}
}
