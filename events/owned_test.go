package events_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
)

// ownServer starts a server that no other test uses, which the test may stop and start, and a migrated database in it.
func ownServer(t *testing.T, cfg pgserver.Config) (*pgserver.Server, *bed) {
	t.Helper()
	server := anyserver.Own(t, cfg)
	dsn, _, err := server.NewDatabase(t.Context(), "")
	noError(t, err)
	pool := dial(t, dsn)
	noError(t, outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{}))
	return server, bedWith(t, pool, outbox.Config{PollInterval: testPoll}, false)
}

func dial(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	noError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
