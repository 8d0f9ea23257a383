package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
)

func globalFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "database-url", EnvVars: []string{"DATABASE_URL"},
			Usage: "the PostgreSQL database, as a URL or as key=value words"},
		&ucli.StringFlag{Name: "schema", Value: outbox.DefaultSchema,
			Usage: "the PostgreSQL schema of strunk's tables"},
		&ucli.BoolFlag{Name: "json", Usage: "print one JSON document"},
		&ucli.BoolFlag{Name: "no-color", EnvVars: []string{"NO_COLOR"},
			Usage: "print without colours, also on a terminal"},
	}
}

// connect opens the database. Errors never hold the password.
func (p *program) connect(ctx context.Context, c *ucli.Context) (*pgxpool.Pool, error) {
	dsn := c.String("database-url")
	if dsn == "" {
		return nil, usagef("no database: give --database-url, or set DATABASE_URL")
	}
	p.keepSecret(dsn)
	if err := checkURL(dsn); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, usagef("--database-url: %v", err)
	}
	p.keep(cfg.ConnConfig.Password) // also where PGPASSWORD or a password file gave it
	p.role = cfg.ConnConfig.User
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = applicationName(c)
	}
	if !strings.Contains(dsn, "default_query_exec_mode") { // no named statement: a pooler in transaction mode has none
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("the database does not answer: %w", err)
	}
	return pool, nil
}

// longestName is how much PostgreSQL keeps of an application's name, in bytes.
const longestName = 63

// applicationName says in pg_stat_activity which program and process a connection is: "strunk top laptop/4711".
func applicationName(c *ucli.Context) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	command, process := c.Command.HelpName+" ", fmt.Sprintf("/%d", os.Getpid())
	return command + host[:min(len(host), longestName-len(command)-len(process))] + process
}

// withBox runs fn with an open box; for all commands but those that migrate.
func (p *program) withBox(fn func(ctx context.Context, c *ucli.Context, box *outbox.Box) error) ucli.ActionFunc {
	return func(c *ucli.Context) error {
		pool, err := p.connect(c.Context, c)
		if err != nil {
			return err
		}
		defer pool.Close()
		box, err := outbox.Open(c.Context, pool, outbox.Config{Schema: c.String("schema"), Logger: p.logger()})
		if err != nil {
			return err
		}
		return fn(c.Context, c, box)
	}
}

// trimPrefix drops the package's name from an error: the program's name stands before it already.
func trimPrefix(text string) string {
	if after, ok := strings.CutPrefix(text, "strunk/"); ok {
		return after
	}
	return strings.TrimPrefix(text, "strunk: ")
}

var errNeedYes = errors.New("nothing was done; repeat it with --yes to do it")
