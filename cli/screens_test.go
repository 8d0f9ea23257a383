package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strunk-go/strunk/cli"
)

// screenColumns is the width of the terminal that the command screen has.
const screenColumns = 80

// escapes are what a terminal does rather than shows, and how scripts write them.
var escapes = strings.NewReplacer("\x1b[1m", "<b>", "\x1b[31m", "<red>", "\x1b[32m", "<green>", "\x1b[33m", "<yellow>",
	"\x1b[0m", "</>")

// rows begin a row of a screen that is drawn over another, drawing is what else that takes, shades are colours.
var (
	rows    = regexp.MustCompile(`\x1b\[\d+;1H`)
	drawing = regexp.MustCompile(`\x1b\[(J|\?7[lh])`)
	shades  = regexp.MustCompile(`\x1b\[\d+m`)
)

// onScreen runs a command on a terminal of 80 columns: `screen queues` writes what it shows to the file screen.
func onScreen(ts *testscript.TestScript, neg bool, args []string) {
	out := drawing.ReplaceAllString(rows.ReplaceAllString(shown(ts, neg, screenColumns, args), "\n"), "")
	for line := range strings.SplitSeq(out, "\n") {
		n := len([]rune(shades.ReplaceAllString(line, "")))
		if n > screenColumns && !strings.HasPrefix(line, "strunk: ") && args[0] != "completion" {
			ts.Fatalf("%d columns: %s", n, line)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(escapes.Replace(out)), 0o600))
}

// asJSON runs a command with --json: `json queues` writes what it prints to the file screen.
func asJSON(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(shown(ts, neg, 0, append(args, "--json"))), 0o600))
}

// shown is what a command has printed. What differs from run to run is replaced.
func shown(ts *testscript.TestScript, neg bool, columns int, args []string) string {
	out, errs, code := runHere(ts, columns, args)
	if neg != (code != cli.ExitDone) {
		ts.Fatalf("%s: exit code %d: %s%s", strings.Join(args, " "), code, out, errs)
	}
	return string(steadied([]byte(out + errs)))
}

// needNoScreen are the commands whose output is not compared as a whole, and why; needNoJSON the same of --json.
var (
	needNoScreen = map[string]string{"demo": "it starts a server", "doctor": "it finds what the server has",
		"grants": "it names every function; see TestRolesCanDoTheirWorkOnly", "health": "it finds what the server has",
		"serve": "it serves until it is ended", "tail": "see TestTailTellsARetryFromADelay"}
	needNoJSON = map[string]string{"completion": "a script", "demo": "it starts a server",
		"doctor": "it finds what the server has", "grants": "SQL", "health": "it finds what the server has",
		"serve": "it serves until it is ended", "tail": "see TestTailTellsARetryFromADelay",
		"top": "it has the sizes of the day's partitions"}
)

// Each command of the program has its exact output compared by a script, on 80 columns and as JSON: a new command
// without one is red here.
func TestEveryCommandHasAScript(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	compared := regexp.MustCompile(`(?m)^!? ?(screen|json) (.*)\ncmp screen `)
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range compared.FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(line[2])
			for n := range words {
				seen[line[1]+" "+strings.Join(words[:n+1], " ")] = true
			}
		}
	}
	for _, name := range cli.CommandNames() {
		if needNoScreen[name] == "" && !seen["screen "+name] {
			t.Errorf("no script compares what `strunk %s` shows: add `screen %s` and `cmp screen FILE`", name, name)
		}
		if needNoJSON[name] == "" && !seen["json "+name] {
			t.Errorf("no script compares what `strunk %s --json` prints: add `json %s` and `cmp screen FILE`", name,
				name)
		}
	}
}

// cleanTerminal has the tests see the same colours and name everywhere.
func cleanTerminal() {
	_ = os.Setenv("TERM", "xterm")
	_ = os.Unsetenv("NO_COLOR")
	_ = os.Setenv("STRUNK_ACTOR", "ann@laptop")
}
