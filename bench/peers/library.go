package main

import (
	"context"
	"runtime/debug"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// job is the payload of every library: a task's, or the state of an event.
type job struct {
	N    int    `json:"n"`
	To   string `json:"to"`
	Body string `json:"body"`
	Due  int64  `json:"due,omitempty"` // microseconds since 1970; 0 means at once
}

func newJob(n int) job { return job{N: n, To: "user@example.com", Body: "welcome"} }

// library is one that is written in Go, as its agent's process drives it.
type library interface {
	// describe returns the module whose version is measured, and the settings in words.
	describe() (module, settings string)
	// migrate makes the library's tables in a database without any.
	migrate(ctx context.Context, pool *pgxpool.Pool) error
	// open prepares the library for the other calls. The tables are there.
	open(ctx context.Context, pool *pgxpool.Pool) error
	// addMany adds the jobs in one transaction, as quickly as the library can.
	addMany(ctx context.Context, jobs []job) error
	// addOne adds a job in a transaction that holds nothing else and that the library begins, if it can.
	addOne(ctx context.Context, j job) error
	// addIn adds a job in the application's transaction.
	addIn(ctx context.Context, tx pgx.Tx, j job) error
	// work starts a worker, or subscribers.
	work(ctx context.Context, how manner, handled func(job)) (worker, error)
}

// manner is how work is to be done.
type manner struct {
	Mode  string `json:"mode"`  // one of the modes below
	Width int    `json:"width"` // queues, or subscribers
	Names string `json:"names"` // begins the names of subscribers
}

// The modes: the settings for throughput, those for a short way to the handler, and the library's defaults.
const (
	throughput = "throughput"
	quickest   = "quickest"
	defaults   = "defaults"
)

// worker is one that runs.
type worker struct {
	// settle returns when what the handlers have done is stored as done.
	settle func(handled int) error
	// stop ends it gracefully; a second call does nothing.
	stop func() error
}

// libraries are the agents that run in this program. Tasks and events of one library are two agents.
var libraries = map[string]func() library{
	"strunk":        func() library { return &strunkTasks{} },
	"strunk events": func() library { return &strunkEvents{} },
	"River":         func() library { return &riverTasks{} },
	"gue":           func() library { return &gueTasks{} },
	"watermill-sql": func() library { return &watermillEvents{} },
	"plain row":     newPlainRow,
	"bare task":     newBareTask,
	"bare event":    newBareEvent,
}

// version returns that of a module in this program.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}
