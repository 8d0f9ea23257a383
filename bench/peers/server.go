package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// server is the fresh one, with a pool of this program's own.
type server struct {
	started *outboxtest.Server
	pool    *pgxpool.Pool
	version string
}

func startServer(ctx context.Context, durable bool) (*server, error) {
	var options []outboxtest.StartOption
	if durable {
		options = append(options, outboxtest.Durable())
	}
	started, err := outboxtest.Start(ctx, options...)
	if err != nil {
		return nil, err
	}
	s := &server{started: started}
	cfg, err := pgxpool.ParseConfig(started.DSN())
	if err == nil {
		cfg.MaxConns = 1 // it is the one that empty lets live
		s.pool, err = pgxpool.NewWithConfig(ctx, cfg)
	}
	if err == nil {
		err = s.pool.QueryRow(ctx, "SHOW server_version").Scan(&s.version)
	}
	if err != nil {
		_ = started.Close()
	}
	return s, err
}

func (s *server) source() string { return s.started.Source() }

func (s *server) close() error {
	s.pool.Close()
	return s.started.Close()
}

// empty removes what the last row made, and makes the table of an application. Connections of processes that have ended
// may take a moment to end; they are waited for.
func (s *server) empty(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`)
	if err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, `DROP SCHEMA IF EXISTS public, business, graphile_worker, pgboss CASCADE;
CREATE SCHEMA public;
CREATE SCHEMA business;
CREATE TABLE business.orders (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer text NOT NULL,
	note text NOT NULL
)`)
	return err
}

// env is this program's environment with the server's address, as libpq, pgx and node-postgres read it.
func (s *server) env() []string {
	c := s.pool.Config().ConnConfig
	encryption := "disable"
	if c.TLSConfig != nil {
		encryption = "require"
	}
	return append(os.Environ(), "PGHOST="+c.Host, "PGPORT="+strconv.Itoa(int(c.Port)), "PGUSER="+c.User,
		"PGPASSWORD="+c.Password, "PGDATABASE="+c.Database, "PGSSLMODE="+encryption,
		"PGMAXCONNS="+strconv.Itoa(maxConns))
}

// cost is what a piece of work took, from the server and from its clients.
type cost struct {
	took      time.Duration
	wal       int64         // bytes
	cpu       time.Duration // of all the server's processes
	noCPU     bool          // the processes cannot be seen
	clientCPU time.Duration
}

// cost does the work, of the agents. A checkpoint goes before it, so that nobody pays for another's.
func (b *bench) cost(ctx context.Context, agents []*process, work func() error) (c cost, err error) {
	if _, err := b.server.pool.Exec(ctx, "CHECKPOINT"); err != nil {
		return c, err
	}
	postmaster, err := b.server.postmaster(ctx)
	if err != nil {
		return c, err
	}
	walBefore, err := b.server.wal(ctx)
	if err != nil {
		return c, err
	}
	clientBefore := agentsCPU(agents)
	cpuBefore, seen := serverCPU(postmaster)
	began := time.Now()
	if err := work(); err != nil {
		return c, err
	}
	c.took = time.Since(began)
	cpuAfter, seenAfter := serverCPU(postmaster)
	c.cpu, c.noCPU = cpuAfter-cpuBefore, !seen || !seenAfter
	c.clientCPU = agentsCPU(agents) - clientBefore
	walAfter, err := b.server.wal(ctx)
	c.wal = walAfter - walBefore
	return c, err
}

// agentsCPU is what the agents had used at their last answers.
func agentsCPU(agents []*process) (total time.Duration) {
	for _, p := range agents {
		total += time.Duration(p.cpu) * time.Microsecond
	}
	return total
}

func (s *server) wal(ctx context.Context) (at int64, err error) {
	err = s.pool.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&at)
	return at, err
}

// postmaster returns the parent of a backend, or 0 where it cannot be seen: another machine, no /proc.
func (s *server) postmaster(ctx context.Context) (pid int, err error) {
	if err := s.pool.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return 0, err
	}
	backend, ok := readProcess(pid)
	if !ok || !strings.HasPrefix(backend.command, "postgres") {
		return 0, nil
	}
	return backend.parent, nil
}

// serverCPU is the user and system time of the server's processes. Those that have ended are among the postmaster's
// children's.
func serverCPU(postmaster int) (total time.Duration, seen bool) {
	parent, ok := readProcess(postmaster)
	if !ok {
		return 0, false
	}
	total = parent.cpu + parent.childrenCPU
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, false
	}
	for _, stat := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			continue
		}
		if child, ok := readProcess(pid); ok && child.parent == postmaster {
			total += child.cpu + child.childrenCPU
		}
	}
	return total, true
}

type procStat struct {
	command          string
	parent           int
	cpu, childrenCPU time.Duration
}

// clockTick is the unit of /proc/PID/stat on every Linux that Go runs on (USER_HZ).
const clockTick = 10 * time.Millisecond

// readProcess reads /proc/PID/stat: proc(5).
func readProcess(pid int) (p procStat, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return p, false
	}
	before, after, ok := cutLast(string(text), ") ") // the command may hold spaces and brackets
	fields := strings.Fields(after)
	if !ok || len(fields) < 15 {
		return p, false
	}
	_, p.command, _ = strings.Cut(before, "(")
	var n [15]int64
	for i := 1; i < len(n); i++ {
		n[i], _ = strconv.ParseInt(fields[i], 10, 64)
	}
	p.parent = int(n[1])
	p.cpu = time.Duration(n[11]+n[12]) * clockTick
	p.childrenCPU = time.Duration(n[13]+n[14]) * clockTick
	return p, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
