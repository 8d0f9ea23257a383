package queue

import (
	"fmt"
	"time"

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

// outcomesDeclaration has the outcomes of a queue published, or not, whichever way its tasks end.
func outcomesDeclaration(host core.Host, def *definition) core.Statement {
	return core.Statement{SQL: host.SQL(sqlSetOutcomes), Args: []any{def.name, def.cfg.Outcomes}}
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
