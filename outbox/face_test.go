package outbox_test

import (
	"os/exec"
	"regexp"
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

// internalName finds the packages that only strunk's own can import, in what go doc shows. An error's value may come
// from one.
var internalName = regexp.MustCompile(`(?m)^.*\b(anytx|core|cut|pgserver|queuelink|runtest|testkit)\.[A-Z].*$`)

// TestPublicFace reads what go doc shows of every package: nothing that only strunk's own packages could call.
func TestPublicFace(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{if ne .Name \"main\"}}{{.ImportPath}}{{end}}",
		"../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		if path == "" || strings.Contains(path, "/internal/") {
			continue
		}
		read++
		out, err := exec.CommandContext(t.Context(), "go", "doc", "-all", path).CombinedOutput()
		if err != nil {
			t.Errorf("go doc %s: %v\n%s", path, err, out)
		}
		for _, line := range internalName.FindAllString(string(out), -1) {
			if !strings.Contains(line, "= core.New") {
				t.Errorf("go doc %s shows what nobody can call: %s", path, line)
			}
		}
	}
	if read < 20 {
		t.Errorf("%d packages were read", read)
	}
}
