package inbox_test

import (
	"context"
	"log"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// exampleServer lasts until the test binary ends.
var exampleServer = sync.OnceValues(func() (*outboxtest.Server,
	error) {
	return outboxtest.Start(context.Background())
})

func exampleBox(ctx context.Context) (box *outbox.Box, end func()) {
	server, err := exampleServer()
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}
	box, err = outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return box, pool.Close
}
