package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/testkit"
)

// TestMain is an agent too, as main is.
func TestMain(m *testing.M) {
	if name := agentName(); name != "" {
		exit(runAgent(context.Background(), name, os.Stdin, os.Stdout))
	}
	testkit.Main(m)
}

// tiny is for whether it works, not for what it measures.
var tiny = config{rounds: 1, size: 0.0001}

// TestEveryRowIsMeasured runs all of it, with the libraries in Go.
func TestEveryRowIsMeasured(t *testing.T) {
	t.Parallel()
	c := tiny
	c.peers = []string{"strunk", "river", "gue", "plain", "watermill", "bare"}
	testRun(t, c)
}

// TestNodeLibraries runs those for Node.js where a run of make bench-peers has installed them.
func TestNodeLibraries(t *testing.T) {
	t.Parallel()
	if _, err := findNode(t.Context(), false); err != nil {
		t.Skip("graphile-worker and pg-boss are left out:", err)
	}
	c := tiny
	c.peers = []string{"graphile-worker", "pg-boss"}
	testRun(t, c)
}

func testRun(t *testing.T, c config) {
	c.page = t.TempDir()
	var out bytes.Buffer
	if err := run(t.Context(), &out, c); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	page, err := os.ReadFile(filepath.Join(c.page, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range allPeers(nodeAgents{}) {
		for _, of := range allRows() {
			if of.has(p) && wanted(c.peers, p.name) {
				checkLines(t, string(page), of, p)
			}
		}
	}
	checkPictures(t, c.page, string(page))
}

// checkLines looks for a figure in each line of a row, in the column of a peer.
func checkLines(t *testing.T, page string, of row, p peer) {
	var columns []string
	for text := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(text), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[0] == "" {
			columns = cells
		}
		column := slices.Index(columns, p.name)
		for _, l := range of.lines {
			if cells[0] != l.what+", "+l.unit {
				continue
			}
			if column < 0 {
				t.Errorf("%s has no column for %q", p.name, l.what)
			} else if cells[column] == "-" && !mayLack(l, p) {
				t.Errorf("%s has no figure for %q", p.name, l.what)
			}
		}
	}
	for _, l := range of.lines {
		if !strings.Contains(page, "| "+l.what+", "+l.unit+" |") {
			t.Errorf("the page has no line %q", l.what)
		}
	}
}

// mayLack says whether a peer need not have a measure: bare rows have no worker, and the CPU of a server on another
// machine or system cannot be seen.
func mayLack(l *line, p peer) bool {
	_, seen := readProcess(os.Getpid())
	seen = seen && os.Getenv("DATABASE_URL") == ""
	return p.kind.floor() || !seen && strings.Contains(l.what, "CPU of the server")
}

func checkPictures(t *testing.T, dir, page string) {
	files, err := filepath.Glob(filepath.Join(dir, "benchmarks", "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(page, "![") != len(files) || len(files) == 0 {
		t.Errorf("the page has %d pictures, the directory %d", strings.Count(page, "!["), len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page, "](benchmarks/"+filepath.Base(file)+")") {
			t.Errorf("the page does not show %s", filepath.Base(file))
		}
		if err := wellFormed(text); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		if strings.Contains(string(text), "NaN") || strings.Contains(string(text), "Inf") {
			t.Errorf("%s has a number that is none", filepath.Base(file))
		}
	}
}

func wellFormed(text []byte) error {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestWireCountsQueries counts what a client of either protocol asks, and the connections.
func TestWireCountsQueries(t *testing.T) {
	t.Parallel()
	s, err := startServer(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	c := s.pool.Config().ConnConfig
	w, err := newWire(c.Host, int(c.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=127.0.0.1 port=%s user=%s password=%s dbname=%s "+
		"sslmode=disable", w.port(), c.User, c.Password, c.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for range 3 {
		if _, err := conn.Exec(t.Context(), "SELECT $1::integer", 7); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; COMMIT"); err != nil { // one message
		t.Fatal(err)
	}
	if queries, open := w.queries.Load(), w.open.Load(); queries != 4 || open != 1 {
		t.Errorf("%d queries over %d connections; want 4 over 1", queries, open)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		values       []float64
		want         figures
	}{
		{"odd", "the one in the middle, whatever the order", []float64{9, 1, 5}, figures{1, 5, 9}},
		{"even", "half way between the two in the middle", []float64{4, 1, 2, 100}, figures{1, 3, 100}},
		{"one", "itself", []float64{7}, figures{7, 7, 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := peer{name: "strunk"}
			r := &report{values: map[cell][]float64{{lineDrain, "strunk"}: c.values}}
			if got, ok := r.figures(lineDrain, p); !ok || got != c.want {
				t.Errorf("%v, %v; want %v: %s", got, ok, c.want, c.reason)
			}
		})
	}
}

func TestBest(t *testing.T) {
	t.Parallel()
	quick, slow, floor := peer{name: "quick"}, peer{name: "slow"}, peer{name: "floor", kind: forFloor}
	r := &report{values: map[cell][]float64{
		{lineDrain, "quick"}: {10}, {lineDrain, "slow"}: {5}, {lineDrain, "floor"}: {99},
		{lineDue50, "quick"}: {1}, {lineDue50, "slow"}: {2},
	}}
	r.values[cell{lineDue50, "fewer"}], r.notes = []float64{0.1}, map[cell]string{{lineDue50, "fewer"}: noteSlower}
	fewer := peer{name: "fewer"}
	for _, l := range []*line{lineDrain, lineDue50, lineStart} {
		want := "quick"
		if l == lineStart {
			want = "" // nobody has a figure
		}
		for _, columns := range [][]peer{{quick, slow, floor, fewer}, {fewer, floor, slow, quick}} {
			if got := r.best(l, columns); got != want {
				t.Errorf("%s: best is %q, want %q", l.what, got, want)
			}
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value float64
		want  string
	}{
		{0.712, "0.71"}, {12.34, "12.3"}, {123.4, "123"}, {1_167, "1,167"}, {3_832, "3,830"}, {79_912, "79,900"},
		{135_640, "135,600"}, {1_328_000, "1,328,000"},
	} {
		if got := number(c.value); got != c.want {
			t.Errorf("%v is written %q, want %q", c.value, got, c.want)
		}
	}
}

func TestUnknownRow(t *testing.T) {
	t.Parallel()
	_, err := chosenRows([]string{"drain", "no-such"})
	if err == nil || !strings.Contains(err.Error(), "rate-snapshot") {
		t.Errorf("%v does not name the rows", err)
	}
}
