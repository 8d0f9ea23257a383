package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// The demo's shop.
type (
	demoMail  struct{ Order int }
	demoOrder struct {
		ID, Status string
	}
)

var (
	demoMails = queue.Define[demoMail]("email-queue", queue.Config{MaxAttempts: 3,
		Retry: queue.Backoff{First: time.Second, Max: 5 * time.Second, Jitter: 0.2}})
	demoOrders = events.Define("order", func(o demoOrder) string { return o.ID }, events.Config{})
)

// demo runs a small shop on a throwaway server, to be looked at with the other commands.
func (p *program) demo() *ucli.Command {
	return &ucli.Command{
		Name: "demo", Usage: "a throwaway server and a small shop on it, to try the other commands on; Ctrl-C " +
			"leaves nothing",
		Flags: []ucli.Flag{
			&ucli.DurationFlag{Name: "for", Usage: "how long; 0 is until Ctrl-C"},
			&ucli.IntFlag{Name: "rate", Value: 20, Usage: "orders a second"},
			&ucli.BoolFlag{Name: "serve",
				Usage: "serve the page for people, JSON and metrics over HTTP, to this machine"},
			&ucli.StringFlag{Name: "address", Value: "localhost:8080",
				Usage: "where --serve listens; port 0 is any free one"},
		},
		Before: noArgs,
		Action: func(c *ucli.Context) error {
			if c.Int("rate") < 1 || c.Int("rate") > 1000 {
				return usagef("demo: --rate: %d is not from 1 to 1000", c.Int("rate"))
			}
			return p.runDemo(c.Context, c)
		},
	}
}

func (p *program) runDemo(ctx context.Context, c *ucli.Context) (err error) {
	if d := c.Duration("for"); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	var listener net.Listener
	if c.Bool("serve") {
		if listener, err = listen(ctx, c.String("address"), "demo", false); err != nil {
			return err
		}
		defer listener.Close() // again, where it has been served
	}
	server, err := outboxtest.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	cfg, err := pgxpool.ParseConfig(server.DSN())
	if err != nil {
		return err
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = applicationName(c)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return err
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.DiscardHandler), Grace: time.Second})
	if err != nil {
		return err
	}
	p.introduceShop(server, listener)
	return quietEnd(ctx, runDemoShop(ctx, box, listener, c.Int("rate")))
}

// introduceShop says what there is to look at.
func (p *program) introduceShop(server *outboxtest.Server, listener net.Listener) {
	fmt.Fprintf(p.Out, "A shop runs on a throwaway PostgreSQL (%s).\n\n", server.Source())
	if listener != nil {
		fmt.Fprintf(p.Out, "  http://%s/              the page; the first dead letters come within seconds\n"+
			"  http://%[1]s/metrics       for Prometheus\n  http://%[1]s/v1/openapi.json\n\n", listener.Addr())
	}
	fmt.Fprintf(p.Out, "In another terminal:\n\n  export DATABASE_URL='%s'\n  strunk top\n  strunk tail\n"+
		"  strunk stats --queue email-queue\n  strunk dead-letters email-queue\n  strunk lag search-indexer\n"+
		"  strunk schedules\n\nCtrl-C ends it and leaves nothing.\n", server.DSN())
}

// runDemoShop runs the shop, and the page beside it where there is a listener.
func runDemoShop(ctx context.Context, box *outbox.Box, listener net.Listener, rate int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runShop(ctx, box, rate) })
	if listener != nil {
		group.Go(func() error { return serveHTTP(ctx, listener, box, everybodyHere(), ops.Config{Title: "demo shop"}) })
	}
	return group.Wait()
}

func runShop(ctx context.Context, box *outbox.Box, rate int) error {
	if _, err := schedule.Register(ctx, box, "stock-take", demoMails, demoMail{}, "every 30s"); err != nil {
		return err
	}
	produced := make(chan error, 1)
	go func() { produced <- takeOrders(ctx, box, rate) }()
	err := box.Run(ctx, demoMails.Worker(sendDemoMail), demoOrders.Subscriber("search-indexer", indexDemoOrder),
		schedule.Runner())
	return errors.Join(err, quietEnd(ctx, <-produced))
}

// takeOrders writes a task and an event in one transaction, again and again.
func takeOrders(ctx context.Context, box *outbox.Box, rate int) error {
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for n := 1; ; n++ {
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			if _, err := demoMails.Enqueue(ctx, tx, demoMail{Order: n}, queue.Priority(rand.N(3))); err != nil {
				return err
			}
			_, err := demoOrders.Publish(ctx, tx, demoOrder{ID: fmt.Sprint(n % 100), Status: "paid"})
			return err
		})
		if err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// The mail server of the demo is away for demoOutage in every demoOutageEvery.
const (
	demoOutage      = 3 * time.Second
	demoOutageEvery = 30 * time.Second
)

// sendDemoMail fails now and then, while the mail server is away, and always for every fiftieth order, so that there
// are retries, a queue that recovers, and dead letters to see.
func sendDemoMail(ctx context.Context, task queue.Task[demoMail]) error {
	select {
	case <-time.After(rand.N(100 * time.Millisecond)):
	case <-ctx.Done():
		return ctx.Err()
	}
	if n := task.Payload.Order; n > 0 && n%50 == 0 {
		return errors.New("550 no such mailbox")
	}
	if rand.N(20) == 0 || time.Duration(time.Now().UnixNano())%demoOutageEvery < demoOutage {
		return errors.New("421 try again later")
	}
	return nil
}

func indexDemoOrder(context.Context, events.Event[demoOrder]) error { return nil }
