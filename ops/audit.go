package ops

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// ChangeRecord is what is kept, for 90 days, of a change that a person has made by the program strunk.
type ChangeRecord struct {
	At time.Time `json:"at"`
	// EndedAt is nil while it is being done, and where the program was killed.
	EndedAt *time.Time `json:"ended_at,omitempty"`
	// Role is PostgreSQL's, Actor who says to have done it: USER@HOST.
	Role   string `json:"role"`
	Actor  string `json:"actor"`
	Action string `json:"action"`
	// Target is what the command was given.
	Target string `json:"target"`
	// Changed is how many tasks, deliveries or settings were changed.
	Changed int64  `json:"changed"`
	Error   string `json:"error,omitempty"`
}

// ChangeNote notes one change: see NoteChange.
type ChangeNote struct {
	box                   *outbox.Box
	id                    [16]byte
	actor, action, target string
}

// sqlNoteChange notes change $1 of actor $2: action $3 on $4 begins, or has changed $5 rows with error $6.
const sqlNoteChange = `SELECT {schema}.strunk_note_change($1::uuid, $2::text, $3::text, $4::text, $5::bigint, $6::text)`

// NoteChange notes that an actor begins to change something: action and target say what, the role is that of the
// connection. Note its end by End.
func NoteChange(ctx context.Context, box *outbox.Box, actor, action, target string) (*ChangeNote, error) {
	n := &ChangeNote{box: box, actor: actor, action: action, target: target}
	_, _ = rand.Read(n.id[:]) // never fails
	return n, n.write(ctx, nil, "")
}

// End notes how many rows were changed, and the error that ended it.
func (n *ChangeNote) End(ctx context.Context, changed int64, failure error) error {
	text := ""
	if failure != nil {
		text = failure.Error()
	}
	return n.write(ctx, &changed, text)
}

func (n *ChangeNote) write(ctx context.Context, changed *int64, failure string) error {
	if n.box == nil {
		return fmt.Errorf("strunk/ops: note change: the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(n.box)
	err := core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sqlNoteChange),
		Args: []any{n.id, n.actor, n.action, n.target, changed, failure}})
	return wrap("note change", err)
}

// sqlAudit reads at most $1 changes, newest first. It locks nothing.
const sqlAudit = `SELECT a.at, a.ended_at, a.role, a.actor, a.action, a.target, coalesce(a.changed, 0), a.error
FROM {schema}.strunk_audit a ORDER BY a.at DESC LIMIT $1::integer`

// ChangesMade returns what people have changed by the program strunk, newest first: at most most, up to MaxLimit;
// zero means DefaultLimit. Errors: [ErrInvalid].
func ChangesMade(ctx context.Context, box *outbox.Box, most int) (all []ChangeRecord, err error) {
	n, err := limit(most)
	if err == nil {
		err = ask(ctx, box, many(&all, sqlAudit, []any{n}, func(rows pgx.Rows) (r ChangeRecord, err error) {
			return r, rows.Scan(&r.At, &r.EndedAt, &r.Role, &r.Actor, &r.Action, &r.Target, &r.Changed, &r.Error)
		}))
	}
	return all, wrap("changes made", err)
}
