package outbox

import (
	"sync"
	"sync/atomic"
)

// wakeUps passes wake-ups on to this process's subscribers. Signals coalesce: a channel holds at most one.
type wakeUps struct {
	all  atomic.Int64 // full polls
	mu   sync.Mutex
	subs map[string]map[chan struct{}]struct{}
}

func newWakeUps() *wakeUps { return &wakeUps{subs: map[string]map[chan struct{}]struct{}{}} }

func (w *wakeUps) subscribe(topics []string) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range topics {
		if w.subs[topic] == nil {
			w.subs[topic] = map[chan struct{}]struct{}{}
		}
		w.subs[topic][ch] = struct{}{}
	}
	return ch, func() { w.unsubscribe(topics, ch) }
}

func (w *wakeUps) unsubscribe(topics []string, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range topics {
		delete(w.subs[topic], ch)
		if len(w.subs[topic]) == 0 {
			delete(w.subs, topic)
		}
	}
}

func (w *wakeUps) wake(topics []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range topics {
		for ch := range w.subs[topic] {
			signal(ch)
		}
	}
}

// wakeAll is the full poll after a gap in which notifications may have been missed.
func (w *wakeUps) wakeAll() {
	w.all.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, chans := range w.subs {
		for ch := range chans {
			signal(ch)
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
