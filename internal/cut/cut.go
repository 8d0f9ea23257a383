// Package cut interrupts a handler at one of its statements. It is built into the pools of package outboxtest, where it
// does nothing until package queuetest sends an [Attempt] through them.
package cut

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Kind is what happens at a statement.
type Kind int

const (
	// Nothing counts the statements and leaves them alone.
	Nothing Kind = iota
	// Killed is the death of the process after the statement: no later statement of the attempt reaches the server,
	// and a transaction that is open is rolled back.
	Killed
	// AnswerLost is a connection that breaks when the server has executed the statement, before the answer. The
	// process lives.
	AnswerLost
	// Frozen is a process that stands still after the statement, and goes on later as if nothing had happened.
	Frozen
)

// Attempt is one call of a handler whose statements are counted. A statement belongs to it by its context (see [With]),
// or because it is sent in a transaction that such a statement has begun. Its methods are safe for concurrent use.
type Attempt struct {
	kind   Kind
	at     int
	strike func()

	mu   sync.Mutex
	sent []string
	dead bool
}

// NewAttempt returns an attempt that is interrupted at a statement, 1 for the first. strike is called after that
// statement where the process is Killed, to end the handler's context, or Frozen: then it returns when the process is
// to go on.
func NewAttempt(kind Kind, at int, strike func()) *Attempt {
	return &Attempt{kind: kind, at: at, strike: strike}
}

// Statements returns the texts of the statements so far.
func (a *Attempt) Statements() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.sent...)
}

// Dead reports whether the process of the attempt counts as killed.
func (a *Attempt) Dead() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dead
}

type (
	attemptKey   struct{}
	statementKey struct{}
)

// statement is one that is under way.
type statement struct {
	attempt *Attempt
	number  int
}

// With returns a context whose statements are those of the attempt.
func With(ctx context.Context, a *Attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

// begin counts a statement. Its context has ended where the process is dead.
func (a *Attempt) begin(ctx context.Context, conn *pgx.Conn, sql string) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		return ended
	}
	a.sent = append(a.sent, sql)
	if w, ok := conn.PgConn().Conn().(*wire); ok && a.kind == AnswerLost && len(a.sent) == a.at {
		w.loseAnswer()
	}
	return context.WithValue(ctx, statementKey{}, statement{a, len(a.sent)})
}

// end kills or freezes the process after its statement.
func (s statement) end() {
	a := s.attempt
	if s.number != a.at || a.kind != Killed && a.kind != Frozen {
		return
	}
	a.mu.Lock()
	a.dead = a.kind == Killed
	a.mu.Unlock()
	a.strike()
}

// Tracer is the pgx tracer of a pool that knows to which attempt a statement belongs.
type Tracer struct {
	mu   sync.Mutex
	open map[*pgx.Conn]*Attempt // whose transaction is open on the connection
	*Database
}

// attempt returns the attempt that a statement belongs to; nil for none.
func (t *Tracer) attempt(ctx context.Context, conn *pgx.Conn) *Attempt {
	if a, ok := ctx.Value(attemptKey{}).(*Attempt); ok {
		return a
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[conn]
}

func (t *Tracer) begin(ctx context.Context, conn *pgx.Conn, sql string) context.Context {
	if a := t.attempt(ctx, conn); a != nil {
		return a.begin(ctx, conn, sql)
	}
	return ctx
}

func (t *Tracer) end(ctx context.Context, conn *pgx.Conn) {
	s, ok := ctx.Value(statementKey{}).(statement)
	if !ok {
		return
	}
	t.mu.Lock()
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		delete(t.open, conn)
	} else {
		t.open[conn] = s.attempt
	}
	t.mu.Unlock()
	s.end()
}

// TraceQueryStart implements pgx.QueryTracer.
func (t *Tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return t.begin(ctx, conn, data.SQL)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t *Tracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryEndData) {
	t.end(ctx, conn)
}

// TraceBatchStart implements pgx.BatchTracer. A batch counts as one statement.
func (t *Tracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	text := "a batch"
	if len(data.Batch.QueuedQueries) > 0 {
		text += ": " + data.Batch.QueuedQueries[0].SQL
	}
	return t.begin(ctx, conn, text)
}

// TraceBatchQuery implements pgx.BatchTracer.
func (t *Tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (t *Tracer) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, _ pgx.TraceBatchEndData) {
	t.end(ctx, conn)
}

// TraceCopyFromStart implements pgx.CopyFromTracer.
func (t *Tracer) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn,
	data pgx.TraceCopyFromStartData) context.Context {
	return t.begin(ctx, conn, "COPY "+data.TableName.Sanitize()+" FROM STDIN")
}

// TraceCopyFromEnd implements pgx.CopyFromTracer.
func (t *Tracer) TraceCopyFromEnd(ctx context.Context, conn *pgx.Conn, _ pgx.TraceCopyFromEndData) {
	t.end(ctx, conn)
}
