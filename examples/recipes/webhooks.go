package recipes

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/strunk-go/strunk/inbox"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Hooks are messages from a payment provider, to be handled at our own pace.
var Hooks = queue.Define[json.RawMessage]("payment-hooks", queue.Config{})

// receive answers 204 when the message is stored. The provider sends it again until then; it is stored once.
func receive(box *outbox.Box) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || !json.Valid(body) { // and check the signature here
			http.Error(w, "not a message", http.StatusBadRequest)
			return
		}
		ctx := r.Context()
		err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			id := r.Header.Get("webhook-id")
			_, err := inbox.Once(ctx, tx, "payment-provider", id, func(ctx context.Context) error {
				_, err := Hooks.Enqueue(ctx, tx, body)
				return err
			})
			return err
		})
		if err != nil {
			http.Error(w, "not stored, send it again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
