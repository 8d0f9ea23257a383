package outbox

import (
	"context"
	"runtime/debug"
	"sync"

	"github.com/strunk-go/strunk/internal/core"
)

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
					b.cfg.Logger.Error("strunk: the listener panicked and is started again", "panic", p, "stack",
						string(debug.Stack()))
				}
			}()
			b.listen(ctx)
		}()
		if ctx.Err() == nil {
			core.Sleep(ctx, loopRestart)
		}
	}
}
