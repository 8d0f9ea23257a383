package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// lookedAtOnce bounds the tasks of one look.
const lookedAtOnce = 200

// sqlEnds reads what is known of tasks $1 of a queue, under whichever of its names ($2). It locks nothing.
const sqlEnds = `SELECT p.id, r.result, o.status, coalesce(o.last_error, '')
FROM unnest($1::bigint[]) AS p(id)
LEFT JOIN {schema}.strunk_results r ON r.task_id = p.id AND r.queue = ANY ($2::text[])
LEFT JOIN LATERAL {schema}.strunk_task(p.id) o ON o.key = ANY ($2::text[])`

// taskEnd is what is known of the end of a task, or why that could not be read.
type taskEnd struct {
	id     int64
	result []byte
	status *Status // nil for a task that is not there
	reason string
	err    error
}

// over reports whether there is nothing to wait for.
func (e *taskEnd) over() bool {
	if e.err != nil || e.result != nil || e.status == nil {
		return true
	}
	switch *e.status {
	case StatusScheduled, StatusPending, StatusClaimed:
		return false
	}
	return true
}

func readEnds(ctx context.Context, host core.Host, names []string, ids ...int64) (ends []taskEnd, err error) {
	rows, err := host.Pool().Query(ctx, host.SQL(sqlEnds), ids, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e taskEnd, err error) {
		return e, row.Scan(&e.id, &e.result, &e.status, &e.reason)
	})
}

// waiters are the calls of Wait for one queue. Those of one box share a reader, which lasts while it has users: the
// statements do not grow with the number of waiters.
type waiters struct {
	mu      sync.Mutex
	readers map[*outbox.Box]*endReader
}

// join counts a waiter in: the first starts the reader, the last to leave ends it and waits for that.
func (w *waiters) join(box *outbox.Box, names []string) (r *endReader, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.readers == nil {
		w.readers = map[*outbox.Box]*endReader{}
	}
	if r = w.readers[box]; r == nil {
		r = newEndReader(core.BoxHost(box), names)
		w.readers[box] = r
	}
	r.users++
	return r, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if r.users--; r.users == 0 {
			delete(w.readers, box)
			r.stop()
		}
	}
}

// endReader looks for the ends of the tasks that the waiters of a queue wait for.
type endReader struct {
	host  core.Host
	names []string // of the queue
	users int      // under the lock of waiters
	stop  func()
	added chan struct{}

	mu     sync.Mutex
	wanted map[int64][]chan taskEnd
}

func newEndReader(host core.Host, names []string) *endReader {
	r := &endReader{host: host, names: names, added: make(chan struct{}, 1), wanted: map[int64][]chan taskEnd{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-ended
	}
	return r
}

// want asks for a task's end. Forget it afterwards.
func (r *endReader) want(id int64) chan taskEnd {
	answer := make(chan taskEnd, 1)
	r.mu.Lock()
	r.wanted[id] = append(r.wanted[id], answer)
	r.mu.Unlock()
	signal(r.added)
	return answer
}

func (r *endReader) forget(id int64, answer chan taskEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.DeleteFunc(r.wanted[id], func(other chan taskEnd) bool { return other == answer })
	if r.wanted[id] = left; len(left) == 0 {
		delete(r.wanted, id)
	}
}

// run looks after each wake-up, and at every poll interval.
func (r *endReader) run(ctx context.Context) {
	topics := make([]string, len(r.names))
	for i, name := range r.names {
		topics[i] = core.TopicResult(name)
	}
	woken, stop := r.host.Subscribe(topics...)
	defer stop()
	defer r.host.Listen()()
	for ctx.Err() == nil {
		r.look(ctx)
		timer := time.NewTimer(r.host.Settings().PollInterval)
		select {
		case <-woken:
		case <-r.added:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// look tells the waiters whose tasks have ended, and all of them where that cannot be read.
func (r *endReader) look(ctx context.Context) {
	r.mu.Lock()
	ids := slices.Collect(maps.Keys(r.wanted))
	r.mu.Unlock()
	for chunk := range slices.Chunk(ids, lookedAtOnce) {
		ends, err := readEnds(ctx, r.host, r.names, chunk...)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			ends = nil
			for _, id := range chunk {
				ends = append(ends, taskEnd{id: id, err: err})
			}
		}
		r.tell(ends)
	}
}

func (r *endReader) tell(ends []taskEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range ends {
		if !e.over() {
			continue
		}
		for _, answer := range r.wanted[e.id] {
			answer <- e
		}
		delete(r.wanted, e.id)
	}
}
