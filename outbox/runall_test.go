package outbox_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

var shardTasks = queue.Define[string]("shard-tasks", queue.Config{})

// handled collects what the workers of all shards were given.
type handled struct {
	mu   sync.Mutex
	seen []string
	more chan struct{}
}

func (h *handled) worker(shard string) outbox.Binding {
	return shardTasks.Worker(func(_ context.Context, t queue.Task[string]) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.seen = append(h.seen, shard+":"+t.Payload)
		h.more <- struct{}{}
		return nil
	})
}

func (h *handled) await(t *testing.T, want string) {
	t.Helper()
	timeout := time.After(soon)
	for {
		h.mu.Lock()
		all := strings.Join(h.seen, " ")
		h.mu.Unlock()
		if strings.Contains(all, want) {
			return
		}
		select {
		case <-h.more:
		case <-timeout:
			t.Fatalf("%s was not handled; only %s", want, all)
		}
	}
}

func enqueueShard(t *testing.T, box *outbox.Box, payload string) {
	t.Helper()
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := shardTasks.Enqueue(t.Context(), tx, payload)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func openShard(t *testing.T, pool *pgxpool.Pool) *outbox.Box {
	t.Helper()
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// A database that is not there does not keep the others from being served, and is served when it comes.
func TestRunAllServesTheOthers(t *testing.T) {
	t.Parallel()
	good, broken := outboxtest.New(t), outboxtest.New(t)
	proxy := faults.NewProxy(t, outboxtest.DSN(broken))
	dsn, err := proxy.DSN(outboxtest.DSN(broken))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	one, two := openShard(t, good), openShard(t, pool)
	enqueueShard(t, two, "b")
	proxy.Down()

	h := handled{more: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- outbox.RunAll(ctx, outbox.On(one, h.worker("one")), outbox.On(two, h.worker("two"))) }()
	enqueueShard(t, one, "a")
	h.await(t, "one:a")
	proxy.Up()
	h.await(t, "two:b")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRunAllReportsEveryProblem(t *testing.T) {
	t.Parallel()
	box := openShard(t, outboxtest.New(t))
	bad := queue.Define[string]("", queue.Config{})
	err := outbox.RunAll(t.Context(), outbox.On(box, nil), outbox.On(nil), outbox.On(box, bad.Worker(nil)))
	for _, text := range []string{"part 1", "binding 1 is nil", "part 2", "part 3"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %q", err, text)
		}
	}
}
