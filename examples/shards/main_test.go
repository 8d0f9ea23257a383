package main

import (
	"context"
	"os"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func Example_run() {
	if err := run(context.Background(), os.Stdout); err != nil {
		panic(err)
	}
	// Output:
	// welcomed: [ada bob cleo dora emil fred]
	// shard 0: [bob cleo emil fred]
	// shard 1: [ada dora]
	// shards: ok
}
