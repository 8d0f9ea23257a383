package core

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// CodeLeaseLost is what strunk_claim raises when the worker's row is expired, gone, or past the claim's number.
const CodeLeaseLost = "STR01"

// CodeLimitsChanged is what strunk_claim and strunk_claim_line raise when the queue's limits are
// not those that the worker knows.
const CodeLimitsChanged = "STR02"

// SQLState returns the SQLSTATE that err carries, from pgx or from lib/pq, or "".
func SQLState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

// IsRetryable reports whether the whole transaction may simply be run again: a serialization failure (which a row moved
// to another partition also raises) or a deadlock.
func IsRetryable(err error) bool {
	switch SQLState(err) {
	case pgerrcode.SerializationFailure, pgerrcode.DeadlockDetected, pgerrcode.LockNotAvailable:
		return true
	}
	return false
}

// IsMissingPartition reports whether a row found no partition of its range.
func IsMissingPartition(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == pgerrcode.CheckViolation && pgErr.ConstraintName == ""
}

// AnswerLost reports whether err says nothing about what the server did: the connection broke, the
// context ended, or the server was shutting down while a statement was under way. Any other error
// that the server sent is an answer.
func AnswerLost(err error) bool {
	state := SQLState(err)
	return err != nil && (state == "" || strings.HasPrefix(state, "57P0") || strings.HasPrefix(state, "08"))
}

// IsUnstorable reports whether the server refused a value, and would refuse it again: data that a
// type cannot hold (class 22), a constraint (class 23, a missing partition aside), or a limit such
// as that of an index row (class 54).
func IsUnstorable(err error) bool {
	state := SQLState(err)
	return IsDataError(err) || len(state) == 5 && (pgerrcode.IsProgramLimitExceeded(state) ||
		pgerrcode.IsIntegrityConstraintViolation(state) && !IsMissingPartition(err))
}

// IsDataError reports whether the server refused a value itself (class 22): no repetition makes it acceptable.
func IsDataError(err error) bool { return strings.HasPrefix(SQLState(err), "22") }

// IsDatabaseAway reports whether err says that no database can be asked at the moment: there is no connection to it,
// the connection broke, or the server starts, stops, has no room for a connection, or takes no changes (a standby). An
// error of the context says nothing of it.
func IsDatabaseAway(err error) bool {
	var connecting *pgconn.ConnectError
	var network *net.OpError
	switch state := SQLState(err); {
	case errors.As(err, &connecting):
		return true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return false
	case state != "":
		return strings.HasPrefix(state, "57P0") || pgerrcode.IsConnectionException(state) ||
			state == pgerrcode.TooManyConnections || state == pgerrcode.ReadOnlySQLTransaction
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}
