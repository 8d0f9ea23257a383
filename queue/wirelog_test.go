package queue_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// sentStatement is a statement as it was sent.
type sentStatement struct {
	sql  string
	args []any
	trip int // the number of its message
}

// wireLog is a tracer that keeps what was sent.
type wireLog struct {
	mu         sync.Mutex
	statements []sentStatement
	trips      int   // messages, each with an answer to wait for
	connects   []int // for each connection, how many messages there were before it was opened
}

// wired returns a pool to a database of which everything that is sent is kept.
func wired(t testing.TB, dsn string) (*pgxpool.Pool, *wireLog) {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	log := &wireLog{}
	cfg.ConnConfig.Tracer, cfg.MaxConns = log, 10
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, log
}

// sent keeps the statements of one message.
func (l *wireLog) sent(statements ...sentStatement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trips++
	for _, s := range statements {
		s.trip = l.trips
		l.statements = append(l.statements, s)
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (l *wireLog) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	l.sent(sentStatement{sql: d.SQL, args: d.Args})
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (l *wireLog) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements pgx.BatchTracer.
func (l *wireLog) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	var statements []sentStatement
	for _, q := range d.Batch.QueuedQueries {
		statements = append(statements, sentStatement{sql: q.SQL, args: q.Arguments})
	}
	l.sent(statements...)
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (l *wireLog) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (l *wireLog) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceConnectStart implements pgx.ConnectTracer.
func (l *wireLog) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connects = append(l.connects, l.trips)
	return ctx
}

// TraceConnectEnd implements pgx.ConnectTracer.
func (l *wireLog) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) {}

// connectsBefore counts the connections that were opened before message n was sent.
func (l *wireLog) connectsBefore(n int) (connects int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, trips := range l.connects {
		if trips < n-1 {
			connects++
		}
	}
	return connects
}

// restart forgets what was sent.
func (l *wireLog) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statements, l.trips, l.connects = nil, 0, nil
}

// all returns what was sent, without what begins and ends transactions, and how many round trips that took.
func (l *wireLog) all() (statements []sentStatement, trips int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.statements {
		if !strings.HasPrefix(s.sql, "BEGIN") && s.sql != "COMMIT" && s.sql != "ROLLBACK" {
			statements = append(statements, s)
		}
	}
	return statements, l.trips
}

// name says in short which statement it is: the function of strunk's that it calls, or its beginning.
func (s sentStatement) name() string {
	if _, after, ok := strings.Cut(s.sql, ".strunk_"); ok {
		name, _, _ := strings.Cut(strings.Fields(after)[0], "(")
		return "strunk_" + name
	}
	words := strings.Fields(s.sql)
	return strings.Join(words[:min(2, len(words))], " ")
}

// counted says how often each statement was sent.
func counted(statements []sentStatement) map[string]int {
	n := map[string]int{}
	for _, s := range statements {
		n[s.name()]++
	}
	return n
}
