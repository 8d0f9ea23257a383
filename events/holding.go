package events

import (
	"sync"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// holding is what strunk has opened for one call of a handler: the connection of its transaction. It is closed when the
// handler is given up, which may be while the transaction begins.
type holding struct {
	mu      sync.Mutex
	drop    func() // nil while there is no transaction yet
	givenUp bool
}

func (h *holding) hold(tx *outbox.OwnedTx) {
	dropper, ok := core.TxOf(tx).(core.Dropper)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drop = dropper.Drop; h.givenUp {
		h.drop()
	}
}

func (h *holding) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.givenUp = true; h.drop != nil {
		h.drop()
	}
}
