package cli

import (
	"context"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
)

// commands lists all commands; each is made in the file of its group.
func (p *program) commands() []*ucli.Command {
	return []*ucli.Command{
		p.migrate(),
		p.stats(), p.queues(), p.health(),
		p.deadLetters(), p.showTask(), p.retry(), p.retryAll(), p.purge(),
		p.enqueue(), p.cancel(), p.pause(), p.resume(),
		p.subscribers(), p.lag(), p.replay(), p.resetSubscriber(), p.skip(), p.parked(), p.unpark(),
		p.schedules(),
	}
}

// migrate brings the database to the version of this program.
func (p *program) migrate() *ucli.Command {
	return &ucli.Command{
		Name:  "migrate",
		Usage: "make or upgrade strunk's tables",
		Action: func(c *ucli.Context) error {
			pool, err := p.connect(c.Context, c)
			if err != nil {
				return err
			}
			defer pool.Close()
			return p.migrateUp(c.Context, c, func(ctx context.Context) error {
				return outbox.Migrate(ctx, pool, outbox.MigrateConfig{Schema: c.String("schema")})
			})
		},
	}
}

func (p *program) migrateUp(ctx context.Context, c *ucli.Context, migrate func(context.Context) error) error {
	if err := migrate(ctx); err != nil {
		return err
	}
	return p.say(c, map[string]any{"schema": c.String("schema"), "migrated": true}, "schema %q is up to date", c.String("schema"))
}
