package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// Whoever stops in the middle of a statement closes the control connection. Nothing was lost then, and a
// clean stop says nothing of a break. A connection that the server ends is a break, and so is one that
// was closed because its statement took too long.
func TestStoppingIsNoBreak(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	for _, c := range []struct {
		name string
		end  func(pid uint32, stop func())
		want int64
	}{
		{"the caller stops", func(_ uint32, stop func()) { stop() }, 0},
		{"the server ends it", func(pid uint32, _ func()) {
			mustExec(t, pool, `SELECT pg_terminate_backend($1)`, pid)
		}, 1},
		{"the caller's time is over", func(uint32, func()) {}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			use, breaks := outbox.Control(openBox(t, pool, outbox.Config{}))
			ping := func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) }
			if err := use(t.Context(), ping); err != nil { // connected
				t.Fatal(err)
			}
			const enough = 2 * time.Second // to send a statement; the last case waits for its end
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			err := use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
				go c.end(conn.PgConn().PID(), cancel)
				_, err := conn.Exec(ctx, "SELECT pg_sleep(60)")
				return err
			})
			if err == nil {
				t.Fatal("the statement has slept for a minute")
			}
			if err := use(t.Context(), ping); err != nil {
				t.Fatal(err)
			}
			if got := breaks(); got != c.want {
				t.Errorf("%d breaks after %v; want %d", got, err, c.want)
			}
		})
	}
}
