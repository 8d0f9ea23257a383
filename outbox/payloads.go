package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// DefaultPayloadLimit bounds the payloads that CheckPayloads decodes of each name and place.
	DefaultPayloadLimit = 10_000
	// MaxPoisonListed bounds the payloads that a PayloadReport lists.
	MaxPoisonListed = 100
)

// Payloads is what is stored under a declaration. A *queue.Queue and an *events.Stream are Payloads, and so is what
// their methods Decoding return.
type Payloads interface {
	payloadSource
}

type payloadSource = core.PayloadSource

// PayloadReport says what CheckPayloads found.
type PayloadReport struct {
	// Checked is how many payloads were decoded.
	Checked int
	// Complete is false where a place had more payloads than the limit.
	Complete bool
	// Poisoned is how many payloads cannot be decoded.
	Poisoned int
	// Poison lists the first MaxPoisonListed of them.
	Poison []PoisonPayload
}

// PoisonPayload is a stored payload that cannot be decoded.
type PoisonPayload struct {
	// ID is the row's id in strunk_outbox.
	ID int64
	// Kind is "task", "event" or "delivery" (of an event, to one subscriber).
	Kind string
	// Name is the queue or the entity type.
	Name string
	// Status is the row's status.
	Status string
	// EntityID is the entity's id; empty for a task.
	EntityID string
	// SchemaVersion is the version that an event was published with, or empty.
	SchemaVersion string
	// Err says why.
	Err error
}

// String returns one line.
func (p PoisonPayload) String() string {
	entity := ""
	if p.EntityID != "" {
		entity = fmt.Sprintf(" of entity %q", p.EntityID)
	}
	return fmt.Sprintf("%s %d of %q%s (%s): %s", p.Kind, p.ID, p.Name, entity, p.Status, core.ErrorText(p.Err))
}

// Err returns an error that lists the poison, or nil where every payload was decoded.
func (r PayloadReport) Err() error {
	if r.Poisoned == 0 {
		return nil
	}
	var b strings.Builder
	for _, p := range r.Poison {
		b.WriteString("\n  " + p.String())
	}
	if more := r.Poisoned - len(r.Poison); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return fmt.Errorf("strunk/outbox: %d of %d stored payloads cannot be decoded; a process of this program would "+
		"set them aside:%s", r.Poisoned, r.Checked, b.String())
}

// CheckPayloads decodes what is stored under declarations as this program's consumers would, and reports what they
// would set aside: run it before a deployment, with the new program on the database that it is to work on. It decodes
// tasks that wait, are scheduled, run or are dead; the newest events; and deliveries, dead ones included. At most limit
// payloads of each name and place are decoded; zero means [DefaultPayloadLimit]. Waiting payloads are taken from the
// oldest on, dead ones and events from the newest on.
//
// It changes nothing, takes no locks, and reads page by page. No handler is called. Errors are those of a declaration
// and of the database: poison is in the report. See [PayloadReport.Err].
func CheckPayloads(ctx context.Context, box *Box, limit int, of ...Payloads) (PayloadReport, error) {
	if box == nil || limit < 0 {
		return PayloadReport{}, fmt.Errorf("strunk/outbox: check payloads: the box is nil, or the limit (%d) is "+
			"negative", limit)
	}
	if limit == 0 {
		limit = DefaultPayloadLimit
	}
	decoders := make([]core.PayloadDecoder, len(of))
	var errs []error
	for i, p := range of {
		decoders[i] = core.DecoderOf(p)
		errs = append(errs, decoders[i].Err)
	}
	if err := errors.Join(errs...); err != nil {
		return PayloadReport{}, err
	}
	walk := &payloadWalk{host: core.BoxHost(box), limit: limit, report: PayloadReport{Complete: true}}
	err := walk.all(ctx, decoders)
	return walk.report, err
}
