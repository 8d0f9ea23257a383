package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// stopTime is how long requests under way have at the end.
const stopTime = 5 * time.Second

// loopback listens at an address of this machine, which no other can reach.
func loopback(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(listener.Close(), usagef("demo: --address: %q can be reached from other machines, and "+
			"the page asks for no password; take an address of localhost", address))
	}
	return listener, nil
}

// servePage serves the page, the JSON and the metrics of ops, to whoever is on this machine, until ctx ends.
func servePage(ctx context.Context, listener net.Listener, box *outbox.Box) error {
	handler, err := ops.Handler(box, ops.Config{Insecure: true, Done: ctx.Done()})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("HTTP: %w", err)
	}
	return <-stopped
}
