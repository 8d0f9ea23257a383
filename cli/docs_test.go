package cli

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	ucli "github.com/urfave/cli/v2"
)

// The first cell of a row of docs/cli.md is a command with its arguments, the last one names its flags.
var (
	docsRow  = regexp.MustCompile("(?m)^\\| `([a-z][^`]*)` \\|(.*)\\|([^|]*)\\|$")
	docsFlag = regexp.MustCompile("`--([a-z-]+)`")
	argument = regexp.MustCompile(` \[?[A-Z].*`)
)

func TestDocsNameEveryCommandAndFlag(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	app := (&program{}).app()
	real := map[string][]string{}
	commandFlags(real, "", app.Commands)
	documented := map[string][]string{}
	for _, row := range docsRow.FindAllStringSubmatch(string(text), -1) {
		documented[argument.ReplaceAllString(row[1], "")] = flagsIn(row[3])
	}
	for name, flags := range real {
		if listed, ok := documented[name]; !ok {
			t.Errorf("docs/cli.md has no row for %q", name)
		} else if !slices.Equal(flags, listed) {
			t.Errorf("docs/cli.md: %q has the flags %q, and %q are listed", name, flags, listed)
		}
	}
	for name := range documented {
		if _, ok := real[name]; !ok {
			t.Errorf("docs/cli.md lists %q, which is no command", name)
		}
	}
	for _, f := range app.Flags {
		if name := f.Names()[0]; !strings.Contains(string(text), "| `--"+name+"` |") {
			t.Errorf("docs/cli.md has no row for --%s", name)
		}
	}
}

func flagsIn(cell string) (names []string) {
	for _, match := range docsFlag.FindAllStringSubmatch(cell, -1) {
		names = append(names, match[1])
	}
	slices.Sort(names)
	return names
}

// commandFlags collects the flags of all commands that do something of their own, sorted.
func commandFlags(into map[string][]string, parent string, commands []*ucli.Command) {
	for _, c := range commands {
		name := strings.TrimSpace(parent + " " + c.Name)
		commandFlags(into, name, c.Subcommands)
		if name == "schema" || name == "import" { // only a place for others
			continue
		}
		var flags []string
		for _, f := range c.Flags {
			flags = append(flags, f.Names()[0])
		}
		slices.Sort(flags)
		into[name] = flags
	}
}
