package queue

import (
	"github.com/strunk-go/strunk/internal/core"
)

const (
	// maxOutcomes and maxOutcomeBytes bound the outcomes of one statement: a completion moves the payload to where
	// what is done is kept.
	maxOutcomes     = 1000
	maxOutcomeBytes = 8 << 20
)

// outcomeSize bounds the statements that write outcomes: it is halved when one runs out of time, and grows again.
type outcomeSize struct {
	*core.BatchLimit
}

func newOutcomeSize() outcomeSize {
	return outcomeSize{core.NewBatchLimit(maxOutcomes, maxOutcomeBytes)}
}

// first returns how many outcomes, from the first on, one statement may write: at least one. The one that reaches the
// bound of bytes is the last.
func (s outcomeSize) first(outcomes []outcome) (n int) {
	rows, bytes := s.Now()
	for n < min(rows, len(outcomes)) && bytes > 0 {
		bytes -= outcomes[n].bytes()
		n++
	}
	return n
}

// failed says how a statement with the first n outcomes has failed, and reports whether the next one will have fewer.
func (s outcomeSize) failed(err error, outcomes []outcome, n int) bool {
	for s.Failed(err) {
		if s.first(outcomes) < n {
			return true
		}
	}
	return false
}
