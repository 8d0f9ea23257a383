package cli

import "testing"

// Each line is put where it belongs, cut at the edge, and wrapping is on again at the end.
func TestScreenIsDrawnOverTheOldOne(t *testing.T) {
	t.Parallel()
	const want = "\x1b[?7l\x1b[1;1Hone\x1b[J\x1b[2;1H\x1b[J\x1b[3;1Hthree\x1b[J\x1b[?7h"
	if got := onScreen("one\n\nthree"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
