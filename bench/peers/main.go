// Peers runs the same work on strunk and on River, in alternation on one fresh durable server, and prints the medians
// and their ratios:
//
//	make bench-peers
//
// Both get the same payload, the same handler, which does nothing, the same size of pool and an
// empty schema for each round. River has the settings of its own benchmark (cmd/river/riverbench),
// and its minimum fetch cooldown where latency is measured. On a server of DATABASE_URL the schema
// public of a database of its own is used; there the figures of CPU are missing when the server's
// processes cannot be seen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// sizes say how much work a round is.
type sizes struct {
	rounds    int
	tasks     int           // of the batch enqueue and the drain
	singles   int           // enqueued one by one, by each client
	latency   time.Duration // how long tasks are enqueued at a rate
	rate      int           // a second
	snapshots bool          // whether the drain is repeated under an open snapshot
}

func main() {
	var s sizes
	flag.IntVar(&s.rounds, "rounds", 3, "rounds of each library; the medians are printed")
	flag.IntVar(&s.tasks, "tasks", 200_000, "tasks that are enqueued in batches and drained")
	flag.IntVar(&s.singles, "singles", 2_000, "tasks that each client enqueues one by one")
	flag.DurationVar(&s.latency, "latency", 10*time.Second, "how long tasks are enqueued at -rate while a worker runs")
	flag.IntVar(&s.rate, "rate", 200, "tasks a second for the latency")
	flag.BoolVar(&s.snapshots, "snapshot", true, "drain once more while a REPEATABLE READ transaction stays open")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, s sizes) (err error) {
	server, err := outboxtest.Start(ctx, outboxtest.Durable())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	fmt.Fprintf(out, "%s; %d rounds of each, medians\n", server.Source(), s.rounds)

	r := newReport()
	peers := []peer{&strunk{}, &riverqueue{}}
	for round := range s.rounds {
		for i := range peers {
			p := peers[(round+i)%len(peers)]
			began := time.Now()
			if err := measure(ctx, server.DSN(), p, s, r); err != nil {
				return fmt.Errorf("%s, round %d: %w", p.name(), round+1, err)
			}
			fmt.Fprintf(out, "round %d of %s: %v\n", round+1, p.name(), time.Since(began).Round(time.Second))
		}
	}
	return r.print(out)
}
