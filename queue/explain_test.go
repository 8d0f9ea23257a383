package queue_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// planNode is a node of a plan as EXPLAIN (FORMAT JSON) prints it.
type planNode struct {
	Type      string     `json:"Node Type"`
	Index     string     `json:"Index Name"`
	Relation  string     `json:"Relation Name"`
	Direction string     `json:"Scan Direction"`
	Cond      string     `json:"Index Cond"`
	Removed   float64    `json:"Rows Removed by Filter"`
	Rows      float64    `json:"Actual Rows"`
	Loops     float64    `json:"Actual Loops"`
	Hit       int        `json:"Shared Hit Blocks"`
	Read      int        `json:"Shared Read Blocks"`
	WALWrites int        `json:"WAL Records"` // about one for each row version and each index entry
	WALImages int        `json:"WAL FPI"`
	WALBytes  int        `json:"WAL Bytes"`
	Plans     []planNode `json:"Plans"`
}

// plan is a statement that was executed, inside a function or not, and how.
type plan struct {
	Query string   `json:"Query Text"`
	Root  planNode `json:"Plan"`
}

func (n *planNode) walk(visit func(*planNode)) {
	visit(n)
	for i := range n.Plans {
		n.Plans[i].walk(visit)
	}
}

// isClaim tells the statement within strunk_claim that claims.
func (p *plan) isClaim() bool {
	return strings.Contains(p.Query, "FOR UPDATE SKIP LOCKED") && strings.Contains(p.Query, "unnest(v_watermarks)")
}

// isLook tells the statement within strunk_queues_with_work that looks for something to claim.
func (p *plan) isLook() bool { return strings.Contains(p.Query, "unnest(p_watermarks[") }

// plans collects the plans of what connections execute.
type plans struct {
	mu   sync.Mutex
	seen []plan
}

func (p *plans) take() []plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

func (p *plans) notice(_ *pgconn.PgConn, n *pgconn.Notice) {
	_, doc, ok := strings.Cut(n.Message, "plan:\n")
	if !ok {
		return
	}
	var one plan
	if json.Unmarshal([]byte(doc), &one) == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen = append(p.seen, one)
	}
}

// explained is a pool to the same database whose connections report the plan of every statement, those inside functions
// included. auto_explain comes with PostgreSQL; only a superuser may load it.
func explained(t testing.TB, dsn string) (*pgxpool.Pool, *plans) {
	t.Helper()
	collected := &plans{}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 10
	cfg.ConnConfig.OnNotice = collected.notice
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range []string{
			`LOAD 'auto_explain'`, `SET auto_explain.log_min_duration = 0`,
			`SET auto_explain.log_nested_statements = on`, `SET auto_explain.log_analyze = on`,
			`SET auto_explain.log_timing = off`, `SET auto_explain.log_buffers = on`,
			`SET auto_explain.log_format = json`, `SET auto_explain.log_level = notice`,
		} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
	p, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := p.Ping(t.Context()); err != nil {
		t.Skipf("plans inside functions cannot be read on this server (auto_explain, as a superuser): %v", err)
	}
	return p, collected
}
