package outbox

import "sync"

// hub hands wake-ups to this process's subscribers. Signals coalesce: a channel holds at most one.
type hub struct {
	mu   sync.Mutex
	subs map[string]map[chan struct{}]struct{}
}

func newHub() *hub { return &hub{subs: map[string]map[chan struct{}]struct{}{}} }

func (h *hub) subscribe(topics []string) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		if h.subs[topic] == nil {
			h.subs[topic] = map[chan struct{}]struct{}{}
		}
		h.subs[topic][ch] = struct{}{}
	}
	return ch, func() { h.unsubscribe(topics, ch) }
}

func (h *hub) unsubscribe(topics []string, ch chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		delete(h.subs[topic], ch)
		if len(h.subs[topic]) == 0 {
			delete(h.subs, topic)
		}
	}
}

func (h *hub) wake(topics []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		for ch := range h.subs[topic] {
			signal(ch)
		}
	}
}

// wakeAll is the full poll after a gap in which notifications may have been missed.
func (h *hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, chans := range h.subs {
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
