package outbox

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// notifyTimeout bounds one NOTIFY; polling makes up for one that is given up.
const notifyTimeout = 5 * time.Second

// notifyPause is how long topics are collected after a NOTIFY was sent, so that a burst of commits costs few of them.
const notifyPause = 2 * time.Millisecond

// seldomPause is how far apart announcements are that count as seldom: as many a second as a worker finds that stays
// asleep. A NOTIFY inside a transaction holds a lock of the whole server over its commit.
const seldomPause = 4 * time.Millisecond

// notifier sends one NOTIFY for the topics of many commits: the first goes out at once, those that
// come while it is under way, or just after, go out together. It runs only while there is something
// to send.
type notifier struct {
	box     *Box
	mu      sync.Mutex
	pending map[string]struct{}
	busy    bool
	// next is closed when what is pending has been sent, current when what was taken last has.
	next, current chan struct{}
	urgent        chan struct{} // a topic has come that goes out whoever is awake
	last          time.Time     // of the last announcement
}

func newNotifier(b *Box) *notifier {
	return &notifier{box: b, pending: map[string]struct{}{}, urgent: make(chan struct{}, 1)}
}

// seldom reports whether nothing was announced just now, and counts as an announcement.
func (n *notifier) seldom(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.last
	n.last = now
	return !n.busy && now.Sub(before) >= seldomPause
}

func (n *notifier) send(topics []string) {
	if len(topics) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = time.Now()
	if len(n.pending) == 0 {
		n.next = make(chan struct{})
	}
	for _, topic := range topics {
		n.pending[topic] = struct{}{}
		if !leftOutWhileAwake(topic) {
			signal(n.urgent)
		}
	}
	if !n.busy {
		n.busy = true
		go n.drain()
	}
}

func (n *notifier) drain() {
	for {
		topics, sent := n.take()
		if topics == nil {
			return
		}
		heard := n.notify(topics)
		close(sent)
		n.rest(heard)
	}
}

// rest has topics collect. Where all were awake who could have heard of the last ones, it takes longer: one that falls
// asleep now looks again after as long.
func (n *notifier) rest(heard bool) {
	if heard {
		time.Sleep(notifyPause)
		return
	}
	select {
	case <-n.urgent:
	case <-time.After(core.FirstPause):
	}
}

// take empties the set, or ends the drain where it is empty.
func (n *notifier) take() (topics []string, sent chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) == 0 {
		n.busy = false
		return nil, nil
	}
	topics = make([]string, 0, len(n.pending))
	for topic := range n.pending {
		topics = append(topics, topic)
	}
	clear(n.pending)
	n.current = n.next
	return topics, n.current
}

// leftOutWhileAwake reports whether sqlNotify asks who is awake.
func leftOutWhileAwake(topic string) bool {
	return topic == core.TopicRelay || strings.HasPrefix(topic, core.TopicQueue(""))
}

// sqlNotify sends topics ($1) on the channel of this installation, but leaves out queues whose workers are all awake,
// and a relay that is. It locks nothing but the server's queue of notifications, in a transaction that has nothing else
// to commit.
const sqlNotify = `SELECT pg_catalog.pg_notify({channel}, topic) FROM pg_catalog.unnest($1::text[]) topic
	WHERE CASE WHEN pg_catalog.starts_with(topic, 'q:') THEN {schema}.strunk_may_sleep(pg_catalog.substr(topic, 3))
		WHEN topic = 'relay' THEN {schema}.strunk_relay_may_sleep() ELSE true END`

// notify reports whether anything was sent.
func (n *notifier) notify(topics []string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
	defer cancel()
	sent, err := n.box.pool.Exec(ctx, n.box.sql(sqlNotify), topics)
	if err != nil {
		n.box.cfg.Logger.Debug("strunk: a wake-up was not sent; consumers find the work by polling", "error", err)
	}
	return sent.RowsAffected() > 0
}

// flush blocks until what was announced before the call has been sent, however much is announced meanwhile, or until
// end is over.
func (n *notifier) flush(end context.Context) {
	n.mu.Lock()
	sent := n.current
	if len(n.pending) > 0 {
		sent = n.next
	}
	n.mu.Unlock()
	if sent == nil {
		return
	}
	select {
	case <-sent:
	case <-end.Done():
	}
}
