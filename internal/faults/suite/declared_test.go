package suite

import (
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/queue"
)

// job is the payload of all tasks: the N-th item of an intent. In the queue that keeps order, Order rises within a key.
type job struct {
	Intent int64 `json:"intent"`
	N      int   `json:"n"`
	Order  int   `json:"order"`
}

// entity is the state of an entity: who wrote it last.
type entity struct {
	ID     string `json:"id"`
	Intent int64  `json:"intent"`
}

const (
	entities = 6
	// atMost is the highest limit that a round ever sets for the limited queue.
	atMost = 4
	lease  = time.Second
)

// often is a retry policy under which no task dies of faults.
var often = queue.Config{MaxAttempts: 1000, Retry: queue.Backoff{First: time.Millisecond, Max: 20 * time.Millisecond}}

func with(cfg queue.Config, l queue.Limits) queue.Config {
	cfg.Limits = l
	return cfg
}

var (
	plainQueue   = queue.Define[job]("plain", often)
	inTxQueue    = queue.Define[job]("in-tx", often)
	inOrder      = queue.Define[job]("in-order", with(often, queue.Limits{FIFO: true}))
	limitedQueue = queue.Define[job]("limited", with(often, queue.Limits{Running: 3}))
	delayedQueue = queue.Define[job]("delayed", often)
	dyingQueue   = queue.Define[job]("dying", queue.Config{MaxAttempts: 2, Retry: often.Retry})
	queues       = []*queue.Queue[job]{plainQueue, inTxQueue, inOrder, limitedQueue, delayedQueue, dyingQueue}

	stream = events.Define("entity", func(e entity) string { return e.ID }, events.Config{})
)

// sqlTables are the application's own. orders says which intents were committed; the others are what handlers left.
const sqlTables = `
CREATE TABLE public.orders (intent bigint PRIMARY KEY);
CREATE TABLE public.runs (n bigserial PRIMARY KEY, queue text, task bigint, intent bigint, item int, fence bigint,
	pid int, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE public.effects (n bigserial PRIMARY KEY, queue text, task bigint, intent bigint, item int, key text,
	place int);
CREATE TABLE public.seen (n bigserial PRIMARY KEY, subscriber text, entity text, version bigint, intent bigint);`
