// Package outboxtest gives tests and example programs a throwaway PostgreSQL, with the outbox's tables in it.
//
//	func TestOrders(t *testing.T) {
//		pool := outboxtest.New(t)
//		box, err := outbox.Open(t.Context(), pool, outbox.Config{})
//		...
//	}
//
// # The server
//
// Each test binary has one server, started on first need, and each test a database of its own in
// it. The server is that of DATABASE_URL when it is set; else it is started from the server
// programs (PostgreSQL 14 or newer) on PATH, or from the newest in the usual places of Debian, Red
// Hat and Homebrew. Two packages add a further way each for machines without such programs, to
// whoever imports them: outboxtest/docker a container, where a Docker daemon answers, and
// outboxtest/download programs that are downloaded once and kept in the user's cache directory.
//
//	import _ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
//
// A server of our own gives up durability (fsync) for speed, is reached by a Unix socket (Windows:
// by a port of localhost), and runs as user postgres or nobody when the caller is root. Its files
// are in TMPDIR when that is set, else in memory (/dev/shm, if it has 4 GiB to spare), else in the
// system's directory for temporary files. A server that cannot be had fails the test, saying what
// was tried.
//
// On Unix nothing is left behind: no process, no directory and no container, even after SIGKILL. On
// Windows Server.Close removes the server; the one that New and Empty use is left running, so set
// DATABASE_URL there.
//
// # DATABASE_URL
//
// It names a server and a role that may create databases (ALTER ROLE … CREATEDB), directly, not
// through a pooler. Only databases called strunk_test_… are created, and they are dropped at the
// end of each test. Those of a process that was killed are dropped at once where psql is installed,
// otherwise by the next process that uses the same role: a process holds an advisory lock while it
// lives, and a database whose process holds none is abandoned.
package outboxtest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/pgserver"
)

// DefaultMaxConns is how many connections a pool of New or Empty has at most, unless MaxConns says otherwise.
const DefaultMaxConns = 10

// New returns a pool of connections to a fresh database that Migrate has prepared. At the end of the test the pool is
// closed and the database dropped, also when the test has closed the pool itself; a connection that was not given back
// by then fails the test. New may be called from parallel tests, and several times in one.
//
// Unless SearchPath says otherwise, the search_path of the connections is public.
func New(t testing.TB, opts ...Option) *pgxpool.Pool {
	t.Helper()
	return open(t, shared().migrated, opts)
}

// Empty is New without Migrate: the database has nothing in it.
func Empty(t testing.TB, opts ...Option) *pgxpool.Pool {
	t.Helper()
	return open(t, shared().empty, opts)
}

// DSN returns the connection string of a pool's database, for other drivers and for child processes. For a pool of New
// or Empty it is a URL that libpq, pgx and lib/pq understand, with the same search_path, and valid until the test ends.
func DSN(pool *pgxpool.Pool) string { return pool.Config().ConnString() }

// Option adjusts the pool of New and Empty.
type Option interface{ apply(*options) }

// MaxConns sets how many connections the pool has at most.
func MaxConns(n int32) Option { return optionFunc(func(o *options) { o.maxConns = n }) }

// SearchPath sets the search_path of the pool's connections, as in "app, public". With an empty one, a statement that
// forgets to qualify a table's name fails. The default is "public".
func SearchPath(path string) Option { return optionFunc(func(o *options) { o.searchPath = path }) }

// Server is a throwaway server for a program, with one fresh database in it. Its methods are safe for concurrent use.
type Server struct {
	server *pgserver.Server
	dsn    string
}

// Start returns a server with a fresh, empty database; the search_path is the server's default. The context bounds the
// start alone: the server runs until Close or the end of the program. The error of a server that cannot be had says
// what was tried and what to install.
func Start(ctx context.Context, opts ...StartOption) (*Server, error) {
	var cfg pgserver.Config
	for _, o := range opts {
		o.applyStart(&cfg)
	}
	server, err := pgserver.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	dsn, _, err := server.NewDatabase(ctx, "")
	if err != nil {
		_ = server.Close() // the error to report is the first
		return nil, err
	}
	return &Server{server: server, dsn: dsn}, nil
}

// DSN returns the connection string of the fresh database.
func (s *Server) DSN() string { return s.dsn }

// Source says in words where the server came from, as in "installed programs in … (PostgreSQL 18.1)".
func (s *Server) Source() string { return s.server.Source() }

// Close removes the server, or, for DATABASE_URL, the database. Later calls return what the first returned.
func (s *Server) Close() error { return s.server.Close() }

// StartOption adjusts Start.
type StartOption interface{ applyStart(*pgserver.Config) }

// Durable keeps fsync and full_page_writes on and the data on disk, as a benchmark needs; a server
// of DATABASE_URL is left as it is.
func Durable() StartOption {
	return startFunc(func(c *pgserver.Config) { c.Durable = true })
}

// Logger has Start report where the server came from, and which ways to one failed.
func Logger(l *slog.Logger) StartOption {
	return startFunc(func(c *pgserver.Config) { c.Logger = l })
}
