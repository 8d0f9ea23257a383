package jetstream

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/strunk-go/strunk/internal/natsname"
	"github.com/strunk-go/strunk/internal/queuelink"
)

// Header holds what the row of a task holds besides the payload, as one JSON object. The message's
// content is the payload.
const Header = "Strunk-Task"

// envelope is the content of Header.
type envelope struct {
	ID          int64           `json:"id"`
	Queue       string          `json:"queue"`
	Database    string          `json:"database"`
	Created     time.Time       `json:"created"`
	Due         time.Time       `json:"due"`
	TimeoutMS   int64           `json:"timeout_ms,omitempty"`
	MaxAttempts int             `json:"max_attempts"`
	Priority    int             `json:"priority,omitempty"`
	DedupKey    string          `json:"dedup_key,omitempty"`
	CustomerKey string          `json:"customer_key,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	// Spent counts the attempts before this message; its own deliveries are added.
	Spent int `json:"spent,omitempty"`
	// DelayMS puts the message off at its first delivery, which is no attempt.
	DelayMS int64 `json:"delay_ms,omitempty"`
	// Error, Stack and Worker are of the last attempt, on the way back. Spent then counts it.
	Error  string `json:"error,omitempty"`
	Stack  string `json:"stack,omitempty"`
	Worker string `json:"worker,omitempty"`
}

func newEnvelope(database string, t queuelink.Carried) envelope {
	return envelope{ID: t.ID, Queue: t.Queue, Database: database, Created: t.CreatedAt.UTC(), Due: t.DueAt.UTC(),
		TimeoutMS: t.Timeout.Milliseconds(), MaxAttempts: t.MaxAttempts, Priority: t.Priority, DedupKey: t.DedupKey,
		CustomerKey: t.CustomerKey, Metadata: t.Metadata, Spent: max(t.Attempt-1, 0)}
}

// messageID is the same for every repeat of a task.
func (e envelope) messageID() string {
	return natsname.Token(e.Database) + "/" + natsname.Token(e.Queue) + "/" + strconv.FormatInt(e.ID, 10) + "/" +
		strconv.FormatInt(e.Created.UnixMicro(), 36)
}

// message makes a message of an envelope. Metadata that is no JSON cannot be stored in the first place.
func (e envelope) message(subject, id string, payload []byte) (*nats.Msg, error) {
	doc, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("task %d: %w", e.ID, err)
	}
	msg := nats.NewMsg(subject)
	msg.Header.Set(nats.MsgIdHdr, id)
	msg.Header.Set(Header, string(doc))
	msg.Data = payload
	return msg, nil
}

// opened reads the envelope of a message.
func opened(header nats.Header) (e envelope, err error) {
	doc := header.Get(Header)
	if doc == "" {
		return e, fmt.Errorf("it has no header %s", Header)
	}
	if err := json.Unmarshal([]byte(doc), &e); err != nil {
		return e, fmt.Errorf("its header %s: %w", Header, err)
	}
	return e, nil
}

// task is the envelope's task at an attempt.
func (e envelope) task(payload []byte, attempt int) queuelink.Carried {
	return queuelink.Carried{ID: e.ID, Queue: e.Queue, Payload: payload, Metadata: e.Metadata, CreatedAt: e.Created,
		DueAt: e.Due, Timeout: time.Duration(e.TimeoutMS) * time.Millisecond, Attempt: attempt,
		MaxAttempts: e.MaxAttempts, Priority: e.Priority, DedupKey: e.DedupKey, CustomerKey: e.CustomerKey,
		Error: e.Error, Stack: e.Stack, Name: e.Worker}
}
