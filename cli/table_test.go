package cli

import (
	"strings"
	"testing"
)

// A table fits the terminal: texts are cut, then columns are left out, and the last text goes on below itself.
func TestTablesFitTheTerminal(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("the mailbox is full ", 10)
	cut := &table{header: []string{"ID#", "QUEUE~", "PRIORITY#?", "ENDED@", "ERROR~"}}
	cut.add(1, "emails", 5, "2026-01-31 18:00:00 UTC", long)
	wrap := &table{header: []string{"CHECK", "FOUND&"}}
	wrap.add("queues", long)
	wrap.add("one", "\U0001F4E8"+strings.Repeat("x", 100))
	for _, columns := range []int{120, 80, 50, 40} {
		for _, tab := range []*table{cut, wrap} {
			for line := range strings.Lines(tab.render(look{width: columns})) {
				if n := width(strings.TrimRight(line, "\n")); n > columns {
					t.Errorf("%d columns on a terminal of %d: %s", n, columns, line)
				}
			}
		}
	}
	narrow, wide := cut.render(look{width: 50}), cut.render(look{})
	if strings.Contains(narrow, "PRIORITY") || !strings.Contains(narrow, "…") {
		t.Errorf("on 50 columns: %s; want no priority, and a cut error", narrow)
	}
	if !strings.Contains(wide, "PRIORITY") || !strings.Contains(wide, strings.TrimSpace(long)) ||
		!strings.Contains(wide, "ENDED (UTC)") || strings.Contains(wide, "00 UTC") {
		t.Errorf("without a terminal: %s; want all of it, and UTC in the header alone", wide)
	}
	got := strings.Join(strings.Fields(wrap.render(look{width: 80})), " ")
	if strings.Count(got, "the mailbox is full") != 10 {
		t.Errorf("wrapped: %s; want every word", got)
	}
}

// Colours say how things are, on terminals alone.
func TestStatesAreColoured(t *testing.T) {
	t.Parallel()
	tab := &table{header: []string{"QUEUE", "STATE"}}
	tab.add("emails", "failing")
	if got := tab.render(look{colours: true}); !strings.Contains(got, red+"failing"+plain) {
		t.Errorf("%q; want it red", got)
	}
	if got := tab.render(look{}); strings.Contains(got, "\x1b") {
		t.Errorf("%q; want no colours", got)
	}
}
