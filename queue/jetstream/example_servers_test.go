package jetstream_test

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func must1[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// exampleServers starts a database and a server with JetStream.
func exampleServers(ctx context.Context) (box *outbox.Box, js jetstream.JetStream, end func()) {
	database := must1(outboxtest.Start(ctx))
	pool := must1(pgxpool.New(ctx, database.DSN()))
	must(outbox.Migrate(ctx, pool, outbox.MigrateConfig{}))
	dir := must1(os.MkdirTemp("", "strunk-example"))
	broker := must1(server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true,
		StoreDir: dir, NoSigs: true, NoLog: true}))
	broker.Start()
	nc := must1(nats.Connect(broker.ClientURL()))
	return must1(outbox.Open(ctx, pool, outbox.Config{})), must1(jetstream.New(nc)), func() {
		nc.Close()
		broker.Shutdown()
		pool.Close()
		database.Close()
		_ = os.RemoveAll(dir)
	}
}
