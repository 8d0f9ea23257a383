package faults

import (
	"fmt"
	"os"
	"testing"
	"time"
)

const spoken = 40

func TestMain(m *testing.M) {
	Main(Roles{"speaker": func() {
		for i := range spoken {
			fmt.Println("line", i)
		}
	}})
	os.Exit(m.Run())
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
