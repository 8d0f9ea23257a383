// Package ops shows an installation of strunk and its health: as Go values, over HTTP ([Handler]), and as metrics.
//
// Everything here reads what is in the database, of all processes. What happens is counted by each
// process in memory and written now and then ([Rates]). What is few is counted at once and is exact.
// What goes over a cap is what one process of the installation has counted lately, and says how long
// ago ([Count]): a question costs the same on ten rows and on ten million. All functions are safe
// for use by several goroutines.
package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// CountCap is up to where the numbers of one queue or subscriber, and of the whole, are counted at once.
	CountCap = 1_000
	// ListCountCap is the same in lists of queues, workers and subscribers.
	ListCountCap = 100
	// DefaultLimit is how many entries a list has where Page.Limit is zero.
	DefaultLimit = 100
	// MaxLimit is how many entries a list has at most.
	MaxLimit = 1_000
	// QueryTimeout bounds one question: PostgreSQL cancels what takes longer, whatever the context allows.
	QueryTimeout = 5 * time.Second
)

// Errors that a caller may act on. They are wrapped: test them with errors.Is.
var (
	// ErrInvalid says that an argument cannot be used.
	ErrInvalid = errors.New("invalid argument")
	// ErrNotFound says that there is no such task or subscriber.
	ErrNotFound = errors.New("not found")
	// ErrUnauthenticated is what an authoriser answers where it does not know who asks.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrForbidden is what an authoriser answers where it knows who asks, and they may not.
	ErrForbidden = errors.New("forbidden")
)

// Precision says what a count is.
type Precision string

const (
	// Exact is a count of all there are now.
	Exact Precision = "exact"
	// Counted is a count of all there were when a process counted last: see Count.Age.
	Counted Precision = "counted"
	// AtLeast is where the counting stopped, and nobody has counted them all: there may be more.
	AtLeast Precision = "at_least"
	// Estimate is PostgreSQL's, of the rows of a table.
	Estimate Precision = "estimate"
)

// Duration is a time.Duration whose JSON is a number of seconds.
type Duration struct{ time.Duration }

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.Seconds()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(doc []byte) error {
	var s float64
	if err := json.Unmarshal(doc, &s); err != nil {
		return err
	}
	d.Duration = time.Duration(s * float64(time.Second))
	return nil
}

// Page chooses a part of a list that is ordered by name or id. The zero value is the first DefaultLimit entries.
type Page struct {
	// After is the last name of the page before.
	After string
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
}

func limit(n int) (int, error) {
	switch {
	case n == 0:
		return DefaultLimit, nil
	case n < 0 || n > MaxLimit:
		return 0, fmt.Errorf("a limit of %d is not from 1 to %d: %w", n, MaxLimit, ErrInvalid)
	}
	return n, nil
}

// texts checks what PostgreSQL is to compare with.
func texts(all ...string) error {
	for _, s := range all {
		if err := core.CheckText(s); err != nil {
			return fmt.Errorf("%q %w: %w", s, err, ErrInvalid)
		}
	}
	return nil
}

// wrap names the question in its error.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("strunk/ops: %s: %w", what, err)
}
