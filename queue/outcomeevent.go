package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// Outcome is how a task has ended, as it is published for a queue with [Config].Outcomes: a state
// event of that type, whose entity is the task's id. It commits with what ends the task, once for
// each time that it ends: a dead letter that is retried ends again, and its outcomes have rising
// versions. The payload of the task is no part of it.
type Outcome struct {
	// ID is the task's id.
	ID int64 `json:"id"`
	// Queue is the name that the task was enqueued under.
	Queue  string        `json:"queue"`
	Status OutcomeStatus `json:"status"`
	// Attempts is how many attempts were spent.
	Attempts int `json:"attempts"`
	// Error is the last error, or why the task was cancelled or discarded; empty where it is done.
	Error   string    `json:"error"`
	EndedAt time.Time `json:"ended_at"`
}

// OutcomeStatus is how a task has ended.
type OutcomeStatus string

// How tasks end.
const (
	OutcomeDone      OutcomeStatus = "done"
	OutcomeDead      OutcomeStatus = "dead"
	OutcomeCancelled OutcomeStatus = "cancelled"
	OutcomeDiscarded OutcomeStatus = "discarded"
)

// EntityID is the id of the entity whose state the outcome is: for events.Define.
func (o Outcome) EntityID() string { return fmt.Sprint(o.ID) }

// sqlSetOutcomes says that the outcomes of queue $1 are published as type $2; null: not at all.
const sqlSetOutcomes = `SELECT {schema}.strunk_set_outcomes($1::text, nullif($2::text, ''))`

// declareOutcomes has the outcomes of a queue published, or not, whichever way its tasks end.
func declareOutcomes(ctx context.Context, rt core.Runtime, def *definition) error {
	err := rt.Control(ctx, func(conn *pgx.Conn) error {
		return core.RetryConflicts(ctx, func() error {
			return core.OneMessage(ctx, conn, core.Statement{SQL: rt.SQL(sqlSetOutcomes),
				Args: []any{def.name, def.cfg.Outcomes}})
		})
	})
	if err != nil {
		return fmt.Errorf("strunk/queue: declaring the outcomes of queue %q: %w", def.name, err)
	}
	return nil
}

func checkOutcomes(entityType string) error {
	if entityType == "" {
		return nil
	}
	if err := core.CheckName(entityType); err != nil {
		return fmt.Errorf("Outcomes %w", err)
	}
	return nil
}
