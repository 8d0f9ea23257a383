package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// Hooks run after the commit, in order, once; a panic in one stops no other.
func TestAfterCommitHooks(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	mustExec(t, pool, `CREATE TABLE public.orders (id integer)`)
	box := openBox(t, pool, outbox.Config{})
	var ran []string
	note := func(name string) func() {
		return func() {
			ran = append(ran, fmt.Sprint(name, " ", query[int](t, pool, `SELECT count(*) FROM public.orders`)))
		}
	}
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		tx.AfterCommit(note("first"))
		tx.AfterCommit(func() { panic("a hook's bug") })
		tx.AfterCommit(note("last"))
		_, err := tx.Pgx().Exec(t.Context(), `INSERT INTO public.orders VALUES (1)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"first 1", "last 1"}; !slices.Equal(ran, want) {
		t.Errorf("hooks %v; want %v, after the row was there", ran, want)
	}

	tx, err := box.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ran = nil
	tx.AfterCommit(note("begun"))
	for range 2 {
		err = errors.Join(err, tx.Commit(t.Context()))
	}
	if !errors.Is(err, outbox.ErrTxDone) || len(ran) != 1 {
		t.Errorf("two commits: %v, hooks %v; want ErrTxDone for the second, and each hook once", err, ran)
	}
}

func TestInTxOptions(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool, outbox.Config{})
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		var level, readOnly string
		err := tx.Pgx().QueryRow(t.Context(), `SELECT current_setting('transaction_isolation'),
			current_setting('transaction_read_only')`).Scan(&level, &readOnly)
		if level != "serializable" || readOnly != "on" {
			t.Errorf("isolation %s, read only %s; want what was asked for", level, readOnly)
		}
		return err
	}, outbox.WithTxOptions(pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly}))
	if err != nil {
		t.Fatal(err)
	}
}

// A commit behind strunk's back is told, and the panic of fn passes through with the transaction rolled back.
func TestInTxMisused(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t, outboxtest.MaxConns(2))
	box := openBox(t, pool, outbox.Config{})
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error { return tx.Pgx().Commit(t.Context()) })
	if !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("a transaction that fn committed itself: %v; want pgx's ErrTxClosed", err)
	}
	for range 5 { // more often than the pool has connections
		func() {
			defer func() {
				if r := recover(); r != "boom" {
					t.Errorf("recovered %v; want fn's panic", r)
				}
			}()
			_ = box.InTx(t.Context(), func(*outbox.OwnedTx) error { panic("boom") })
		}()
	}
	if n := pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections were not given back", n)
	}
}

// Run ends although producers never pause.
func TestRunEndsBesideBusyProducers(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool, outbox.Config{})
	host := core.BoxHost(box)
	up, unsubscribe := host.Subscribe("q:up")
	defer unsubscribe()
	stop := start(t, box)
	await(t, "the box is up", up)
	var busy sync.WaitGroup
	var end atomic.Bool
	for range 4 {
		busy.Go(func() {
			for !end.Load() {
				host.Wake("q:busy")
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	testkit.Eventually(t, "the producers are at it", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()`) > 0
	})
	ended := make(chan struct{})
	go func() {
		stop()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(soon):
		t.Error("Run did not return while wake-ups kept being announced")
	}
	end.Store(true)
	busy.Wait()
}

// Every connection that is opened beside the pool is made as the pool makes its own: with a
// password that is fetched for it, and set up for use.
func TestConnectionsBesideThePoolUseItsHooks(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	cfg := pool.Config()
	cfg.ConnConfig.RuntimeParams["application_name"] = "wrong"
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		c.RuntimeParams["application_name"] = "right"
		return nil
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SELECT set_config('application_name',
			current_setting('application_name') || ' and ready', false)`)
		return err
	}
	hooked, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hooked.Close)
	start(t, openBox(t, hooked, outbox.Config{}))
	const own = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name `
	testkit.Eventually(t, "the listener and the maintenance are connected, as the pool would", func() bool {
		return query[int](t, pool, own+`= 'right and ready' AND query LIKE 'LISTEN%'`) == 1 &&
			query[int](t, pool, own+`= 'right and ready'`) >= 3
	})
	if n := query[int](t, pool, own+`= 'wrong'`); n != 0 {
		t.Errorf("%d connections were made without the pool's hooks", n)
	}
}

// With PollOnly there is no session state: nobody listens, and no transaction notifies.
func TestPollOnlyNeitherListensNorNotifies(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	heard := make(chan string, 100)
	listener, err := pgx.Connect(t.Context(), outboxtest.DSN(pool))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listener.Exec(t.Context(), `LISTEN "strunk:public"`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			n, err := listener.WaitForNotification(ctx)
			if err != nil {
				return
			}
			heard <- n.Payload
		}
	}()
	t.Cleanup(func() { cancel(); <-done; _ = listener.Close(context.Background()) })
	box := openBox(t, pool, outbox.Config{PollOnly: true})
	stop := start(t, box)
	host := core.BoxHost(box)
	host.Wake("q:silent")
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if inside := core.TxOf(box.Tx(tx)).NotifyInside(); inside {
		t.Error("a borrowed transaction of a PollOnly box would notify")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the box is at work", func() bool {
		return query[int](t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND query LIKE 'SELECT id, heartbeat%'`) > 0
	})
	if n := query[int](t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
		AND query LIKE 'LISTEN%' AND pid <> $1`, listener.PgConn().PID()); n != 0 {
		t.Errorf("%d sessions of the box listen; want 0", n)
	}
	stop()
	mustExec(t, pool, `SELECT pg_notify('strunk:public', 'the end')`)
	if got := <-heard; got != "the end" {
		t.Errorf("heard %q; want nothing before the end", got)
	}
}

// The three ways of waking up: the own process directly, other processes by one NOTIFY after the
// commit, or one inside the caller's transaction.
func TestWakeUps(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	near, far := openBox(t, pool, outbox.Config{}), openBox(t, pool, outbox.Config{})
	start(t, near)
	start(t, far)
	listening := `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
		AND query LIKE 'LISTEN%' AND state = 'idle'`
	testkit.Eventually(t, "both listen", func() bool { return query[int](t, pool, listening) == 2 })

	wake := func(topic string, end error, opts ...outbox.TxOption) {
		err := near.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			core.TxOf(tx).Wake(topic, topic)
			return end
		}, opts...)
		if !errors.Is(err, end) {
			t.Error(err)
		}
	}
	for i, row := range []struct {
		name      string
		enqueue   func(topic string)
		near, far bool
	}{
		{"an owned transaction", func(topic string) { wake(topic, nil) }, true, true},
		{"an owned transaction without NOTIFY", func(topic string) { wake(topic, nil, outbox.WithoutNotify()) },
			true, false},
		{"a NOTIFY inside", func(topic string) {
			mustExec(t, pool, `SELECT pg_notify('strunk:public',
			$1)`, topic)
		}, true, true},
		{"a rollback", func(topic string) { wake(topic, errors.New("no")) }, false, false},
	} {
		topic, end := "q:"+row.name, "end of "+row.name
		mustExec(t, pool, `INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host)
			VALUES ($1, 3600000, 1, 1, $2, 'asleep')`, i+1, row.name)
		nearWoken, stopNear := core.BoxHost(near).Subscribe(topic)
		farWoken, stopFar := core.BoxHost(far).Subscribe(topic)
		farEnd, stopEnd := core.BoxHost(far).Subscribe(end)
		row.enqueue(topic)
		if row.near {
			await(t, row.name+": the own process", nearWoken)
		}
		if row.far {
			await(t, row.name+": the other process", farWoken)
		}
		// What is announced later comes later: by then every wake-up that was sent has come.
		core.BoxHost(near).Wake(end)
		await(t, "the end", farEnd)
		if !row.near && len(nearWoken) > 0 || !row.far && len(farWoken) > 0 {
			t.Errorf("%s: woken: near %v, far %v; want %v, %v", row.name, len(nearWoken) > 0, len(farWoken) > 0,
				row.near, row.far)
		}
		stopNear()
		stopFar()
		stopEnd()
	}
}

func await(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(soon):
		t.Fatalf("not woken within %v: %s", soon, what)
	}
}

// A listener that lost its connection is connected again, and everybody looks for what was announced meanwhile.
func TestListenerReconnects(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box := openBox(t, pool, outbox.Config{})
	woken, stop := core.BoxHost(box).Subscribe("q:any")
	defer stop()
	start(t, box)
	await(t, "the first full poll", woken)
	const listeners = `FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`
	testkit.Eventually(t, "it listens", func() bool { return query[int](t, pool, `SELECT count(*) `+listeners) == 1 })
	mustExec(t, pool, `SELECT pg_terminate_backend(pid) `+listeners)
	await(t, "the full poll after the reconnection", woken)
	mustExec(t, pool, `SELECT pg_notify('strunk:public', 'q:any')`)
	await(t, "a notification over the new connection", woken)
}

func TestSchemaNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, reason string
		ok           bool
	}{
		{"app", "plain", true},
		{"My App-1", "needs quotes", true},
		{"select", "a keyword", true},
		{"größe 😀", "beyond ASCII", true},
		{"a.b;--", "looks like more than a name", true},
		{"123456789012345678901234567890123456789012345678901234567890123",
			"63 bytes, and a channel that would be longer", true},
		{"1234567890123456789012345678901234567890123456789012345678901234", "64 bytes would be cut", false},
		{"it's", "ends a literal", false},
		{`a"b`, "ends an identifier", false},
		{"pg_app", "reserved", false},
		{"a\x00b", "NUL", false},
		{"a$$b", "ends a body", false},
		{"50%", "a format", false},
		{"{channel}", "a placeholder", false},
	} {
		t.Run(row.reason, func(t *testing.T) {
			t.Parallel()
			pool := outboxtest.Empty(t)
			err := outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{Schema: row.name})
			_, openErr := outbox.Open(t.Context(), pool, outbox.Config{Schema: row.name})
			if !row.ok {
				if err == nil || openErr == nil {
					t.Errorf("%q: Migrate %v, Open %v; want errors", row.name, err, openErr)
				}
				return
			}
			if err != nil || openErr != nil {
				t.Fatalf("%q: Migrate %v, Open %v", row.name, err, openErr)
			}
			n := query[int](t, pool, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE c.relname LIKE 'strunk\_%' AND n.nspname <> $1`, row.name)
			if n != 0 {
				t.Errorf("%q: %d of strunk's relations are in another schema", row.name, n)
			}
		})
	}
}
