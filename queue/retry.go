package queue

import (
	"math"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how long a failed task waits.
type RetryPolicy interface {
	// Delay returns the wait after the attempt (1 is the first) failed with err. Zero or less means
	// at once. It is called from several goroutines.
	Delay(attempt int, err error) time.Duration
}

// RetryFunc makes a function a RetryPolicy.
type RetryFunc func(attempt int, err error) time.Duration

// Delay implements RetryPolicy.
func (f RetryFunc) Delay(attempt int, err error) time.Duration { return f(attempt, err) }

// Backoff doubles the wait with each attempt, with jitter so that tasks which failed together do not return together.
type Backoff struct {
	// First is the wait after the first attempt.
	First time.Duration
	// Max bounds the wait before jitter.
	Max time.Duration
	// Jitter is the part, 0 to 1, by which a wait is made longer or shorter at random.
	Jitter float64
}

// DefaultBackoff is 1 s doubling to 1 h, with 20 % jitter.
var DefaultBackoff = Backoff{First: time.Second, Max: time.Hour, Jitter: 0.2}

// Delay implements RetryPolicy.
func (b Backoff) Delay(attempt int, _ error) time.Duration {
	wait := float64(b.First) * math.Pow(2, float64(max(attempt, 1)-1))
	if b.Max > 0 {
		wait = min(wait, float64(b.Max))
	}
	wait *= 1 + b.Jitter*(2*rand.Float64()-1)
	return time.Duration(min(max(wait, 0), float64(maxDuration)))
}
