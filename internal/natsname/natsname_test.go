package natsname_test

import (
	"testing"

	"github.com/strunk-go/strunk/internal/natsname"
)

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outer, inner string
		covers       bool
	}{
		{"a.>", "a.b.c", true}, {"a.>", "a.>", true}, {"a.*.c", "a.b.c", true}, {"a.b", "a.b", true},
		{"a.>", "a", false}, {"a.*", "a.>", false}, {"a.*", "a.b.c", false}, {"a.b", "a.*", false},
	} {
		if got := natsname.Covers(c.outer, c.inner); got != c.covers {
			t.Errorf("%s covers %s: %v; want %v", c.outer, c.inner, got, c.covers)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	if got := natsname.Token("a.b c_-é"); got != "a%2Eb%20c_-%C3%A9" {
		t.Errorf("%s", got)
	}
}
