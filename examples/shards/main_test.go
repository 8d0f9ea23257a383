package main

import (
	"context"
	"os"
)

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
