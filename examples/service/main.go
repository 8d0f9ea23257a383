// Service is an HTTP service as one would write it around strunk: net/http, slog, OpenTelemetry and
// a shutdown at SIGTERM. An order that is posted is stored, confirmed by mail (a task) and
// published (an event) in one transaction; the same process works the queue, keeps a search index,
// and shows operators what goes on under /ops/.
//
//	DATABASE_URL=postgres://localhost/shop OPS_TOKEN=at-least-16-bytes go run ./examples/service
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/strunk-go/strunk/outbox"
)

// drainTime is how long requests and handlers have after SIGTERM.
const drainTime = 20 * time.Second

func main() {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, logger, os.Getenv); err != nil {
		logger.Error("the service failed", "error", err)
		os.Exit(1)
	}
	logger.Info("the service has stopped")
}

// run serves until ctx ends and everything under way is done.
func run(ctx context.Context, logger *slog.Logger, getenv func(string) string) error {
	pool, err := pgxpool.New(ctx, getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return err
	}
	telemetry, err := newTelemetry()
	if err != nil {
		return err
	}
	defer telemetry.shutdown(logger)
	shop, err := newShop(ctx, pool, logger, telemetry)
	if err != nil {
		return err
	}
	handler, err := shop.routes(ctx, getenv("OPS_TOKEN"))
	if err != nil {
		return err
	}
	return shop.serve(ctx, address(getenv), handler)
}

func address(getenv func(string) string) string {
	if a := getenv("ADDRESS"); a != "" {
		return a
	}
	return "localhost:8080"
}

// serve runs the HTTP server and the consumers. At the end of ctx both stop taking work and finish
// what they have; if one fails, the other is stopped.
func (s *shop) serve(ctx context.Context, address string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: time.Minute}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		s.logger.Info("serving", "address", listener.Addr().String())
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("HTTP: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		s.logger.Info("stopping")
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		return server.Shutdown(ctx)
	})
	group.Go(func() error { return s.box.Run(ctx, s.consumers()...) })
	return group.Wait()
}
