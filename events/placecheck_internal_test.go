package events

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

type quietRuntime struct{ core.Runtime }

func (quietRuntime) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// Each sign that the database may not be the one that a session continues is enough by itself, however well all else
// fits: after a crash that lost asynchronous commits the positions may be the same and the effects be gone.
func TestEachSignOfAnotherPastCounts(t *testing.T) {
	t.Parallel()
	published := time.Now()
	for _, tt := range []struct {
		name   string
		change func(p *placeCheck)
		want   error
	}{
		{"none", func(*placeCheck) {}, nil},
		{"no row", func(p *placeCheck) { p.found = false }, ErrLeaseLost},
		{"no owner", func(p *placeCheck) { p.owner = nil }, ErrLeaseLost},
		{"another owner", func(p *placeCheck) { p.owner = new(int64) }, ErrLeaseLost},
		{"another epoch", func(p *placeCheck) { p.epoch++ }, ErrRewound},
		{"a server that was restarted", func(p *placeCheck) { p.restarted = true }, errReload},
		{"a head below what was read", func(p *placeCheck) { p.head = p.readTo - 1 }, errReload},
		{"a cursor below what was stored", func(p *placeCheck) { p.cursor = p.saved - 1 }, errReload},
		{"no event where one was read", func(p *placeCheck) { p.id = nil }, errReload},
		{"another event there", func(p *placeCheck) { p.id = new(int64) }, errReload},
		{"one of another time", func(p *placeCheck) { p.lastPublished = published.Add(1) }, errReload},
		{"the last event dropped by retention", func(p *placeCheck) { p.floor, p.id = p.lastPosition, nil }, nil},
	} {
		o, id := &owner{subscriber: &subscriber{}, rt: quietRuntime{}, id: 7}, int64(41)
		life := core.Life{Soft: context.Background(), Hard: context.Background()}
		tn := newTenure(o, life, 3)
		p := newPlaceCheck(tn)
		p.found, p.owner, p.epoch, p.state = true, &o.id, 3, "running"
		p.expect(20, 15)
		p.head, p.cursor, p.floor = 30, 16, 5
		p.lastPosition, p.lastID, p.lastPublished, p.id, p.published = 20, id, published, &id, &published
		tt.change(p)
		if on := p.goesOn(); on != (tt.want == nil) || !errors.Is(context.Cause(tn.base), tt.want) {
			t.Errorf("%s: goes on %t, cause %v; want cause %v", tt.name, on, context.Cause(tn.base), tt.want)
		}
	}
}
