package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/ops"
)

// lookTimeout bounds one look of a command that looks again and again: a connection that was cut may never answer.
const lookTimeout = 2 * ops.QueryTimeout

// outage is since when a command that looks again and again gets no answer; the zero value is none.
type outage struct {
	since time.Time
	err   error
}

// look calls fn, and says whether the command can go on: with what fn has found, or (o is an outage) without it.
// A database that restarts or fails over comes back; any other error ends the command.
func (o *outage) look(ctx context.Context, fn func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, core.Patience*lookTimeout)
	defer cancel()
	err := fn(within)
	switch {
	case err == nil:
		*o = outage{}
	case ctx.Err() == nil && passes(err):
		if o.err = err; o.since.IsZero() {
			o.since = time.Now()
		}
		err = nil
	}
	return err
}

func (o *outage) lasts() bool { return !o.since.IsZero() }

func (o *outage) String() string {
	text := o.err.Error()
	var refused *pgconn.PgError
	if errors.As(o.err, &refused) {
		text = refused.Message
	}
	return fmt.Sprintf("the database does not answer since %s, trying again: %s",
		o.since.UTC().Format(time.TimeOnly)+utc, clip(text, 100))
}

// passes reports whether an error is one of the database being away: no answer, a server that starts or shuts down,
// one that has no connection left, or a standby that is not yet the primary.
func passes(err error) bool {
	state := core.SQLState(err)
	switch {
	case errors.Is(err, ops.ErrInvalid):
		return false
	case core.AnswerLost(err):
		return true
	}
	return strings.HasPrefix(state, "57") || strings.HasPrefix(state, "53")
}
