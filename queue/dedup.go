package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// DedupMode says how long a task holds its dedup key, and what happens to a second one meanwhile.
type DedupMode interface{ dedupMode() dedupMode }

type dedupMode struct {
	name   string // as strunk_enqueue_dedup takes it; empty is until done
	window time.Duration
	most   time.Duration
	err    error
}

func (m dedupMode) dedupMode() dedupMode { return m }

// Dedup modes for Dedup.
var (
	// UntilDone is what DedupKey does: the key is held while the task is scheduled, pending or claimed.
	UntilDone DedupMode = dedupMode{}
	// WhileWaiting holds the key until the task is claimed for the first time, so that one successor can wait while one
	// runs. A task that waits for another attempt does not hold it again.
	WhileWaiting DedupMode = dedupMode{name: "waiting"}
	// ReplaceWaiting is WhileWaiting, and a second enqueue gives the waiting task its payload and
	// metadata (Enqueued says Replaced). The task keeps its id, its place in the queue and all its
	// other options.
	ReplaceWaiting DedupMode = dedupMode{name: "replace"}
)

// ForPeriod holds the key until the task is done and for at least d from its enqueue, whichever ends later.
func ForPeriod(d time.Duration) DedupMode {
	return dedupMode{name: "period", window: d, err: checkWindow("ForPeriod", d)}
}

// Debounce makes the task due after quiet, and each further enqueue puts it off to quiet from then,
// with the new payload and metadata (Enqueued says Replaced). Once it has been claimed the next
// enqueue starts a new task. Enqueues that never stop put it off for ever: see DebounceUpTo.
func Debounce(quiet time.Duration) DedupMode {
	return dedupMode{name: "debounce", window: quiet, err: checkWindow("Debounce", quiet)}
}

// DebounceUpTo is Debounce, but the task is due at most this long after it was first enqueued.
func DebounceUpTo(quiet, most time.Duration) DedupMode {
	return dedupMode{name: "debounce", window: quiet, most: most,
		err: errors.Join(checkWindow("DebounceUpTo", quiet), checkWindow("DebounceUpTo", most))}
}

// Dedup gives a task a dedup key in a mode. The holder's mode says how long the key is held, the
// newcomer's what is done about a holder, so that one key is best always used in one mode.
func Dedup(key string, mode DedupMode) EnqueueOption {
	return enqueueOption(func(o *enqueueOptions) {
		o.dedupKey = &key
		if o.dedupMode = (dedupMode{err: errors.New("Dedup: the mode is nil")}); mode != nil {
			o.dedupMode = mode.dedupMode()
		}
	})
}

// maxWindow keeps due times within what a timestamp can say.
const maxWindow = 100 * 365 * 24 * time.Hour

func checkWindow(name string, d time.Duration) error {
	if d < time.Millisecond || d > maxWindow {
		return fmt.Errorf("%s: %v is not from 1ms to %v", name, d, maxWindow)
	}
	return nil
}

func (o *enqueueOptions) checkDedup() error {
	if o.dedupMode.err != nil {
		return o.dedupMode.err
	}
	if o.dedupMode.name == "debounce" && (o.delay != nil || o.due != nil) {
		return errors.New("Debounce says when the task is due: leave out Delay and DueAt")
	}
	return nil
}

// sqlEnqueueDedup adds tasks of which some have a dedup mode; see strunk_enqueue_dedup.
const sqlEnqueueDedup = `SELECT ord, id, duplicate, replaced FROM {schema}.strunk_enqueue_dedup($1::text[],
	$2::text[], $3::smallint[],
$4::smallint[], $5::bigint[], $6::timestamptz[], $7::text[], $8::integer[], $9::text[], $10::text[],
$11::bigint[], $12::bigint[], $13::boolean, $14::text[])`

func (p *params) addMode(i int, m dedupMode) {
	if p.dedupModes == nil {
		p.dedupModes = map[int]dedupMode{}
	}
	p.dedupModes[i] = m
}

func (p *params) dedupArgs(notify bool) []any {
	n := len(p.payloads)
	modes, windows, most := make([]*string, n), make([]*int64, n), make([]*int64, n)
	for i, m := range p.dedupModes {
		modes[i], windows[i] = &m.name, millis[int64](&m.window)
		if m.most > 0 {
			most[i] = millis[int64](&m.most)
		}
		if m.name == "debounce" {
			p.delays[i] = windows[i]
		}
	}
	return []any{p.queues, p.payloads, p.priorities, p.attempts, p.delays, p.dues, p.dedups, p.timeouts, p.metadata,
		modes, windows, most, notify, p.customerKeys}
}

func scanEnqueuedDedup(rows core.Rows, done []Enqueued) error {
	for rows.Next() {
		var ord int
		var e Enqueued
		if err := rows.Scan(&ord, &e.ID, &e.Duplicate, &e.Replaced); err != nil {
			return err
		}
		if err := refused(ord); err != nil {
			return err
		}
		done[ord-1] = e
	}
	return rows.Err()
}
