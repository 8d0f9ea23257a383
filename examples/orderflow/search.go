package main

import (
	"context"
	"sync"

	"github.com/strunk-go/strunk/events"
)

// indexOrder keeps the search index up to date. Events are delivered at least once, and the version says what is newer.
func (h *Handlers) indexOrder(_ context.Context, event events.Event[Order]) error {
	h.index.put(event)
	h.print("indexed order %s, version %d: %s", event.EntityID, event.Version, event.State.Status)
	return nil
}

// searchIndex stands for a search engine.
type searchIndex struct {
	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	version int64
	order   Order
	trail   []string // the statuses that came, in the order in which they came
}

func (x *searchIndex) put(event events.Event[Order]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[event.EntityID]
	if event.Version > e.version {
		e.version, e.order = event.Version, event.State
	}
	e.trail = append(e.trail, event.State.Status)
	x.entries[event.EntityID] = e
}

func (x *searchIndex) find(id string) entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.entries[id]
}

// lose empties the index, as an accident does.
func (x *searchIndex) lose() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.entries)
}
