package outbox

import (
	"context"
	"runtime/debug"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// BoxOf returns the Box behind a host, for strunk's own packages: a binding is given a host and may need to begin a
// transaction.
func BoxOf(_ core.Seal, h core.Host) *Box {
	if of, ok := h.(interface{ box() *Box }); ok {
		return of.box()
	}
	return nil
}

func (h host) box() *Box { return h.b }

// Shared returns the one value that a package of strunk keeps with this Box under a key, made on first use: where two
// goroutines make it at once, one of the values is dropped.
func (b *Box) Shared(_ core.Seal, key any, make func() any) any {
	if value, ok := b.shared.Load(key); ok {
		return value
	}
	value, _ := b.shared.LoadOrStore(key, make())
	return value
}

// Connect opens a connection beside the pool, for strunk's own packages: for a question that must be answered while callers
// may hold every connection of the pool. The caller closes it.
func (b *Box) Connect(ctx context.Context, _ core.Seal) (*pgx.Conn, error) { return b.connect(ctx) }

// Listen makes sure, for strunk's own packages, that notifications reach this process until the returned function is
// called. One connection serves all callers and every Run of this Box. With PollOnly it does nothing.
func (b *Box) Listen(core.Seal) (stop func()) {
	if b.cfg.PollOnly {
		return func() {}
	}
	return b.listener.join(b)
}

// listenShared is the loop of Run: it listens, with whoever else does, until ctx ends.
func (b *Box) listenShared(ctx context.Context) {
	leave := b.listener.join(b)
	defer leave()
	<-ctx.Done()
}

// sharedListener is the listening connection of a Box, which lasts while it has users.
type sharedListener struct {
	mu     sync.Mutex
	users  int
	cancel context.CancelFunc
	ended  chan struct{}
}

// join counts a user in: the first starts the connection, the last to leave ends it and waits for that.
func (l *sharedListener) join(b *Box) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users++; l.users == 1 {
		var ctx context.Context
		ctx, l.cancel = context.WithCancel(context.Background())
		l.ended = make(chan struct{})
		go l.listen(ctx, b, l.ended)
	}
	return sync.OnceFunc(l.leave)
}

func (l *sharedListener) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 {
		l.cancel()
		<-l.ended
	}
}

func (l *sharedListener) listen(ctx context.Context, b *Box, ended chan struct{}) {
	defer close(ended)
	for ctx.Err() == nil {
		func() {
			defer func() {
				if p := recover(); p != nil {
					b.cfg.Logger.Error("strunk: the listener panicked and is started again", "panic", p, "stack", string(debug.Stack()))
				}
			}()
			b.listen(ctx)
		}()
		if ctx.Err() == nil {
			core.Sleep(ctx, loopRestart)
		}
	}
}
