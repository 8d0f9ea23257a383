package pgserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// NamePrefix begins the name of every database that NewDatabase creates; the run of its server and a random part
// follow, on a server that goes with its process after "throwaway_".
const NamePrefix = "strunk_test_"

// dropTimeout bounds the removal of one database.
const dropTimeout = 2 * time.Minute

// DefaultSearchPath is that of outboxtest's pools. For our own tests, internal/testkit/anyserver makes it empty.
var DefaultSearchPath = "public"

// NewDatabase creates a database with a random name, as a copy of the database named by template ("" is an empty one,
// template0; nobody may be connected to another), and returns its connection string and the function that drops it,
// disconnecting whoever is still there. That function may be called again. What is not dropped goes with the server,
// or, on the server of DATABASE_URL, with Close, with the watchdog, or with the next Start there.
func (s *Server) NewDatabase(ctx context.Context, template string) (dsn string, drop func() error, err error) {
	if template == "" {
		template = "template0"
	}
	if g, ok := s.backend.(guard); ok {
		if err := g.ensureOwned(ctx); err != nil {
			return "", nil, failed("mark this process as the owner of its databases: %w", err)
		}
	}
	name := NamePrefix + s.run + "_" + RandomHex(6)
	if s.Throwaway() { // nothing to look for when the run is over: a test that is given this server must not, either
		name = NamePrefix + "throwaway_" + s.run + "_" + RandomHex(6)
	}
	if dsn, err = WithDatabase(s.DSN(), name); err != nil {
		return "", nil, err
	}
	if err := s.admin.execute(ctx, s.DSN(), func(c *pgx.Conn) string {
		return "CREATE DATABASE " + quote(name) + " TEMPLATE " + quote(template) + s.strategy(c)
	}); err != nil {
		return "", nil, failed("create a database: %w", err)
	}
	return dsn, func() error { return s.admin.drop(s.DSN(), name) }, nil
}

// strategy returns how a database is copied. Where the server need not survive a crash, copying files costs a third of
// copying blocks through the WAL, which became the default with PostgreSQL 15; before it there was nothing else.
func (s *Server) strategy(conn *pgx.Conn) string {
	version := conn.PgConn().ParameterStatus("server_version")
	if major, _, _ := strings.Cut(version, "."); s.Throwaway() && major != "14" {
		return " STRATEGY file_copy"
	}
	return ""
}

func (a *admin) drop(dsn, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	if err := a.execute(ctx, dsn, func(*pgx.Conn) string {
		return "DROP DATABASE IF EXISTS " + quote(name) + " WITH (FORCE)"
	}); err != nil {
		return failed("drop database %s: %w", name, err)
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// RandomHex returns so many random bytes as hexadecimal digits.
func RandomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails (crypto/rand, since Go 1.24)
	return hex.EncodeToString(b)
}

// WithDatabase returns a connection string, a URL or keywords and values, with the database replaced.
func WithDatabase(dsn, name string) (string, error) {
	if !isURL(dsn) {
		return dsn + " dbname=" + quoteValue(name), nil // the last one counts
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", failed("read the connection string: %w", redact(err))
	}
	u.Path, u.RawPath = "/"+name, ""
	u.RawQuery = without(u.RawQuery, "dbname", "database")
	return u.String(), nil
}

// WithSearchPath returns a connection string whose sessions have the given search_path; "" is the empty one, under
// which every name of a table must be qualified. It goes as a server option, which libpq, pgx and lib/pq all pass on.
func WithSearchPath(dsn, path string) (string, error) {
	option := "-c search_path=" + strings.NewReplacer(`\`, `\\`, " ", `\ `).Replace(path)
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", failed("read the connection string: %w", err)
	}
	if before := cfg.RuntimeParams["options"]; before != "" {
		option = before + " " + option
	}
	if !isURL(dsn) {
		return dsn + " options=" + quoteValue(option), nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", failed("read the connection string: %w", redact(err))
	}
	u.RawQuery = strings.TrimPrefix(without(u.RawQuery, "options")+"&options="+urlEscape(option), "&")
	return u.String(), nil
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// without removes parameters from a raw query, leaving the others as they were written.
func without(query string, names ...string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		removed := part == ""
		for _, n := range names {
			removed = removed || n == name
		}
		if !removed {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

func quoteValue(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// redact takes the URL, which may hold a password, out of an error of net/url.
func redact(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		return fmt.Errorf("it is not a URL: %w", inURL.Err)
	}
	return err
}
