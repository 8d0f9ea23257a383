// Package encrypt keeps payloads secret from whoever can read the database: a middleware for
// package queue that encrypts them with AES-GCM before they are stored and decrypts them before the
// handler, with keys that can be rotated.
//
// What is encrypted is the payload alone. Metadata, dedup keys, results and error texts stay readable: keep
// secrets out of them.
package encrypt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/strunk-go/strunk/queue"
)

// Errors that a caller may act on. They are wrapped: test them with errors.Is.
var (
	// ErrKey says that a key cannot be used.
	ErrKey = errors.New("the key cannot be used")
	// ErrUnknownKey says that a payload was encrypted with a key that the ring does not have. The
	// attempt fails, and the task is tried again as after any error: deploy the key.
	ErrUnknownKey = errors.New("the key is not in the ring")
	// ErrTampered says that a payload cannot be decrypted: it was changed, it belongs to another
	// queue, or the key of that id is another one. The task becomes a dead letter at once.
	ErrTampered = errors.New("the payload cannot be decrypted")
)

// Key is an AES key with the id under which payloads name it.
type Key struct {
	// ID stands beside each payload. Never give one id to two keys.
	ID string
	// Secret has 16, 24 or 32 bytes: AES-128, -192 or -256.
	Secret []byte
}

// Ring holds the keys that payloads may be encrypted with; it encrypts with the first. It is safe for use by several
// goroutines.
type Ring struct {
	current string
	aeads   map[string]cipher.AEAD
}

// NewRing makes a ring. To rotate: add the new key last in every process, then put it first in every process, and when
// no payload of the old one is left (scheduled tasks and dead letters included) take the old one out.
func NewRing(current Key, others ...Key) (*Ring, error) {
	r := &Ring{current: current.ID, aeads: map[string]cipher.AEAD{}}
	for _, key := range append([]Key{current}, others...) {
		if key.ID == "" || r.aeads[key.ID] != nil {
			return nil, fmt.Errorf("strunk/queue/encrypt: key %q: %w: its id is empty or used twice", key.ID, ErrKey)
		}
		block, err := aes.NewCipher(key.Secret)
		if err != nil {
			return nil, fmt.Errorf("strunk/queue/encrypt: key %q: %w: %w", key.ID, ErrKey, err)
		}
		if r.aeads[key.ID], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("strunk/queue/encrypt: key %q: %w: %w", key.ID, ErrKey, err)
		}
	}
	return r, nil
}

// NewKey makes a random AES-256 key.
func NewKey(id string) Key {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return Key{ID: id, Secret: secret}
}

// sealed is a payload as it is stored.
type sealed struct {
	Encrypted *envelope `json:"strunk_encrypted"`
}

type envelope struct {
	Key  string `json:"key"`
	Data []byte `json:"data"` // the nonce and the ciphertext
}

// Middleware encrypts and decrypts. A payload that is not encrypted is passed on as it is, so that encryption can be
// switched on under way; Strict refuses such payloads. Nonces are random: give a key up before it has encrypted 2³²
// payloads.
func (r *Ring) Middleware(opts ...Option) queue.Middleware {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return queue.Middleware{
		Enqueue: func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
			for _, task := range tasks {
				doc, err := r.seal(task.Queue(), task.Payload())
				if err != nil {
					return err
				}
				task.SetPayload(doc)
			}
			return next(ctx)
		},
		Work: func(ctx context.Context, task *queue.Incoming, next func(context.Context) error) error {
			if err := r.open(o, task); err != nil {
				return err
			}
			return next(ctx)
		},
		Read: func(_ context.Context, task *queue.Incoming) error { return r.open(o, task) },
	}
}

// Option changes the middleware.
type Option func(*options)

type options struct{ strict bool }

// Strict refuses payloads that are not encrypted: they are errors of kind ErrTampered. Without it, who can write to
// the table can enqueue plain payloads.
func Strict() Option { return func(o *options) { o.strict = true } }

// seal binds the payload to its queue: it cannot be moved to another one.
func (r *Ring) seal(name string, payload []byte) (json.RawMessage, error) {
	data := r.aeads[r.current].Seal(nil, nil, payload, []byte(name))
	return json.Marshal(sealed{&envelope{Key: r.current, Data: data}})
}

func (r *Ring) open(o options, task *queue.Incoming) error {
	var s sealed
	if err := json.Unmarshal(task.Payload(), &s); err != nil || s.Encrypted == nil {
		if o.strict {
			return fmt.Errorf("strunk/queue/encrypt: queue %q, task %d: it is not encrypted: %w: %w", task.Queue(),
				task.ID(), ErrTampered, queue.ErrPoison)
		}
		return nil
	}
	aead := r.aeads[s.Encrypted.Key]
	if aead == nil {
		return fmt.Errorf("strunk/queue/encrypt: queue %q, task %d: key %q: %w", task.Queue(), task.ID(),
			s.Encrypted.Key, ErrUnknownKey)
	}
	payload, err := aead.Open(nil, nil, s.Encrypted.Data, []byte(task.Queue()))
	if err != nil {
		return fmt.Errorf("strunk/queue/encrypt: queue %q, task %d: key %q: %w: %w", task.Queue(), task.ID(),
			s.Encrypted.Key, ErrTampered, queue.ErrPoison)
	}
	task.SetPayload(payload)
	return nil
}
