package core

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// growAfter is how many batches in a row must succeed before a limit that was halved is doubled again.
const growAfter = 8

// BatchLimit bounds what one statement reads or moves, in rows and in bytes. It is halved when a
// batch runs out of time, down to a single row, and grows again when batches succeed. It is safe
// for use by several goroutines.
type BatchLimit struct {
	maxRows  int
	maxBytes int64

	mu        sync.Mutex
	halvings  int
	succeeded int // in a row, since the last change
}

// NewBatchLimit returns a limit that is never above rows and bytes.
func NewBatchLimit(rows int, bytes int64) *BatchLimit {
	return &BatchLimit{maxRows: rows, maxBytes: bytes}
}

// Now returns the limit of the next batch: at least one row.
func (l *BatchLimit) Now() (rows int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.maxRows>>l.halvings, 1), max(l.maxBytes>>l.halvings, 1)
}

// Succeeded says that a batch within the limit has gone through.
func (l *BatchLimit) Succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.succeeded++; l.succeeded >= growAfter && l.halvings > 0 {
		l.halvings, l.succeeded = l.halvings-1, 0
	}
}

// Failed says how a batch has failed, and reports whether the limit was halved for it: the batch ran out of time.
func (l *BatchLimit) Failed(err error) (halved bool) {
	if !RanOutOfTime(err) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.succeeded = 0
	if l.maxRows>>l.halvings <= 1 {
		return false
	}
	l.halvings++
	return true
}

// RanOutOfTime reports whether a statement was given up because it took too long, by the client or by the server.
func RanOutOfTime(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) || SQLState(err) == pgerrcode.QueryCanceled
}

// ReadLimit is the BatchLimit of reads that the server cuts off by bytes. Where rows are large it asks for few of them,
// for the server looks at, and may lock, as many as are asked for. It belongs to one goroutine.
type ReadLimit struct {
	batch         *BatchLimit
	rows, maxRows int
}

// NewReadLimit returns a limit that is never above rows and bytes.
func NewReadLimit(rows int, bytes int64) *ReadLimit {
	return &ReadLimit{batch: NewBatchLimit(rows, bytes), rows: rows, maxRows: rows}
}

// Now returns the limit of a read that is to bring up to limit rows.
func (l *ReadLimit) Now(limit int) (rows int, bytes int64) {
	rows, bytes = l.batch.Now()
	return min(rows, l.rows, limit), bytes
}

// Succeeded says that a read has brought so many rows; cut says that its bytes cut it off.
func (l *ReadLimit) Succeeded(rows int, cut bool) {
	l.batch.Succeeded()
	if cut {
		l.rows = rows
	}
	l.rows = min(2*max(l.rows, 1), l.maxRows)
}

// Failed says how a read has failed. Where it ran out of time the limit was halved, and Failed returns the new one.
func (l *ReadLimit) Failed(err error) (rows int, bytes int64, halved bool) {
	halved = l.batch.Failed(err)
	rows, bytes = l.batch.Now()
	return rows, bytes, halved
}
