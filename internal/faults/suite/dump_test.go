package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/pgserver"
)

// A dump of the database is restored, and takes the place of the database.
func dumpAndRestore(ctx context.Context, r *round) error {
	dir, err := os.MkdirTemp("", "strunk-dump-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	dump := filepath.Join(dir, "dump")
	from := time.Now()
	if err := program(ctx, r.dsn, "pg_dump", "--format=custom", "--compress=0", "--file="+dump, r.dsn); err != nil {
		return err
	}
	dsn, drop, err := r.lab.server.NewDatabase(ctx, "")
	if err != nil {
		return err
	}
	if err := program(ctx, dsn, "pg_restore", "--dbname="+dsn, dump); err != nil {
		return errors.Join(err, drop())
	}
	restored, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	return r.goesBack(from, func() error {
		name := pgx.Identifier{restored.Database}.Sanitize()
		return r.lab.exec(ctx, r.lab.server.DSN(), `DROP DATABASE `+r.database+` WITH (FORCE)`,
			`ALTER DATABASE `+name+` RENAME TO `+r.database)
	})
}

// program runs a client program of PostgreSQL that serves a database.
func program(ctx context.Context, dsn, name string, args ...string) error {
	path, err := pgserver.Client(ctx, dsn, name)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
