package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// answer is what a producer was told of its transaction.
type answer string

const (
	committed  answer = "committed"
	rolledBack answer = "rolled back"
	unknown    answer = "unknown" // the answer to COMMIT was lost
)

// item is one task of an intent.
type item struct {
	queue, key string
	n, order   int
}

// intent is one transaction as it was meant.
type intent struct {
	id     int64
	items  []item
	entity string // whose state it publishes; empty for none
	answer answer

	sent, answered time.Time
}

// record is what all producers intended.
type record struct {
	mu      sync.Mutex
	intents []*intent
}

func (r *record) add(i *intent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intents = append(r.intents, i)
}

// producer sends transactions one after the other. Its key is in order: after a transaction of which it does not know
// when it ends, it takes another key.
type producer struct {
	number int
	rng    *rand.Rand
	box    *outbox.Box
	pool   *pgxpool.Pool
	record *record

	sent  int64
	key   int
	order int
}

// leastSent is how many transactions a producer sends in a round at least, however slow the machine.
const leastSent = 6

func (p *producer) produce(ctx context.Context) {
	for first := p.sent; ctx.Err() == nil || p.sent < first+leastSent; {
		i := p.draw()
		i.sent = time.Now()
		i.answer = p.send(ctx, i)
		i.answered = time.Now()
		p.record.add(i)
		if i.answer == unknown {
			p.key, p.order = p.key+1, 0
		}
		time.Sleep(time.Duration(p.rng.IntN(8)) * time.Millisecond)
	}
}

// draw makes the next intent.
func (p *producer) draw() *intent {
	p.sent++
	i := &intent{id: p.sent*100 + int64(p.number)}
	for n := range 1 + p.rng.IntN(4) {
		it := item{n: n, queue: queues[p.rng.IntN(len(queues))].Name()}
		if it.queue == inOrder.Name() {
			p.order++
			it.key, it.order = fmt.Sprintf("%d-%d", p.number, p.key), p.order
		}
		i.items = append(i.items, it)
	}
	if p.rng.IntN(2) == 0 {
		i.entity = fmt.Sprint("entity-", p.rng.IntN(entities))
	}
	return i
}

var errMeant = errors.New("meant to be rolled back")

// send sends an intent in a transaction of the library's or one of its own, and says what it was told.
func (p *producer) send(ctx context.Context, i *intent) answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	back, owned := p.rng.IntN(6) == 0, p.rng.IntN(2) == 0
	reached := false // COMMIT may have been sent
	work := func(tx outbox.Tx, raw pgx.Tx) error {
		if err := p.write(ctx, tx, raw, i); err != nil {
			return err
		}
		if back {
			return errMeant
		}
		reached = true
		return nil
	}
	var err error
	if owned {
		err = p.box.InTx(ctx, func(tx *outbox.OwnedTx) error { return work(tx, tx.Pgx()) })
	} else {
		err = pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error { return work(p.box.Tx(tx), tx) })
	}
	switch {
	case err == nil:
		return committed
	case reached:
		return unknown
	}
	return rolledBack
}

// write writes the business row, the tasks and the state.
func (p *producer) write(ctx context.Context, tx outbox.Tx, raw pgx.Tx, i *intent) error {
	if _, err := raw.Exec(ctx, `INSERT INTO public.orders (intent) VALUES ($1)`, i.id); err != nil {
		return err
	}
	var items []queue.Item
	for _, it := range i.items {
		items = append(items, it.task(i.id))
	}
	if _, err := queue.EnqueueAll(ctx, tx, items...); err != nil {
		return err
	}
	if i.entity == "" {
		return nil
	}
	_, err := stream.Publish(ctx, tx, entity{ID: i.entity, Intent: i.id})
	return err
}

func (it item) task(id int64) queue.Item {
	payload := job{Intent: id, N: it.n, Order: it.order}
	for _, q := range queues {
		if q.Name() != it.queue {
			continue
		}
		switch {
		case q == delayedQueue:
			return q.Item(payload, queue.Delay(time.Duration(it.n)*100*time.Millisecond))
		case it.key != "":
			return q.Item(payload, queue.CustomerKey(it.key))
		}
		return q.Item(payload)
	}
	panic("no queue " + it.queue)
}
