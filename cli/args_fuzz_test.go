package cli

import (
	"slices"
	"strings"
	"testing"
)

// Whatever the words of a command line are, reordering loses none, adds none, and is stable.
func FuzzReorder(f *testing.F) {
	f.Add("stats")
	f.Fuzz(func(t *testing.T, line string) {
		app := (&program{}).app()
		args := append([]string{"strunk"}, strings.Split(line, "\n")...)
		got, err := reorder(app, slices.Clone(args))
		if err != nil {
			return
		}
		if want := slices.Sorted(slices.Values(args)); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Fatalf("%q became %q", args, got)
		}
		again, err := reorder(app, slices.Clone(got))
		if err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q became %q, and that %q (%v)", args, got, again, err)
		}
	})
}
