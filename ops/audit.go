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

// NewChange is a change that a person is about to make. Texts are cut at 1,000 characters, Actor and Action at 200.
type NewChange struct {
	// Actor says who makes it.
	Actor string
	// Action is what is done, Target what to.
	Action, Target string
	// Reason is why, where the person has said so.
	Reason string
}

// ChangeRecord is what is kept, for 90 days, of a change that a person has made by the program strunk or over HTTP.
type ChangeRecord struct {
	At time.Time `json:"at"`
	// EndedAt is nil while it is being done, and where the process was killed.
	EndedAt *time.Time `json:"ended_at,omitempty"`
	// Role is PostgreSQL's. Actor is who says to have done it: USER@HOST from the program, over HTTP the name that
	// the authoriser has returned.
	Role  string `json:"role"`
	Actor string `json:"actor"`
	// Action is the command of the program, or the operation's id in the OpenAPI document.
	Action string `json:"action"`
	// Target is what the command was given, or what the operation's path and body name.
	Target string `json:"target"`
	Reason string `json:"reason,omitempty"`
	// Changed is how many tasks, deliveries or settings were changed.
	Changed int64  `json:"changed"`
	Error   string `json:"error,omitempty"`
}

// ChangeRecordFilter chooses records of changes; the zero value chooses the newest DefaultLimit.
type ChangeRecordFilter struct {
	// Actor and Action are as they were noted; empty means any.
	Actor, Action string
	// Before is the time of the last record of the page before; zero means the newest page.
	Before time.Time
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
}

// ChangeNote notes one change: see NoteChange.
type ChangeNote struct {
	box    *outbox.Box
	id     [16]byte
	change NewChange
}

// sqlNoteChange notes change $1 of actor $2: action $3 on $4 for reason $5 begins, or has changed $6 rows with error
// $7.
const sqlNoteChange = `SELECT {schema}.strunk_note_change($1::uuid, $2::text, $3::text, $4::text, $5::text, $6::bigint,
	$7::text)`

// NoteChange notes that somebody begins to change something; the role is that of the connection. Note its end by End.
func NoteChange(ctx context.Context, box *outbox.Box, change NewChange) (*ChangeNote, error) {
	clean := func(s *string) { *s = core.CleanText(*s, core.MaxErrorBytes) }
	clean(&change.Actor)
	clean(&change.Action)
	clean(&change.Target)
	clean(&change.Reason)
	n := &ChangeNote{box: box, change: change}
	_, _ = rand.Read(n.id[:]) // never fails
	return n, n.write(ctx, nil, "")
}

// End notes how many rows were changed, and the error that ended it.
func (n *ChangeNote) End(ctx context.Context, changed int64, failure error) error {
	text := ""
	if failure != nil {
		text = core.CleanText(failure.Error(), core.MaxErrorBytes)
	}
	return n.write(ctx, &changed, text)
}

func (n *ChangeNote) write(ctx context.Context, changed *int64, failure string) error {
	if n.box == nil {
		return fmt.Errorf("strunk/ops: note change: the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(n.box)
	c := n.change
	err := core.Write(ctx, host.Pool(), core.Statement{SQL: host.SQL(sqlNoteChange),
		Args: []any{n.id, c.Actor, c.Action, c.Target, c.Reason, changed, failure}})
	return wrap("note change", err)
}

// sqlAudit reads at most $4 changes of actor $1 and of action $2 (null: any) before $3, newest first, of the newest
// $5. It locks nothing.
const sqlAudit = `SELECT a.at, a.ended_at, a.role, a.actor, a.action, a.target, a.reason, coalesce(a.changed, 0),
	a.error
FROM (SELECT * FROM {schema}.strunk_audit x WHERE x.at < coalesce($3::timestamptz, 'infinity')
	ORDER BY x.at DESC LIMIT $5::integer) a
WHERE a.actor = coalesce($1::text, a.actor) AND a.action = coalesce($2::text, a.action)
ORDER BY a.at DESC LIMIT $4::integer`

// ChangesMade returns what people have changed by the program strunk and over HTTP, newest first, of the newest 10,000
// before f.Before. Errors: [ErrInvalid].
func ChangesMade(ctx context.Context, box *outbox.Box, f ChangeRecordFilter) (all []ChangeRecord, err error) {
	n, err := limit(f.Limit)
	if err == nil {
		err = texts(f.Actor, f.Action)
	}
	if err == nil {
		var before *time.Time
		if !f.Before.IsZero() {
			before = &f.Before
		}
		err = ask(ctx, box, many(&all, sqlAudit, []any{orNull(f.Actor), orNull(f.Action), before, n, examinedAtOnce},
			scanChangeRecord))
	}
	return all, wrap("changes made", err)
}

func scanChangeRecord(rows pgx.Rows) (r ChangeRecord, err error) {
	return r, rows.Scan(&r.At, &r.EndedAt, &r.Role, &r.Actor, &r.Action, &r.Target, &r.Reason, &r.Changed, &r.Error)
}
