package outbox_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestForeignTransactionDoesNotCompile passes a pgx.Tx where an outbox.Tx belongs: the compiler says what to use.
func TestForeignTransactionDoesNotCompile(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", t.TempDir(), "./testdata/pgxtx").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "pgx.Tx does not implement outbox.Tx") ||
		!strings.Contains(string(out), "useBoxTxOrBoxSQLTx") {
		t.Errorf("go build: %v\n%s", err, out)
	}
}

// TestPublicFace reads what go doc shows of a Box: nothing that only strunk's own packages could call.
func TestPublicFace(t *testing.T) {
	t.Parallel()
	for _, symbol := range []string{"Box", "OwnedTx", "Tx"} {
		out, err := exec.CommandContext(t.Context(), "go", "doc", symbol).CombinedOutput()
		if err != nil || strings.Contains(string(out), "core.") {
			t.Errorf("go doc %s: %v\n%s", symbol, err, out)
		}
	}
}
