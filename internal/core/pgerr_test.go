package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/strunk-go/strunk/internal/core"
)

func TestIsDatabaseAway(t *testing.T) {
	t.Parallel()
	state := func(code string) error { return &pgconn.PgError{Code: code} }
	_, refused := pgconn.Connect(t.Context(), "host=127.0.0.1 port=1 sslmode=disable")
	for _, c := range []struct {
		name, reason string
		err          error
		want         bool
	}{
		{"nothing", "no error", nil, false},
		{"refused", "no server listens", refused, true},
		{"cut", "the connection broke", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), true},
		{"network", "so it did", &net.OpError{Op: "read", Err: errors.New("reset")}, true},
		{"stops", "the server shuts down", state("57P01"), true},
		{"starts", "or starts", state("57P03"), true},
		{"full", "or has no connection left", state("53300"), true},
		{"standby", "or takes no changes", state("25006"), true},
		{"slow", "it answers too late", state("57014"), false},
		{"deadline", "that is the client's time", fmt.Errorf("ask: %w", context.DeadlineExceeded), false},
		{"wrong", "a mistake of ours", state("42601"), false},
		{"other", "not of the database", errors.New("no"), false},
	} {
		if got := core.IsDatabaseAway(c.err); got != c.want {
			t.Errorf("%s (%s): %v: %v", c.name, c.reason, c.err, got)
		}
	}
}
