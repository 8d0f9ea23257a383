package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cost is what a piece of work took, and took from the server.
type cost struct {
	took  time.Duration
	wal   int64         // bytes
	cpu   time.Duration // of all the server's processes
	noCPU bool          // the processes cannot be seen
}

// cost does the work. A checkpoint goes before it, so that nobody pays for another's.
func (b *bench) cost(ctx context.Context, work func(context.Context) error) (c cost, err error) {
	if _, err := b.pool.Exec(ctx, "CHECKPOINT"); err != nil {
		return c, err
	}
	postmaster, err := b.postmaster(ctx)
	if err != nil {
		return c, err
	}
	walBefore, err := b.wal(ctx)
	if err != nil {
		return c, err
	}
	cpuBefore, seen := serverCPU(postmaster)
	began := time.Now()
	if err := work(ctx); err != nil {
		return c, err
	}
	c.took = time.Since(began)
	cpuAfter, seenAfter := serverCPU(postmaster)
	c.cpu, c.noCPU = cpuAfter-cpuBefore, !seen || !seenAfter
	walAfter, err := b.wal(ctx)
	c.wal = walAfter - walBefore
	return c, err
}

func (b *bench) wal(ctx context.Context) (at int64, err error) {
	err = b.pool.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&at)
	return at, err
}

// postmaster returns the parent of a backend, or 0 where it cannot be seen: another machine, no /proc.
func (b *bench) postmaster(ctx context.Context) (pid int, err error) {
	if err := b.pool.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
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

type process struct {
	command          string
	parent           int
	cpu, childrenCPU time.Duration
}

// clockTick is the unit of /proc/PID/stat on every Linux that Go runs on (USER_HZ).
const clockTick = 10 * time.Millisecond

// readProcess reads /proc/PID/stat: proc(5).
func readProcess(pid int) (p process, ok bool) {
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
