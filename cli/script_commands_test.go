package cli_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/queue"
)

// changing is what differs from run to run, and what stands for it.
var changing = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "YYYY-MM-DD hh:mm:ss"},
	{regexp.MustCompile(`(_seconds": )[0-9.e-]+`), "${1}N"},
	{regexp.MustCompile(`(started by  ).+`), "${1}WHO"},
	{regexp.MustCompile(`("paused_by": )"[^"]+"`), `${1}"WHO"`},
	{regexp.MustCompile(`("id": )\d{5,}`), "${1}N"},
	{regexp.MustCompile(`("n": )\d+(,\s+"precision": "estimate")`), "${1}N${2}"},
	{regexp.MustCompile(`("(role|held_by|started_by)": )"[^"]+"`), `${1}"WHO"`},
	{regexp.MustCompile(`\d\d:\d\d:\d\d UTC  pending`), "hh:mm:ss UTC  pending"},
	{regexp.MustCompile(`(\(devel\)( [0-9a-f]{12})?|v\d+\.\d+\.\d+-\S+|unknown)(", *\n|, tables)`), "VERSION${3}"},
	{regexp.MustCompile(`( a minute +)[0-9.-]+`), "${1}RATE"},
	{regexp.MustCompile(`go1\.[0-9.a-z-]+`), "goN"},
	{regexp.MustCompile(`~\d+`), "~N"},
	{regexp.MustCompile(`\d+\.\d [KM]iB`), "SIZE"},
	{regexp.MustCompile(`("steps": )\d+(,\s+"version": )\d+`), "${1}N${2}N"}, // of the tables
	{regexp.MustCompile(` +((\d+h)?\d+m)?\d+(\.\d+)?(ms|s)\b`), " AGE"},
}

// steadied writes words for all that changes.
func steadied(out []byte) []byte {
	for _, c := range changing {
		out = c.what.ReplaceAll(out, []byte(c.as))
	}
	return out
}

// runSQL runs one statement: `sql 'UPDATE …'`.
func runSQL(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	_, err := poolOf(ts).Exec(context.Background(), args[0])
	if neg != (err != nil) {
		ts.Fatalf("sql: %v", err)
	}
}

// runPsql runs one statement by the program psql, which comes with a PostgreSQL server.
func runPsql(ts *testscript.TestScript, _ bool, args []string) {
	program, err := pgserver.Psql()
	ts.Check(err)
	ts.Check(ts.Exec(program, "-X", "-A", "-v", "ON_ERROR_STOP=1", "-d", ts.Getenv("DATABASE_URL"), "-c", args[0]))
}

// work runs a worker on email-queue until it has done as many tasks as there are payloads: these, in any order.
func work(ts *testscript.TestScript, _ bool, want []string) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Soon)
	defer cancel()
	done := make(chan string, 100)
	ended := make(chan error, 1)
	box := boxOf(ts)
	go func() {
		ended <- box.Run(ctx, emails.Worker(func(_ context.Context, task queue.Task[string]) error {
			done <- task.Payload
			return nil
		}))
	}()
	var got []string
	for len(got) < len(want) && ctx.Err() == nil {
		select {
		case payload := <-done:
			got = append(got, payload)
		case <-ctx.Done():
		}
	}
	cancel()
	ts.Check(<-ended)
	close(done)
	for payload := range done {
		got = append(got, payload)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		ts.Fatalf("worked %q, want %q", got, want)
	}
}

// failEvents runs a subscriber that fails on order 2 (`fail NAME block|park`) until a person has to act.
func failEvents(ts *testscript.TestScript, _ bool, args []string) {
	policy := map[string]events.FailurePolicy{"block": events.Block, "park": events.Park}[args[1]]
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Soon)
	defer cancel()
	ended := make(chan error, 1)
	box := boxOf(ts)
	go func() {
		ended <- box.Run(ctx, orders.Subscriber(args[0], func(_ context.Context, e events.Event[order]) error {
			if e.EntityID == "2" {
				return errors.New("the index is \x1b[31mfull")
			}
			return nil
		}, events.OnFailure(policy), events.MaxAttempts(1), events.Concurrency(1)))
	}()
	for waits := false; !waits && ctx.Err() == nil; {
		sub, err := ops.SubscriberStats(ctx, box, args[0])
		parked, _ := events.Parked(ctx, box, args[0], 1)
		waits = err == nil && (sub.Blocked != nil || (len(parked) == 1 && parked[0].Waiting))
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	ts.Check(<-ended)
}
