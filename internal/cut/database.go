package cut

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// CopyFunc makes a copy of a pool's database, to which nobody may be connected, and returns its connection string and
// what drops it.
type CopyFunc func(ctx context.Context) (dsn string, drop func() error, err error)

// Database sends the new connections of a pool to a copy of its database while there is one.
type Database struct {
	copy CopyFunc
	busy sync.Mutex // held by Copies

	mu sync.Mutex
	to string // the copy's name; empty for the pool's own database
}

// Install builds the tracer into the configuration of a pool. makeCopy is called for each copy.
func Install(cfg *pgxpool.Config, makeCopy CopyFunc) {
	t := &Tracer{open: map[*pgx.Conn]*Attempt{}, Database: &Database{copy: makeCopy}}
	cfg.ConnConfig.Tracer = t
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { t.redirect(c); return nil }
	cfg.ConnConfig.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		return &wire{Conn: conn}, nil
	}
}

// Of returns what Install has built into a pool; nil where it has not.
func Of(pool *pgxpool.Pool) *Database {
	if t, ok := pool.Config().ConnConfig.Tracer.(*Tracer); ok {
		return t.Database
	}
	return nil
}

func (d *Database) redirect(c *pgx.ConnConfig) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.to != "" {
		c.Database = d.to
	}
}

func (d *Database) setTo(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = name
}

// Copies are fresh copies of a pool's database, one after the other, that the pool is connected to. They are for one
// goroutine, which nothing else that uses the pool may run beside.
type Copies struct {
	of   *Database
	pool *pgxpool.Pool
	drop func() error // of the copy in use
}

// Copies waits until nobody else has copies of the database, and returns the means to make them. End ends it.
func (d *Database) Copies(pool *pgxpool.Pool) *Copies {
	d.busy.Lock()
	return &Copies{of: d, pool: pool}
}

// Next makes a fresh copy, has the pool connect to it, and drops the copy before.
func (c *Copies) Next(ctx context.Context) error {
	if c.drop == nil {
		if err := c.leave(ctx); err != nil {
			return err
		}
	}
	dsn, drop, err := c.of.copy(ctx)
	if err != nil {
		return err
	}
	parsed, err := pgx.ParseConfig(dsn)
	if err != nil {
		return errors.Join(err, drop())
	}
	before := c.drop
	c.drop = drop
	c.connect(parsed.Database)
	return dropped(before)
}

// patience is how long connections that are in use are waited for: the pool looks after its own now and then.
const patience = 2 * time.Second

// leave closes the pool's connections: the server copies no database that somebody is connected to.
func (c *Copies) leave(ctx context.Context) error {
	for began := time.Now(); ; {
		n := c.pool.Stat().AcquiredConns()
		if n == 0 {
			c.pool.Reset()
			return nil
		}
		if time.Since(began) > patience || ctx.Err() != nil {
			return fmt.Errorf("%d connections of the pool are in use", n)
		}
		time.Sleep(patience / 200)
	}
}

// End drops the last copy and has the pool connect to its own database again, which nobody has changed.
func (c *Copies) End() error {
	defer c.of.busy.Unlock()
	c.connect("")
	return dropped(c.drop)
}

// connect has the pool connect to a database from now on.
func (c *Copies) connect(name string) {
	c.of.setTo(name)
	c.pool.Reset()
}

func dropped(drop func() error) error {
	if drop == nil {
		return nil
	}
	return drop()
}
