package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
)

// migrate brings the database to the version of this program, says what it would do, or prints it for other tools.
func (p *program) migrate() *ucli.Command {
	return &ucli.Command{
		Name: "migrate", Usage: "make or upgrade strunk's tables",
		Description: "Without flags it does every missing migration. Two that run at once wait for each other.",
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "dry-run", Usage: "list what would be done, and do nothing"},
			&ucli.IntFlag{Name: "down", Value: -1, DefaultText: "up",
				Usage: "go back to this `VERSION`, 0 for none; deletes what later versions keep"},
			&ucli.StringFlag{Name: "print", Usage: "print the SQL for another tool and need no database: psql, " +
				"plain, goose or tern"},
			&ucli.BoolFlag{Name: "check", Usage: "say what differs from what the migrations make; exit code 3 " +
				"when something does"},
			yesFlag(),
		},
		Before: noArgs,
		Action: func(c *ucli.Context) error {
			if format := c.String("print"); format != "" {
				return p.printMigrations(c, outbox.SQLFormat(format))
			}
			pool, err := p.connect(c.Context, c)
			if err != nil {
				return err
			}
			defer pool.Close()
			if c.Bool("check") {
				return p.checkSchema(c, pool)
			}
			return p.runMigrations(c.Context, c, pool)
		},
	}
}

func migrateConfig(c *ucli.Context) outbox.MigrateConfig {
	return outbox.MigrateConfig{Schema: c.String("schema")}
}

func (p *program) runMigrations(ctx context.Context, c *ucli.Context, pool *pgxpool.Pool) error {
	target, down := outbox.LatestVersion(), c.Int("down") >= 0
	if down {
		target = c.Int("down")
	}
	if target > outbox.LatestVersion() {
		return usagef("migrate: --down: there is no version %d, the latest is %d", target, outbox.LatestVersion())
	}
	steps, err := outbox.PlanMigrations(ctx, pool, migrateConfig(c), target)
	if err != nil {
		return err
	}
	switch {
	case c.Bool("dry-run") || len(steps) == 0:
		return p.showSteps(c, steps)
	case down && !c.Bool("yes"):
		return usagef("migrate --down %d would undo %d migrations and delete what they keep, down to %q: %v", target,
			len(steps), steps[len(steps)-1].Name, errNeedYes)
	case down:
		err = outbox.MigrateDown(ctx, pool, migrateConfig(c), target)
	default:
		err = p.migrateUp(ctx, c, pool, len(steps))
	}
	if err != nil {
		return err
	}
	return p.say(c, map[string]any{"schema": c.String("schema"), "version": target, "steps": len(steps)},
		"schema %q is at version %d now (%d steps)", c.String("schema"), target, len(steps))
}

// migrateUp shows a bar that moves with the version that the database has reached.
func (p *program) migrateUp(ctx context.Context, c *ucli.Context, pool *pgxpool.Pool, steps int) error {
	bar := p.bar(c, "migrating", steps)
	defer bar.end()
	done := make(chan error, 1)
	go func() { done <- outbox.Migrate(ctx, pool, migrateConfig(c)) }()
	ticker := time.NewTicker(barPause)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			if err == nil {
				bar.add(steps - bar.done)
			}
			return err
		case <-ticker.C:
			if !bar.shown {
				continue
			}
			if left, err := outbox.PlanMigrations(ctx, pool, migrateConfig(c), outbox.LatestVersion()); err == nil {
				bar.add(max(0, steps-len(left)-bar.done))
			}
		}
	}
}

// stepDoc is a step as --json prints it.
type stepDoc struct {
	From int    `json:"from"`
	To   int    `json:"to"`
	Name string `json:"name"`
}

func (p *program) showSteps(c *ucli.Context, steps []outbox.Step) error {
	docs := make([]stepDoc, 0, len(steps))
	t := &table{header: []string{"FROM#", "TO#", "MIGRATION"}}
	for _, s := range steps {
		docs = append(docs, stepDoc{s.From, s.To, s.Name})
		t.add(s.From, s.To, s.Name)
	}
	return p.showList(c, docs, t, fmt.Sprintf("schema %q is up to date", c.String("schema")))
}

func (p *program) printMigrations(c *ucli.Context, format outbox.SQLFormat) error {
	if format == outbox.FormatPsql {
		script, err := outbox.MigrationSQL(migrateConfig(c), 0, outbox.LatestVersion())
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(p.Out, script)
		return err
	}
	files, err := outbox.MigrationFiles(migrateConfig(c), format)
	if err != nil {
		return &exitError{ExitUsage, err.Error()}
	}
	if c.Bool("json") {
		return p.printJSON(files)
	}
	for _, f := range files {
		if _, err := fmt.Fprintf(p.Out, "-- file: %s\n%s\n", f.Name, strings.TrimRight(f.Text, "\n")); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) checkSchema(c *ucli.Context, pool *pgxpool.Pool) error {
	found, err := outbox.Check(c.Context, pool, migrateConfig(c))
	if errors.Is(err, outbox.ErrNotMigrated) || errors.Is(err, outbox.ErrDatabaseOlder) {
		return p.showUnmigrated(c, pool)
	}
	if err != nil {
		return err
	}
	t := &table{header: []string{"DIFFERENCE&"}}
	docs := make([]string, 0, len(found))
	for _, d := range found {
		docs = append(docs, d.String())
		t.add(d.String())
	}
	if err := p.showList(c, docs, t, fmt.Sprintf("schema %q is as the migrations make it",
		c.String("schema"))); err != nil {
		return err
	}
	if len(found) > 0 {
		return &exitError{ExitUnhealthy, ""}
	}
	return nil
}

// showUnmigrated says which migrations a schema lacks, which is what the check has found.
func (p *program) showUnmigrated(c *ucli.Context, pool *pgxpool.Pool) error {
	steps, err := outbox.PlanMigrations(c.Context, pool, migrateConfig(c), outbox.LatestVersion())
	if err != nil {
		return err
	}
	t := &table{header: []string{"DIFFERENCE&"}}
	docs := make([]string, 0, len(steps))
	for _, s := range steps {
		text := fmt.Sprintf("migration %d (%s) is missing: run `strunk migrate`", s.To, s.Name)
		docs = append(docs, text)
		t.add(text)
	}
	if err := p.show(c, docs, t); err != nil {
		return err
	}
	return &exitError{ExitUnhealthy, ""}
}

// grants prints roles with the least privileges.
func (p *program) grants() *ucli.Command {
	return &ucli.Command{
		Name: "grants", Usage: "print SQL for roles with no more privileges than their work takes; needs no database",
		Flags: []ucli.Flag{&ucli.StringFlag{Name: "prefix", Value: outbox.DefaultRolePrefix,
			Usage: "begins the names of the roles"}},
		Before: noArgs,
		Action: func(c *ucli.Context) error {
			script, err := outbox.Grants(outbox.GrantsConfig{Schema: c.String("schema"),
				RolePrefix: c.String("prefix")})
			if err != nil {
				return &exitError{ExitUsage, err.Error()}
			}
			_, err = fmt.Fprint(p.Out, script)
			return err
		},
	}
}
