package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// serve serves the page for people, the JSON API, metrics and health beside any worker.
func (p *program) serve() *ucli.Command {
	return &ucli.Command{
		Name: "serve", Usage: "serve the page for people, JSON, metrics and health over HTTP until Ctrl-C",
		Description: "Without tokens it listens to this machine only. Tokens are lines of NAME PERMISSIONS SECRET\n" +
			"(oncall read,change 0123456789abcdef), in --tokens-file or in the variable " + tokensVariable + ".\n" +
			"Permissions are read, payloads and change.",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "address", Value: "localhost:8080",
				Usage: "where to listen; port 0 is any free one. Other machines reach it only with tokens"},
			&ucli.StringFlag{Name: "tokens-file", Usage: "a file of tokens, one a line"},
			&ucli.StringFlag{Name: "trust-header",
				Usage: "the header in which a reverse proxy on this machine names the person, and without which " +
					"nobody is let in"},
			&ucli.StringFlag{Name: "permissions", Value: string(ops.PermissionRead),
				Usage: "without tokens: what everybody may, as read,payloads,change"},
			&ucli.StringFlag{Name: "trace-url",
				Usage: "where a trace is looked at, such as https://tempo.example.com/trace/{trace}"},
		},
		Before: noArgs,
		Action: func(c *ucli.Context) error {
			allowed, err := p.admission(c)
			if err != nil {
				return err
			}
			listener, err := listen(c.Context, c.String("address"), "serve", len(allowed.tokens) > 0)
			if err != nil {
				return err
			}
			defer listener.Close() // again, where it has been served
			return p.withBox(func(ctx context.Context, _ *ucli.Context, box *outbox.Box) error {
				fmt.Fprintf(p.Out, "Serving http://%s/ (also /metrics, /readyz, /v1/openapi.json) to %s.\n"+
					"Ctrl-C ends it.\n", listener.Addr(), allowed)
				return serveHTTP(ctx, listener, box, allowed, ops.Config{TraceURL: c.String("trace-url")})
			})(c)
		},
	}
}

// listen listens at an address. Only with open may other machines reach it.
func listen(ctx context.Context, address, command string, open bool) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil || open {
		return listener, err
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(listener.Close(), usagef("%s: --address: %q can be reached from other machines, and "+
			"nothing is asked that only its users know; take an address of localhost%s", command, address,
			map[bool]string{true: ", or give tokens"}[command == "serve"]))
	}
	return listener, nil
}

// stopTime is how long requests under way have at the end.
const stopTime = 5 * time.Second

// serveHTTP serves the handler of ops to those who are allowed, until ctx ends, with the Title and the TraceURL of
// page.
func serveHTTP(ctx context.Context, listener net.Listener, box *outbox.Box, allowed admission, page ops.Config) error {
	cfg := allowed.config(ctx)
	cfg.Title, cfg.TraceURL = page.Title, page.TraceURL
	handler, err := ops.Handler(box, cfg)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: allowed.guard(handler), ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout: time.Minute}
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
