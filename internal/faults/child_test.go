package faults

import (
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/testkit"
)

const spoken = 40

func TestMain(m *testing.M) {
	said := make(chan string)
	Heard = func(what string) { said <- what }
	Main(Roles{"speaker": func() {
		for i := range spoken {
			fmt.Println("line", i)
		}
	}, "echo": func() {
		for what := range said {
			fmt.Println("heard", what)
		}
	}})
	testkit.Main(m)
}

// What a child has printed before it ended can be awaited after that.
func TestAwaitAfterTheEnd(t *testing.T) {
	t.Parallel()
	child := Spawn(t, "speaker")
	<-child.gone
	for i := range spoken {
		if got, want := child.Await(t, "line", time.Minute), fmt.Sprint(i); got != want {
			t.Fatalf("line %q; want %q", got, want)
		}
	}
}

// A child is told something while it runs.
func TestTell(t *testing.T) {
	t.Parallel()
	child := Spawn(t, "echo")
	for i := range 3 {
		child.Tell(fmt.Sprint("word ", i))
		if got, want := child.Await(t, "heard", time.Minute), fmt.Sprint("word ", i); got != want {
			t.Fatalf("the child heard %q; want %q", got, want)
		}
	}
}
