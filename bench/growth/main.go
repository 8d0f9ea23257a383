// Growth keeps a server busy for half an hour while ten million tasks wait and reports come and go that hold a
// snapshot open, and prints each minute's latency and what the table takes on disk:
//
//	make growth
//
// Half of the waiting tasks are due tomorrow in the queue that is worked, half are pending in one without a worker.
// What should stay flat is the size of the partition of tasks that have not ended, and the latency. What is delivered
// grows with its history.
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

// sizes say what a run does.
type sizes struct {
	waiting int           // tasks that wait all the time
	rate    int           // tasks a second that are enqueued and worked
	lasts   time.Duration // how long
	every   time.Duration // between two lines of the table
	report  time.Duration // how long a report holds its snapshot; as long again passes before the next
}

func main() {
	var s sizes
	flag.IntVar(&s.waiting, "waiting", 10_000_000, "tasks that wait all the time")
	flag.IntVar(&s.rate, "rate", 5_000, "tasks a second that are enqueued and worked")
	flag.DurationVar(&s.lasts, "for", 30*time.Minute, "how long they are")
	flag.DurationVar(&s.every, "every", time.Minute, "between two lines of the table")
	flag.DurationVar(&s.report, "report", 5*time.Minute, "how long a report holds its snapshot open, every other time")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, s sizes) (err error) {
	server, err := outboxtest.Start(ctx, outboxtest.Durable())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	l, err := newLoad(ctx, server.DSN())
	if err != nil {
		return err
	}
	defer l.pool.Close()
	began := time.Now()
	if err := l.fill(ctx, s.waiting); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s; %d tasks wait after %v\n\n", server.Source(), s.waiting, time.Since(began).Round(time.Second))
	return l.run(ctx, out, s)
}
