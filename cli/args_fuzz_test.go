package cli

import (
	"slices"
	"strings"
	"testing"
)

// Whatever the words of a command line are, reordering adds none and is stable. It loses none, but for those beside -h
// and --help, which ask for the help of a command, whatever else is given.
func FuzzReorder(f *testing.F) {
	f.Add("stats")
	f.Fuzz(func(t *testing.T, line string) {
		app := (&program{}).app()
		args := append([]string{"strunk"}, strings.Split(line, "\n")...)
		got, err := reorder(app, slices.Clone(args))
		if err != nil {
			return
		}
		help := slices.ContainsFunc(args, func(word string) bool { return word == "-h" || word == "--help" })
		want := slices.Sorted(slices.Values(args))
		if !help && !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Fatalf("%q became %q", args, got)
		}
		for _, word := range got {
			if word != "--help" && !slices.Contains(args, word) {
				t.Fatalf("%q became %q: nobody said %q", args, got, word)
			}
		}
		again, err := reorder(app, slices.Clone(got))
		if err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q became %q, and that %q (%v)", args, got, again, err)
		}
	})
}
