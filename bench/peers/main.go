// Peers runs the same work on strunk and on the libraries that do the same, one beside the other on one fresh durable
// server, and writes what it measured to docs/benchmarks.md:
//
//	make bench-peers
//
// Each library runs in processes of its own (protocol.go), with the best settings that its documents name. Every row of
// the table begins with an empty database; in each round the libraries take turns, beginning with another one. The
// libraries for Node.js are installed in the user's cache directory, if npm is there. A part of the table:
//
//	go run . -only latency,drain -peers strunk,river -rounds 1
//
// On a server of DATABASE_URL the schemas public, business, graphile_worker and pgboss of a database of its own are
// used; there the figures of CPU are missing when the server's processes cannot be seen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// config is what the flags say.
type config struct {
	rounds  int
	size    float64  // of the work, as a part of the usual
	only    []string // names of rows; none means all
	peers   []string // beginnings of names; none means all
	page    string   // directory of benchmarks.md; empty writes none
	install bool     // whether what is missing is got from npm
	durable bool     // whether the server's disk is waited for
}

func main() {
	if name := agentName(); name != "" {
		exit(runAgent(context.Background(), name, os.Stdin, os.Stdout))
	}
	c := config{install: true, durable: true}
	var only, peers string
	flag.IntVar(&c.rounds, "rounds", 3, "rounds of each library; the medians are reported")
	flag.Float64Var(&c.size, "size", 1, "size of the work, as a part of the usual")
	flag.StringVar(&only, "only", "", "rows to measure, of: "+strings.Join(rowNames(), ", "))
	flag.StringVar(&peers, "peers", "", "libraries to measure, by the beginning of their names, such as strunk,river")
	flag.StringVar(&c.page, "page", "", "directory to write benchmarks.md and its pictures to, such as ../../docs")
	flag.Parse()
	c.only, c.peers = list(only), list(peers)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, os.Stdout, c))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func list(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ',' || r == ' ' })
}

// run measures, prints the table and writes the page. What failed leaves a gap in both, and is returned at the end.
func run(ctx context.Context, out io.Writer, c config) (err error) {
	rows, err := chosenRows(c.only)
	if err != nil {
		return err
	}
	s, err := startServer(ctx, c.durable)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	peers, missing := findPeers(ctx, s, c)
	r := &report{config: c, commit: commit(), server: s, peers: peers, missing: missing, values: map[cell][]float64{},
		notes: map[cell]string{}}
	if len(peers) == 0 {
		return fmt.Errorf("no library is called %q", c.peers)
	}
	fmt.Fprintf(out, "%s; %d rounds\n%s", s.source(), c.rounds, strings.Join(append(missing, ""), "\n"))
	began := time.Now()
	failed := r.measure(ctx, out, rows)
	r.took = time.Since(began)
	if err := r.print(out, rows); err != nil {
		return err
	}
	if c.page != "" && ctx.Err() == nil {
		failed = errors.Join(failed, r.writePage(c.page, rows))
	}
	return failed
}

// measure goes through the rounds. In each the next library begins.
func (r *report) measure(ctx context.Context, out io.Writer, rows []row) (failed error) {
	usual := usualSizes.scaled(r.config.size)
	for round := range r.config.rounds {
		for _, row := range rows {
			for i := range r.peers {
				p := r.peers[(round+i)%len(r.peers)]
				if !row.has(p) {
					continue
				}
				began := time.Now()
				err := measureRow(ctx, &bench{server: r.server, peer: p, sizes: usual, report: r}, row)
				if ctx.Err() != nil {
					return errors.Join(failed, ctx.Err())
				}
				if err != nil {
					err = fmt.Errorf("%s of %s, round %d: %w", row.name, p.name, round+1, err)
					failed = errors.Join(failed, err)
					fmt.Fprintln(out, err)
				}
				fmt.Fprintf(out, "round %d of %d, %s of %s: %.1f s\n", round+1, r.config.rounds, row.name, p.name,
					time.Since(began).Seconds())
			}
		}
	}
	return failed
}
