package ops_test

import (
	"os"
	"strings"
	"testing"
)

// Each alert links to its section, which answers four questions; each section is of an alert.
func TestEveryAlertHasARunbook(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	alerts := readAlerts(t)
	for _, rule := range strings.Split(alerts, "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		body, found := sections[name]
		if !found || !strings.Contains(rule, "runbook_url: "+runbookOf(name)+"\n") {
			t.Errorf("%s: no section of its own, or no link to it", name)
		}
		for _, question := range []string{"What it means", "How to look", "What to do", "When it ends"} {
			if strings.Count(body, "**"+question+".** ")+strings.Count(body, "**"+question+".**\n") != 1 {
				t.Errorf("%s: the section does not say once: %s", name, question)
			}
		}
		delete(sections, name)
	}
	for name := range sections {
		t.Errorf("%s: there is no such alert", name)
	}
}
