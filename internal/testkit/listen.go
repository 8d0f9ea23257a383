package testkit

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Listen listens on a channel of a pool's database until the test ends, over a connection of its own. heard returns the
// notifications since the last call.
func Listen(t *testing.T, pool *pgxpool.Pool, channel string) (heard func() []string) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig.Copy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	return func() (all []string) {
		const end = "end"
		if _, err := pool.Exec(t.Context(), "SELECT pg_notify($1, $2)", channel, end); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := conn.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n.Payload == end {
				return all
			}
			all = append(all, n.Payload)
		}
	}
}
