package cli_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// slowRows is how many dead letters the test of long work makes, where it is set:
// STRUNK_SLOW_ROWS=1000000 go test ./cli -run RetryAllIsResumed -v -timeout 60m
const slowRows = "STRUNK_SLOW_ROWS"

func deadRows(t *testing.T) int {
	if os.Getenv(slowRows) == "" {
		return 20_000
	}
	n, err := strconv.Atoi(os.Getenv(slowRows))
	if err != nil {
		t.Fatalf("%s: %v", slowRows, err)
	}
	return n
}

// strunk starts the program. The function waits for its end.
func strunk(t *testing.T, pool *pgxpool.Pool, args ...string) (*exec.Cmd, func() (out, errs string, code int)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+outboxtest.DSN(pool))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, func() (string, string, int) {
		_ = cmd.Wait()
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
}

func number(t *testing.T, pool *pgxpool.Pool, sql string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// A signal in the middle lets the running transaction end; the next call does the rest, and nothing is done twice. Each
// transaction is bounded, and so are those of purge.
func TestRetryAllIsResumed(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send a process an interrupt")
	}
	pool, total := outboxtest.New(t), deadRows(t)
	if _, err := pool.Exec(t.Context(), `INSERT INTO public.strunk_outbox_dead (id, seq, created_at,
		finished_at, attempts, status, kind, key, last_error, payload)
SELECT i, i, now(), now(), 12, 'dead', 'task', 'email-queue', 'no', '{}' FROM generate_series(1, $1::integer)
i`, total); err != nil {
		t.Fatal(err)
	}
	number(t, pool, `SELECT setval('public.strunk_outbox_id_seq', `+strconv.Itoa(total)+`)::integer`)

	_, asked := strunk(t, pool, "retry-all", "email-queue")
	if out, errs, code := asked(); out != "" || code != 2 || errs != "strunk: retry-all would retry "+
		strconv.Itoa(total)+" dead letters of \"email-queue\": nothing was done; repeat it with --yes to do it\n" {
		t.Fatalf("without --yes: %q, %q, %d", out, errs, code)
	}
	first := interrupted(t, pool, total)
	if first < 1000 || first >= total {
		t.Fatalf("the interrupted call retried %d of %d, not a part", first, total)
	}
	if n := number(t, pool, `SELECT count(*) FROM public.strunk_outbox_tasks WHERE status = 'pending'
		AND attempts = 0`); n != first {
		t.Errorf("it said %d, and %d are pending", first, n)
	}
	started := time.Now()
	_, wait := strunk(t, pool, "retry-all", "--yes", "email-queue")
	if out, errs, code := wait(); out != "retried "+strconv.Itoa(total-first)+" dead letters\n" || errs != "" ||
		code != 0 {
		t.Fatalf("the second call: %q, %q, %d; the first retried %d", out, errs, code, first)
	}
	t.Logf("retried %d in %v", total-first, time.Since(started).Round(time.Millisecond))
	if n := number(t, pool, `SELECT count(DISTINCT id) FROM public.strunk_outbox_tasks WHERE status = 'pending'
		AND attempts = 0`); n != total {
		t.Errorf("%d of %d are pending", n, total)
	}
	if n := number(t, pool, `SELECT max(n) FROM (SELECT count(*) AS n FROM public.strunk_outbox_tasks
		GROUP BY xmin) x`); n > 500 {
		t.Errorf("one transaction retried %d", n)
	}
	_, wait = strunk(t, pool, "retry-all", "--yes", "email-queue")
	if out, _, code := wait(); out != "retried 0 dead letters\n" || code != 0 {
		t.Errorf("the third call: %q, %d", out, code)
	}
}

// interrupted runs retry-all, sends it an interrupt while one of its transactions waits for a lock,
// and returns how many it says that it has retried.
func interrupted(t *testing.T, pool *pgxpool.Pool, total int) int {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM public.strunk_outbox_dead WHERE id = 1234 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	cmd, wait := strunk(t, pool, "retry-all", "--yes", "email-queue")
	testkit.Eventually(t, "retry-all comes to the row that is locked", func() bool {
		return number(t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND application_name LIKE 'strunk retry-all %/%' AND wait_event_type = 'Lock'`) > 0
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, errs, code := wait()
	said := regexp.MustCompile(`^strunk: retried (\d+) dead letters, then: interrupted; call it again for the rest\n$`).
		FindStringSubmatch(errs)
	if code != 1 || out != "" || said == nil {
		t.Fatalf("the interrupted call: %q, %q, %d", out, errs, code)
	}
	n, _ := strconv.Atoi(said[1])
	if left := number(t, pool, `SELECT count(*) FROM public.strunk_outbox_dead`); left != total-n {
		t.Errorf("it said %d, and %d of %d are left", n, left, total)
	}
	return n
}
