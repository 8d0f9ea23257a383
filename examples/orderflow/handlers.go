package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// retrySoon waits a tenth of a second, then twice that, and so on.
var retrySoon = queue.Backoff{First: 100 * time.Millisecond, Max: time.Second}

// Handlers do the work. A handler is a func; these are methods because they have state.
type Handlers struct {
	shop  *Shop
	bank  *bank
	mail  *mailServer
	index *searchIndex
	print func(format string, args ...any)
}

// Bindings are the consumers of this process.
func (h *Handlers) Bindings() []outbox.Binding {
	return []outbox.Binding{
		Payments.Worker(h.charge, queue.Concurrency(2)),
		Notifications.Worker(h.notify, queue.Concurrency(4), queue.Timeout(10*time.Second)),
		Orders.Subscriber("search-indexer", h.indexOrder),
	}
}

// charge asks the bank first and stores the answer second: if the process dies in between, the next attempt asks again
// under the same key, and the bank charges once.
func (h *Handlers) charge(ctx context.Context, task queue.Task[ChargeOrder]) error {
	key := fmt.Sprintf("order-%d", task.Payload.OrderID)
	if err := h.bank.charge(ctx, key, task.Payload.Cents); err != nil {
		h.print("attempt %d to charge for order %d: %v", task.Attempt, task.Payload.OrderID, err)
		return err
	}
	h.print("attempt %d to charge for order %d: charged", task.Attempt, task.Payload.OrderID)
	return h.shop.paid(ctx, task.Payload.OrderID)
}

func (h *Handlers) notify(ctx context.Context, task queue.Task[Notify]) error {
	if err := h.mail.send(ctx, task.Payload.To, task.Payload.Subject); err != nil {
		h.print("attempt %d of %d to notify %s: %v", task.Attempt, task.MaxAttempts, task.Payload.To, err)
		return err
	}
	h.print("notified %s: %s", task.Payload.To, task.Payload.Subject)
	return nil
}

// bank stands for a payment provider: out of order for the first calls, and idempotent by key.
type bank struct {
	mu       sync.Mutex
	failures int
	charged  map[string]int64
}

func (b *bank) charge(_ context.Context, key string, cents int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures > 0 {
		b.failures--
		return errors.New("the bank does not answer")
	}
	b.charged[key] = cents
	return nil
}

func (b *bank) total(key string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.charged[key]
}

// mailServer stands for one that knows which domains exist.
type mailServer struct {
	mu   sync.Mutex
	sent []string
}

func (m *mailServer) send(_ context.Context, to, subject string) error {
	if strings.HasSuffix(to, ".invalid") {
		return errors.New("no such domain")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, to+": "+subject)
	return nil
}

func (m *mailServer) mails() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.sent...)
}
