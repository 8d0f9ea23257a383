package queuetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/queuelink"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// LoadFile is [Load] of a file, such as testdata/dead.json.
func LoadFile[T any](t testing.TB, box *outbox.Box, q *queue.Queue[T], path string) queue.Task[T] {
	t.Helper()
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("queuetest.LoadFile: %v", err)
	}
	task, err := load(t.Context(), box, q, document)
	if err != nil {
		t.Fatalf("queuetest.LoadFile: %s: %v", path, err)
	}
	return task
}

// Load makes a test case of a task from production, a dead letter above all: of the document that
//
//	strunk show --json --payload ID
//
// prints. It returns the task as the queue's handler saw it at its last attempt, for [RequireIdempotent], [Work]
// (with the task's Payload, and its Metadata as an option), or a call of the handler. The database is not read and not
// changed. The payload goes through the parts Read of the box's and the queue's middleware, so what is encrypted
// needs the key; what is in the payload and not in T is lost.
//
// It fails the test, and says why, where the document is no JSON or none of a task, where the task is of another queue,
// where its payload was left out, is not a T, or does not fit the version of the schema that it was enqueued
// under, which the queue's validator (Config.Validator) must know.
func Load[T any](t testing.TB, box *outbox.Box, q *queue.Queue[T], document []byte) queue.Task[T] {
	t.Helper()
	task, err := load(t.Context(), box, q, document)
	if err != nil {
		t.Fatalf("queuetest.Load: %v", err)
	}
	return task
}

// shown is what strunk show prints of a task; ops.TaskDetails has all of it.
type shown struct {
	ID          int64           `json:"id"`
	Kind        string          `json:"kind"`
	Queue       string          `json:"queue"`
	Subscriber  string          `json:"subscriber"`
	Priority    int             `json:"priority"`
	Attempts    int             `json:"attempts"`
	MaxAttempts int             `json:"max_attempts"`
	CreatedAt   time.Time       `json:"created_at"`
	DueAt       *time.Time      `json:"due_at"`
	CustomerKey string          `json:"customer_key"`
	DedupKey    string          `json:"dedup_key"`
	Payload     json.RawMessage `json:"payload"`
	Metadata    json.RawMessage `json:"metadata"`
}

func load[T any](ctx context.Context, box *outbox.Box, q *queue.Queue[T], document []byte) (task queue.Task[T],
	err error) {
	if box == nil {
		return task, errors.New("the box is nil")
	}
	var s shown
	if err := json.Unmarshal(document, &s); err != nil {
		return task, fmt.Errorf("it is not the JSON that strunk show --json --payload prints: %w", err)
	}
	if err := s.check(core.DecoderOf(q)); err != nil {
		return task, err
	}
	task = queue.Task[T]{ID: s.ID, Queue: s.Queue, Attempt: max(s.Attempts, 1), MaxAttempts: s.MaxAttempts,
		Priority: s.Priority, CreatedAt: s.CreatedAt, DueAt: s.CreatedAt, CustomerKey: s.CustomerKey,
		DedupKey: s.DedupKey}
	if s.DueAt != nil {
		task.DueAt = *s.DueAt
	}
	stored := core.StoredPayload{ID: s.ID, Kind: s.Kind, Key: s.Queue, CreatedAt: s.CreatedAt,
		Attempts: task.Attempt - 1, MaxAttempts: s.MaxAttempts, Payload: s.Payload, Metadata: s.Metadata}
	var payload []byte
	err = queuelink.Loaded(ctx, q, core.BoxHost(box), stored, func(doc []byte, metadata map[string]string) {
		payload, task.Metadata = doc, metadata
	})
	if err != nil {
		return task, fmt.Errorf("task %d: the payload does not fit: %w", s.ID, err)
	}
	if err := json.Unmarshal(payload, &task.Payload); err != nil {
		return task, fmt.Errorf("task %d: the payload does not fit, or was replaced by a redaction: %w", s.ID, err)
	}
	return task, nil
}

// check says why the document is no task of the queue whose decoder this is.
func (s shown) check(q core.PayloadDecoder) error {
	switch {
	case q.Err != nil:
		return q.Err
	case s.Kind == "delivery":
		return fmt.Errorf("%d is a copy of an event for the subscriber %q, no task", s.ID, s.Subscriber)
	case s.Kind != "task" || s.Queue == "":
		return errors.New("it is not what strunk show --json --payload prints: it has no kind \"task\" or no queue")
	case !slices.Contains(q.Names, s.Queue):
		return fmt.Errorf("task %d is of the queue %q, not of %q", s.ID, s.Queue, strings.Join(q.Names, `" or "`))
	case s.Payload == nil:
		return fmt.Errorf("task %d has no payload: it was hidden, or taken out by a redaction; print it with "+
			"strunk show --json --payload %d", s.ID, s.ID)
	}
	return nil
}
