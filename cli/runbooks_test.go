package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The commands of docs/runbooks.md are there, with the flags that it gives them.
func TestRunbooksNameRealCommands(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	real := map[string][]string{}
	commandFlags(real, "", (&program{}).app().Commands)
	found := regexp.MustCompile("[`\n]strunk ([a-z][^`\n]*)").FindAllStringSubmatch(string(text), -1)
	if len(found) < 20 {
		t.Fatalf("%d commands", len(found))
	}
	for _, m := range found {
		words := append(strings.Fields(m[1]), "")
		name := words[0] + " " + words[1]
		flags, ok := real[name]
		if !ok {
			name = words[0]
			flags, ok = real[name]
		}
		if !ok {
			t.Errorf("strunk %s: there is no command %q", m[1], name)
		}
		for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(m[1], -1) {
			if !strings.Contains(" "+strings.Join(flags, " ")+" ", " "+flag[1]+" ") {
				t.Errorf("strunk %s: there is no flag --%s", m[1], flag[1])
			}
		}
	}
}
