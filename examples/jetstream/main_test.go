package main

import (
	"context"
	"testing"
	"time"
)

func TestExample(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	if err := run(ctx, stop); err != nil {
		t.Fatal(err)
	}
}
