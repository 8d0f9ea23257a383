package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// expect returns an error that says which expectation broke, or nil.
func expect(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("expected that "+format, args...)
}

// pollEvery is how often the story looks whether something has happened.
const pollEvery = 5 * time.Millisecond

// await waits until a task has a status.
func await[T any](ctx context.Context, box *outbox.Box, q *queue.Queue[T], id int64,
	want queue.Status) (queue.Record[T], error) {
	for {
		task, err := q.Get(ctx, box, id)
		if err != nil || task.Status == want {
			return task, err
		}
		if task.Status == queue.StatusDead || ctx.Err() != nil {
			return task, fmt.Errorf("expected that task %d of %q becomes %s: it is %s, its last error %q", id,
				q.Name(), want, task.Status, task.LastError)
		}
		pause(ctx)
	}
}

type deadLetter struct {
	id        int64
	lastError string
}

// awaitDeadLetter waits for a dead letter of a queue, with the SQL that anybody may use.
func (s *story) awaitDeadLetter(ctx context.Context, key string) (d deadLetter, err error) {
	for {
		rows, err := s.pool.Query(ctx, `SELECT id, last_error FROM strunk_outbox WHERE status = 'dead'
			AND key = $1`, key)
		if err != nil {
			return d, err
		}
		for rows.Next() {
			if err := rows.Scan(&d.id, &d.lastError); err != nil {
				return d, err
			}
		}
		if err := rows.Err(); err != nil || d.id != 0 {
			return d, err
		}
		pause(ctx)
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(pollEvery):
	}
}

// printer writes what happens. Handlers print from goroutines of their own.
type printer struct {
	mu   sync.Mutex
	out  io.Writer
	step int
}

func (p *printer) title(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step++
	fmt.Fprintf(p.out, "%2d. "+format+"\n", append([]any{p.step}, args...)...)
}

func (p *printer) print(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "      "+format+"\n", args...)
}
