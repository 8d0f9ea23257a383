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
	// 1.1 is compatible with 1.0
	// 2.0 is refused:
	//   against 1.0: "" required: 2.0 no longer requires the property "total", which 1.0 does
	//     keep it required, for readers rely on it
	//   against 1.0: "/properties/id" type: 2.0 no longer accepts integer, which 1.0 does
	//     keep the type, and add a property of another name for the new one
	//   against 1.1: "" required: 2.0 no longer requires the property "total", which 1.1 does
	//     keep it required, for readers rely on it
	//   against 1.1: "/properties/id" type: 2.0 no longer accepts integer, which 1.1 does
	//     keep the type, and add a property of another name for the new one
	// not published: /status enum: must be one of "open", "shipped"
	// order 42: from before there were notes
}
