package queue

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// testBox returns a box that says nothing, on a database of the test's own.
func testBox(t *testing.T) (*pgxpool.Pool, *outbox.Box) {
	t.Helper()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return pool, box
}

// testSession returns a session of a worker of the queue, which the test drives by hand.
func testSession(t *testing.T, box *outbox.Box, queue string) *session {
	t.Helper()
	ctx := t.Context()
	s, err := newSession(newWorker(newDefinition(queue, Config{}), nil, nil),
		core.Life{Soft: ctx, Hard: ctx, End: ctx}, modelRuntime{core.BoxHost(box)}, time.Second, newClaimSize())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
