package main

import (
	"context"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestExample(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	if err := run(ctx, stop); err != nil {
		t.Fatal(err)
	}
}
