package core

import (
	"context"
	"sync"
	"time"
)

const (
	// noteInterval is how often a forwarder says how it stands, where something has changed.
	noteInterval = 2 * time.Second
	// noteTimeout bounds one note, and askTimeout one question to the destination.
	noteTimeout, askTimeout = 5 * time.Second, time.Second
)

// ForwarderNote is what a forwarder says of itself in strunk_forwarders, for stats and health. Its
// methods are safe for use by several goroutines.
type ForwarderNote struct {
	// Kind is "events" or "tasks"; Name the subscriber's or the queue's.
	Kind, Name, Destination string
	// Waiting asks the destination for what nobody has taken there yet; nil where it cannot say.
	Waiting func(ctx context.Context) (messages int64, oldest time.Duration, err error)

	mu      sync.Mutex
	sent    int64
	failing *string
	changed bool
}

// Sent counts messages that have arrived.
func (n *ForwarderNote) Sent(messages int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent, n.failing, n.changed = n.sent+int64(messages), nil, true
}

// Failed says that the destination takes nothing.
func (n *ForwarderNote) Failed(err error) {
	text := CleanText(ErrorText(err), MaxErrorBytes)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failing, n.changed = &text, true
}

// Keep writes notes until the soft end, and a last one then. A note that cannot be written is
// written with the next one.
func (n *ForwarderNote) Keep(life Life, host Host) {
	n.mu.Lock()
	n.changed = true
	n.mu.Unlock()
	for life.Soft.Err() == nil {
		n.write(life, host)
		Sleep(life.Soft, noteInterval)
	}
	n.write(life, host)
}

const sqlNoteForwarder = `SELECT {schema}.strunk_note_forwarder($1::text, $2::text, $3::text, $4::bigint, $5::text,
	$6::bigint, $7::bigint)`

func (n *ForwarderNote) write(life Life, host Host) {
	waiting, oldest := n.askWaiting(life.Soft)
	ctx, cancel := Outlasting(life.Soft, life.End, noteTimeout)
	defer cancel()
	n.mu.Lock()
	sent, failing, due := n.sent, n.failing, n.changed || waiting != nil
	n.sent, n.changed = 0, false
	n.mu.Unlock()
	if !due {
		return
	}
	err := Write(ctx, host.Pool(), Statement{SQL: host.SQL(sqlNoteForwarder),
		Args: []any{n.Kind, n.Name, n.Destination, sent, failing, waiting, oldest}})
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.sent, n.changed = n.sent+sent, true
	}
}

// askWaiting returns what waits at the destination, and the age of the first in milliseconds; nil
// where it does not say.
func (n *ForwarderNote) askWaiting(soft context.Context) (messages, oldest *int64) {
	if n.Waiting == nil || soft.Err() != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(soft, askTimeout)
	defer cancel()
	defer func() {
		if recover() != nil { // the user's code; what it was to say is missing, and no more
			messages, oldest = nil, nil
		}
	}()
	count, age, err := n.Waiting(ctx)
	if err != nil {
		return nil, nil
	}
	ms := age.Milliseconds()
	return &count, &ms
}
