package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// stepper is a session that is stepped by hand.
type stepper struct {
	name  string
	conn  *pgx.Conn
	steps []string
	next  int
	busy  chan error // of the step under way, nil when there is none
}

// interleaving is two sessions and an observer.
type interleaving struct {
	t        *testing.T
	watch    *pgx.Conn
	sessions map[byte]*stepper
	order    string
	trace    []string
}

// step begins the next step of a session and waits until it has ended or waits for a lock.
func (i *interleaving) step(s *stepper) {
	if s.busy != nil && !i.settle(s) {
		return // still waiting for the other session: its turn comes again at the end
	}
	if s.next == len(s.steps) {
		return
	}
	sql := s.steps[s.next]
	s.next++
	i.trace = append(i.trace, s.name+": "+sql)
	busy := make(chan error, 1)
	s.busy = busy
	go func() {
		_, err := s.conn.Exec(context.Background(), sql)
		busy <- err
	}()
	i.settle(s)
}

// settle reports whether a session's step has ended; it returns false once the session waits for a lock.
func (i *interleaving) settle(s *stepper) bool {
	i.t.Helper()
	deadline := time.Now().Add(soon)
	for {
		select {
		case err := <-s.busy:
			s.busy = nil
			i.accept(s, err)
			return true
		case <-time.After(time.Millisecond):
		}
		var waits bool
		if err := i.watch.QueryRow(context.Background(), `SELECT
			cardinality(pg_blocking_pids($1)) > 0`, s.conn.PgConn().PID()).Scan(&waits); err != nil {
			i.t.Fatal(err)
		}
		if waits {
			return false
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("stuck:\n%s", strings.Join(i.trace, "\n"))
		}
	}
}

// accept takes the end of a step: a claim may find that its worker has no lease, and its transaction is over then.
func (i *interleaving) accept(s *stepper, err error) {
	i.t.Helper()
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr) && pgErr.Code == core.CodeLeaseLost:
		i.trace = append(i.trace, s.name+": refused")
	case errors.As(err, &pgErr) && pgErr.Code == "25P02": // the rest of a refused transaction
	case err != nil:
		i.t.Fatalf("%s: %v\n%s", s.name, err, strings.Join(i.trace, "\n"))
	}
	var orphans int
	err = i.watch.QueryRow(context.Background(), `SELECT count(*) FROM public.strunk_outbox_tasks t
		WHERE t.status = 'claimed' AND NOT EXISTS (SELECT 1 FROM public.strunk_workers w
		WHERE w.id = t.worker_id)`).Scan(&orphans)
	if err != nil {
		i.t.Fatal(err)
	}
	if orphans > 0 {
		i.t.Fatalf("order %s: %d claimed rows without a worker after\n%s", i.order, orphans,
			strings.Join(i.trace, "\n"))
	}
}

func (i *interleaving) run() {
	i.t.Helper()
	for _, c := range []byte(i.order) {
		i.step(i.sessions[c])
	}
	for left := true; left; {
		left = false
		for _, s := range i.sessions {
			if s.busy != nil || s.next < len(s.steps) {
				left = true
				i.step(s)
			}
		}
	}
}

// orders returns every order of a's and b's that has n a's and m b's.
func orders(n, m int) []string {
	if n == 0 || m == 0 {
		return []string{strings.Repeat("c", n) + strings.Repeat("r", m)}
	}
	var all []string
	for _, rest := range orders(n-1, m) {
		all = append(all, "c"+rest)
	}
	for _, rest := range orders(n, m-1) {
		all = append(all, "r"+rest)
	}
	return all
}

func TestClaimAgainstRescueLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), outboxtest.DSN(pool))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	claimer, rescuer, watch := connect(), connect(), connect()
	const begin = `BEGIN ISOLATION LEVEL READ COMMITTED`
	claim := func(n int) string {
		return fmt.Sprintf(`SELECT id FROM public.strunk_claim(1, %d, 'race', 1, array_fill(0::bigint,
			ARRAY[10]), NULL)`, n)
	}
	claims := []string{begin, claim(1), `COMMIT`, claim(2)}
	const rescue = `SELECT id FROM public.strunk_rescue(1, 1000)`
	rescues := []string{begin, `SELECT public.strunk_expire_lease(1, NULL)`, `COMMIT`, rescue, rescue}
	for _, order := range orders(len(claims), len(rescues)) {
		for _, sql := range []string{
			`DELETE FROM public.strunk_outbox_tasks`, `DELETE FROM public.strunk_workers`,
			`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) VALUES (1, 1000, 1,
				1, 'race', 'here')`,
			`SELECT public.strunk_enqueue('race') FROM generate_series(1, 2)`,
		} {
			if _, err := watch.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		i := &interleaving{t: t, watch: watch, order: order, sessions: map[byte]*stepper{
			'c': {name: "claim", conn: claimer, steps: claims}, 'r': {name: "rescue", conn: rescuer, steps: rescues}}}
		i.run()
		// The real rescue goes on while it finds something.
		for {
			tag, err := watch.Exec(t.Context(), rescue)
			if err != nil {
				t.Fatal(err)
			}
			if tag.RowsAffected() == 0 {
				break
			}
		}
		var pending, workers int
		err := watch.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE status = 'pending'), (SELECT count(*)
			FROM public.strunk_workers)
			FROM public.strunk_outbox_tasks`).Scan(&pending, &workers)
		if err != nil || pending != 2 || workers != 0 {
			t.Fatalf("order %s: %d of 2 tasks are pending, %d workers are left (%v) after\n%s", order, pending,
				workers, err, strings.Join(i.trace, "\n"))
		}
	}
}
