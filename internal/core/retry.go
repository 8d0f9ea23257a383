package core

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// PlainTx is what every transaction of our own is, whatever the server's defaults.
var PlainTx = pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}

// conflictRetries bounds the attempts on 40001 and 40P01: a row that a person moved between partitions fails whole
// statements under READ COMMITTED, and passes the next time.
const conflictRetries = 10

// RetryConflicts runs fn until it succeeds, fails for another reason than a conflict, or ctx ends.
func RetryConflicts(ctx context.Context, fn func() error) error {
	pause := time.Millisecond
	for attempt := 1; ; attempt++ {
		err := fn()
		if err == nil || !IsRetryable(err) || attempt == conflictRetries || ctx.Err() != nil {
			return err
		}
		Sleep(ctx, pause+rand.N(pause))
		pause *= 2
	}
}

// Sleep waits for d or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) { SleepOrWake(ctx, d, nil) }

// SleepOrWake waits for d, for a signal, or until ctx ends.
func SleepOrWake(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}
