// Package runtest holds what the public helpers for tests, queuetest and eventstest, share.
package runtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// poll is the time between two looks at what is left.
const poll = 10 * time.Millisecond

var errEnded = errors.New("the run has ended")

// Names returns the names of bindings. Its error says which of them is none; kind is what they are called there.
func Names(kind string, bindings []outbox.Binding) ([]string, error) {
	names := make([]string, len(bindings))
	for i, b := range bindings {
		binding, err := core.BindingOf(b)
		if err != nil {
			return nil, fmt.Errorf("%s %d %w", kind, i+1, err)
		}
		_, names[i] = binding.Describe()
	}
	return names, nil
}

// Run runs the bindings until done reports true, and stops them. Its error is that of done or of the run, or says that
// the timeout has passed.
func Run(timeout time.Duration, box *outbox.Box, bindings []outbox.Binding,
	done func(ctx context.Context, host core.Host) (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- box.Run(running, bindings...) }()
	for {
		over, err := done(ctx, core.BoxHost(box))
		if err != nil || over {
			stop()
			return errors.Join(err, <-ran)
		}
		select {
		case err := <-ran:
			return errors.Join(errEnded, err)
		case <-time.After(poll):
		}
	}
}

// JSON renders a value for comparisons and errors.
func JSON(t testing.TB, v any) string {
	t.Helper()
	doc, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}
