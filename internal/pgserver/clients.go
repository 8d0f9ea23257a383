package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Psql returns the path of the client program psql: the one on PATH, else the newest of the usual places.
func Psql() (string, error) {
	if found := findProgram(systemPlaces(), "psql"); found != "" {
		return found, nil
	}
	return "", failed("psql is not installed: apt-get install postgresql-client, or the same with another package " +
		"manager")
}

// Client returns the path of a client program of the version of a database's server: an older pg_dump or pg_restore
// refuses the server, and a newer one sets parameters that it does not know. It looks on PATH, then in the usual
// places, newest first. Where none is found the error is exec.ErrNotFound.
func Client(ctx context.Context, dsn, name string) (string, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return "", err
	}
	return client(ctx, systemPlaces(), name, version/10000, version/10000)
}

// client returns the path of a program whose major version is not below least and not above most.
func client(ctx context.Context, p places, name string, least, most int) (string, error) {
	var reasons []error
	for _, path := range installedAs(p, name) {
		version, found, err := versionOf(ctx, path)
		if err == nil && least <= found && found <= most {
			return path, nil
		}
		if err == nil {
			err = fmt.Errorf("%s is of version %s", path, version)
		}
		reasons = append(reasons, err)
	}
	none := fmt.Errorf("%s for PostgreSQL %d: %w", name, least, exec.ErrNotFound)
	return "", errors.Join(append([]error{none}, reasons...)...)
}

// findProgram returns a program's path, or nothing.
func findProgram(p places, name string) string {
	if found := installedAs(p, name); len(found) > 0 {
		return found[0]
	}
	return ""
}

// installedAs lists where a program is: on PATH, then in the usual places from the newest on.
func installedAs(p places, name string) []string {
	usual := globAll(p.programs)
	slices.Reverse(usual)
	var found []string
	for _, dir := range append(filepath.SplitList(p.path), usual...) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(path) {
			found = append(found, path)
		}
	}
	return unique(found)
}
