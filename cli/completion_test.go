package cli_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
)

// The bash script completes a command, a subcommand and a flag, in bash.
func TestBashCompletes(t *testing.T) {
	t.Parallel()
	bash := testkit.Program(t, "bash")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, dir+"/strunk"); err != nil {
		t.Skip("no symbolic links:", err)
	}
	for _, c := range []struct{ name, reason, line, want string }{
		{"command", "a part of a name", "strunk dead", "dead-letters"},
		{"behind a flag", "the flag's value is no command", "strunk --database-url postgres://localhost/db subs",
			"subscribers"},
		{"subcommand", "nothing is typed yet", "strunk schema ", "list show diff register check export"},
		{"flag", "behind an argument", "strunk replay search-indexer --f", "--from"},
		{"hostile", "what stands on the line is not run", "strunk --schema $(echo>" + dir + "/ran) dead",
			"dead-letters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(bash, "--norc", "-c", `source <(strunk completion bash)
COMP_LINE="$1" COMP_POINT=${#1} && _strunk_complete strunk && echo "${COMPREPLY[*]}"`, "bash", c.line)
			cmd.Env = append(os.Environ(), asProgram+"=1", "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
				t.Errorf("%q (%v), want %q: %s", got, err, c.want, c.reason)
			}
			if _, err := os.Stat(dir + "/ran"); err == nil {
				t.Error("the line was run")
			}
		})
	}
}
