package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// An error for want of a right names the role, and the command that prints roles that have it.
func TestMissingRightsNameTheRole(t *testing.T) {
	t.Parallel()
	var errs bytes.Buffer
	p := &program{Streams: Streams{Err: &errs}, role: "watcher"}
	code := p.fail(fmt.Errorf("pausing: %w", &pgconn.PgError{Code: pgerrcode.InsufficientPrivilege,
		Message: "permission denied for function strunk_pause_queue"}))
	if got := errs.String(); code != ExitFailed || !strings.Contains(got, `the role "watcher"`) ||
		!strings.Contains(got, "`strunk grants`") || !strings.Contains(got, "permission denied") {
		t.Errorf("exit code %d, %q; want the role and the command", code, got)
	}
}
