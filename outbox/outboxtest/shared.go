package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/cut"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// setupTimeout bounds the start of the server and the making of one database; a download may be among it.
	setupTimeout = 5 * time.Minute

	// closeTimeout is how long the end of a test waits for connections that are still in use.
	closeTimeout = 10 * time.Second
)

type options struct {
	maxConns   int32
	searchPath string
	copies     cut.CopyFunc // of the database
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

type startFunc func(*pgserver.Config)

func (f startFunc) applyStart(c *pgserver.Config) { f(c) }

// suite is the test binary's server, and the migrated database that others are copied from.
type suite struct {
	server   func() (*pgserver.Server, error)
	template func() (string, error)
}

// shared returns the test binary's only suite. Nobody closes its server: the watchdog does, when the binary has ended.
var shared = sync.OnceValue(func() *suite {
	s := &suite{}
	s.server = sync.OnceValues(func() (*pgserver.Server, error) {
		ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
		defer cancel()
		return pgserver.Start(ctx, pgserver.Config{})
	})
	s.template = sync.OnceValues(s.makeTemplate)
	return s
})

// database makes a database, and drop removes it.
type database func(ctx context.Context) (dsn string, drop func() error, err error)

func (s *suite) empty(ctx context.Context) (string, func() error, error) {
	server, err := s.server()
	if err != nil {
		return "", nil, err
	}
	return server.NewDatabase(ctx, "")
}

// migrated copies the template. On a server that is not ours, the template would be left when the binary ends; there
// each database is migrated by itself.
func (s *suite) migrated(ctx context.Context) (string, func() error, error) {
	server, err := s.server()
	if err != nil {
		return "", nil, err
	}
	if !server.Throwaway() {
		return migratedDatabase(ctx, server)
	}
	template, err := s.template()
	if err != nil {
		return "", nil, err
	}
	return server.NewDatabase(ctx, template)
}

// copied copies the database of a test.
func (s *suite) copied(ctx context.Context, dsn string) (string, func() error, error) {
	server, err := s.server()
	if err != nil {
		return "", nil, err
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", nil, err
	}
	return server.NewDatabase(ctx, cfg.Database)
}

func (s *suite) makeTemplate() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	server, err := s.server()
	if err != nil {
		return "", err
	}
	dsn, _, err := migratedDatabase(ctx, server)
	if err != nil {
		return "", err
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", err
	}
	return cfg.Database, nil
}

func migratedDatabase(ctx context.Context, server *pgserver.Server) (string, func() error, error) {
	dsn, drop, err := server.NewDatabase(ctx, "")
	if err != nil {
		return "", nil, err
	}
	if err := migrate(ctx, dsn); err != nil {
		return "", nil, errors.Join(fmt.Errorf("strunk/outboxtest: prepare a database: %w", err), drop())
	}
	return dsn, drop, nil
}

func migrate(ctx context.Context, dsn string) error {
	pool, err := openPool(ctx, dsn, options{maxConns: DefaultMaxConns})
	if err != nil {
		return err
	}
	defer pool.Close()
	return outbox.Migrate(ctx, pool, outbox.MigrateConfig{})
}

func open(t testing.TB, make database, opts []Option) *pgxpool.Pool {
	t.Helper()
	o := options{maxConns: DefaultMaxConns, searchPath: pgserver.DefaultSearchPath}
	for _, opt := range opts {
		opt.apply(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	dsn, drop, err := make(ctx)
	if err != nil {
		t.Fatal(explain(err))
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	})
	o.copies = func(ctx context.Context) (string, func() error, error) { return shared().copied(ctx, dsn) }
	pool, err := openPool(ctx, dsn, o)
	if err != nil {
		t.Fatal(explain(err))
	}
	t.Cleanup(func() { closePool(t, pool, closeTimeout) })
	return pool
}

func openPool(ctx context.Context, dsn string, o options) (*pgxpool.Pool, error) {
	dsn, err := pgserver.WithSearchPath(dsn, o.searchPath)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = o.maxConns
	if o.copies != nil {
		cut.Install(cfg, o.copies)
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// closePool reports a connection that was not given back, which would keep Close waiting for ever.
func closePool(t testing.TB, pool *pgxpool.Pool, timeout time.Duration) {
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(timeout):
		t.Errorf("strunk/outboxtest: close the pool: %d connections were not given back within %v of the test's end: "+
			"end each transaction, close each Rows and release each Conn", pool.Stat().AcquiredConns(), timeout)
	}
}

// explain gives errors of other packages our prefix.
func explain(err error) string {
	if strings.HasPrefix(err.Error(), "strunk/") {
		return err.Error()
	}
	return "strunk/outboxtest: prepare a database: " + err.Error()
}
