package histories_test

import (
	"strings"
	"testing"

	"github.com/strunk-go/strunk/internal/faults/histories"
)

func state(entity string, mark int64) histories.State {
	return histories.State{Entity: entity, Mark: mark}
}

func seen(entity string, version, mark int64) histories.Seen {
	return histories.Seen{State: state(entity, mark), Version: version}
}

// Each thing that can be wrong is named, and what is right is not.
func TestCheck(t *testing.T) {
	t.Parallel()
	published := []histories.State{state("a", 10), state("a", 20), state("a", 30), state("b", 10)}
	for why, c := range map[string]struct {
		seen []histories.Seen
		want string
	}{
		"once, in order": {[]histories.Seen{
			seen("a", 1, 10), seen("b", 1, 10), seen("a", 2, 20), seen("a", 3, 30)}, ""},
		"repeats, from an earlier place on": {[]histories.Seen{seen("a", 1, 10), seen("a", 2, 20), seen("a", 1, 10),
			seen("a", 2, 20), seen("b", 1, 10), seen("a", 3, 30), seen("b", 1, 10)}, ""},
		"one is missing at the end": {[]histories.Seen{seen("a", 1, 10), seen("a", 2, 20), seen("b", 1, 10)},
			"a: mark 30 was not seen"},
		"an entity is missing": {[]histories.Seen{seen("a", 1, 10), seen("a", 2, 20), seen("a", 3, 30)},
			"b: mark 10 was not seen"},
		"out of order": {[]histories.Seen{seen("b", 1, 10), seen("a", 1, 10), seen("a", 3, 30), seen("a", 2, 20)},
			"a: version 3 came after version 1"},
		"never published": {[]histories.Seen{seen("a", 1, 10), seen("a", 2, 20), seen("a", 3, 30), seen("b", 1, 10),
			seen("b", 2, 99)}, "b: version 2 with mark 99 was never published"},
		"a version twice": {[]histories.Seen{seen("b", 1, 10), seen("a", 1, 10), seen("a", 2, 20), seen("a", 2, 30)},
			"a: version 2 has mark 20 and mark 30"},
		"a state twice": {[]histories.Seen{seen("b", 1, 10), seen("a", 1, 10), seen("a", 2, 20), seen("a", 3, 30),
			seen("a", 3, 20)}, "a: mark 20 has version 2 and version 3|a: version 3 has mark 30 and mark 20"},
	} {
		if got := strings.Join(histories.Check(published, c.seen), "|"); got != c.want {
			t.Errorf("%s: %q, want %q", why, got, c.want)
		}
	}
}

// A log that was filled again is whole when each version is there behind the one below it.
func TestInOrder(t *testing.T) {
	t.Parallel()
	published := []histories.State{state("a", 10), state("a", 20), state("a", 30)}
	whole := []histories.Seen{seen("a", 3, 30), seen("a", 1, 10), seen("a", 3, 30), seen("a", 2, 20), seen("a", 3, 30)}
	if got := histories.Check(published, histories.InOrder(whole)); got != nil {
		t.Errorf("a whole one: %v", got)
	}
	got := histories.Check(published, histories.InOrder(whole[:4]))
	if strings.Join(got, "|") != "a: mark 30 was not seen" {
		t.Errorf("version 3 stands only before 2: %v", got)
	}
}

// Two databases have published versions of the same entity to one log.
func TestOf(t *testing.T) {
	t.Parallel()
	first, second := []histories.State{state("a", 1), state("a", 2)}, []histories.State{state("a", 1), state("a", 3)}
	log := []histories.Seen{seen("a", 1, 1), seen("a", 2, 2), seen("a", 2, 3)}
	for _, published := range [][]histories.State{first, second} {
		if got := histories.Check(published, histories.Of(published, log)); got != nil {
			t.Errorf("%v: %v", published, got)
		}
	}
}
