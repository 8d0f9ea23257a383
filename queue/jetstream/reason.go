package jetstream

import (
	"errors"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/queue"
)

const (
	// Bounds of what is said of a task that comes back: with the escapes of JSON it fits into
	// reasonBytes.
	maxError, maxStack = 1000, 1500
)

// errWorkerLost is the error of a task whose last attempt ended with its worker.
var errWorkerLost = errors.New("the worker was lost")

// reason is the error of an attempt, and the stack of a panic.
func reason(err error) (text, stack string) {
	if err == nil {
		return "", ""
	}
	text = core.CleanText(core.ErrorText(err), maxError)
	var p *queue.PanicError
	if errors.As(err, &p) {
		stack = core.CleanText(core.PlainStack(p.Stack), maxStack)
	}
	return text, stack
}
