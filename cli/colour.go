package cli

import "strings"

// Sequences of a terminal that colour what follows, until plain.
const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// shades are the colours of the words that tell the state of something, by how they begin. A word
// that stands nowhere has none.
var shades = []struct {
	colour string
	words  []string
}{
	{red, []string{"fail", "dead", "blocked", "expired", "needs a restart", "no worker"}},
	{yellow, []string{"warn", "paused", "yes", "on hold", "silent", "not running", "behind", "cancelled", "discarded",
		"retry"}},
	{green, []string{"ok", "running", "working", "delivered", "done"}},
}

// isState reports whether a field of a table of two columns is such a word.
func isState(field string) bool { return field == "status" || field == "state" }

// paint colours a word by what it says.
func paint(word string) string {
	for _, s := range shades {
		for _, w := range s.words {
			if strings.HasPrefix(word, w) {
				return s.colour + word + plain
			}
		}
	}
	return word
}
