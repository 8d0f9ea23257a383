// Package pgserver finds or starts a PostgreSQL server for tests, benchmarks and examples, and leaves nothing of it
// behind.
//
// A server comes from the first of these ways that works:
//
//   - "env": the server that DATABASE_URL names. Only databases of random names are created there, and dropped again;
//     what exists is left alone. When DATABASE_URL is set but cannot be used, that is an error, not a reason to go on.
//   - "installed": server programs on PATH, then in the usual places of Debian, Red Hat and Homebrew, newest first.
//   - those that an imported package has registered: "docker" of outbox/outboxtest/docker, "download" of
//     outbox/outboxtest/download.
//
// On Unix a watchdog process outlives the caller for a moment: however the caller ends, SIGKILL included, the server,
// its directory, its container or its databases are then removed. Elsewhere (Windows) Close does it, and a caller that
// is killed leaves its server running.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// MinVersion is the oldest major version of PostgreSQL that is accepted.
const MinVersion = 14

// Config says which server to get. The zero value is right for tests.
type Config struct {
	// Durable keeps fsync and full_page_writes on and the data on disk, as benchmarks need. By
	// default they are off, and only a crash of the machine, not one of the server, loses what was
	// committed. It does not concern the server of DATABASE_URL.
	Durable bool

	// Logger receives one record when the server is up and one for each way that failed. The default discards them.
	Logger *slog.Logger

	// Only restricts the search to one way: "env", "installed", or the name of a registered one.
	// The default is all: these two, then the registered ones.
	Only string

	// BinDir is a directory of server programs to use instead of any other way.
	BinDir string

	// Dir is where the server's directory is made. The default is memory unless Durable, else the system's directory
	// for temporary files. It concerns servers started from programs alone.
	Dir string

	// Settings are further settings of the server (as in postgresql.conf); they win over those of this package, except
	// where the server listens. They do not concern the server of DATABASE_URL.
	Settings map[string]string
}

// Server is a running PostgreSQL server. Its methods are safe for concurrent use.
type Server struct {
	backend  Backend
	admin    admin
	run      string // of random hexadecimal digits, in the names of this server's databases
	closing  sync.Once
	closeErr error
}

// Backend is a server that one of the ways has found or started.
type Backend interface {
	// DSN returns the connection string of a role that may create databases.
	DSN() string
	// Source says in words where the server came from.
	Source() string
	// Close gives the server up; what was started for this process ends.
	Close() error
}

// restarter is a backend whose server can be stopped and started again.
type restarter interface {
	stop(ctx context.Context) error
	start(ctx context.Context) error
}

// guard is a backend whose owner must be marked as alive before a database is created in it.
type guard interface {
	ensureOwned(ctx context.Context) error
}

// Start returns a server that accepts connections. The context bounds the start alone; the server runs until Close or
// the end of the process. When no server can be had, the error names every way tried, why it failed, and what to
// install.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	return start(ctx, cfg, systemPlaces())
}

// DSN returns the connection string of a role that may create databases: the database "postgres" of a server of our
// own, or DATABASE_URL as it is.
func (s *Server) DSN() string { return s.backend.DSN() }

// Source says in words where the server came from.
func (s *Server) Source() string { return s.backend.Source() }

// Throwaway reports whether the server itself goes with this process; that of DATABASE_URL stays.
func (s *Server) Throwaway() bool {
	_, stays := s.backend.(*external)
	return !stays
}

// Close stops the server and removes it with everything in it. For DATABASE_URL it drops what NewDatabase created
// and is still there, and leaves the server alone. Later calls return what the first returned.
func (s *Server) Close() error {
	s.closing.Do(func() {
		s.admin.close()
		s.closeErr = s.backend.Close()
	})
	return s.closeErr
}

// StopServer shuts the server down at once, as a crash would ("immediate"), and keeps its data. It returns when the
// server is gone. Servers of DATABASE_URL and of containers cannot be stopped: the error is errors.ErrUnsupported.
func (s *Server) StopServer(ctx context.Context) error {
	r, ok := s.backend.(restarter)
	if !ok {
		return errNotOurs
	}
	return r.stop(ctx)
}

// StartServer starts a server that StopServer stopped, with the same connection strings, and returns when it accepts
// connections.
func (s *Server) StartServer(ctx context.Context) error {
	r, ok := s.backend.(restarter)
	if !ok {
		return errNotOurs
	}
	return r.start(ctx)
}

// errNotOurs answers who stops a server that this process did not start as its own child.
var errNotOurs = failed("stop or start the server: only one started from server programs can be: %w",
	errors.ErrUnsupported)

func failed(format string, args ...any) error {
	return fmt.Errorf("strunk/outboxtest: "+format, args...)
}
