package outboxtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// complaints keeps what a test is told instead of failing it.
type complaints struct {
	testing.TB
	said string
}

func (c *complaints) Errorf(format string, args ...any) { c.said += fmt.Sprintf(format, args...) }

func TestConnectionThatWasKeptFailsTheTest(t *testing.T) {
	t.Parallel()
	pool := Empty(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := &complaints{TB: t}
	closePool(told, pool, 50*time.Millisecond)
	conn.Release()
	if !strings.Contains(told.said, "1 connections were not given back") {
		t.Errorf("the test was told %q", told.said)
	}
}
