package queue

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

// questions are what the sessions of a process ask in common while their queues are quiet.
type questions struct {
	work    *gathering[workQuestion, bool]
	control *gathering[controlQuestion, bool]
}

type questionsKey struct{}

// questionsOf returns the questions of this process to a database.
func questionsOf(host core.Host) *questions {
	return host.Shared(questionsKey{}, func() any {
		return &questions{work: newGathering[workQuestion, bool](), control: newGathering[controlQuestion, bool]()}
	}).(*questions)
}

// workQuestion asks whether a queue has a task that may be claimed above the watermarks low, or a task with a customer
// key that waits above the seq backlog.
type workQuestion struct {
	queue   string
	low     []int64
	backlog int64
}

// sqlQueuesWithWork looks, without writing anything, which of queues $1 have work above watermarks $2 and seqs $3. It
// returns their places in $1.
const sqlQueuesWithWork = `SELECT place FROM {schema}.strunk_queues_with_work($1::text[], $2::bigint[], $3::bigint[])`

// lookForWork is the statement that answers questions.
func lookForWork(host core.Host, questions []workQuestion, into *[]bool) core.Statement {
	var queues []string
	var low, backlogs []int64
	for _, q := range questions {
		queues, low, backlogs = append(queues, q.queue), append(low, q.low...), append(backlogs, q.backlog)
	}
	return core.Statement{SQL: host.SQL(sqlQueuesWithWork), Args: []any{queues, low, backlogs},
		Scan: func(rows pgx.Rows) error { return scanPlaces(rows, len(questions), into) }}
}

// askForWork asks on the control connection, which is open anyway. With PollOnly nothing else finds tasks, and it must
// not wait for maintenance: it asks on one of the pool.
func askForWork(rt core.Runtime) asker[workQuestion, bool] {
	return func(ctx context.Context, questions []workQuestion) (answers []bool, err error) {
		look := lookForWork(rt, questions, &answers)
		use := rt.Control
		if rt.Settings().PollOnly {
			use = func(ctx context.Context, fn func(*pgx.Conn) error) error {
				return rt.Pool().AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return fn(conn.Conn()) })
			}
		}
		err = use(ctx, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, look.SQL, look.Args...)
			if err != nil {
				return err
			}
			return look.Scan(rows)
		})
		return answers, err
	}
}

// controlQuestion asks whether there are control messages for a queue, or limits of another version than limits.
type controlQuestion struct {
	queue  string
	limits int64
}

// sqlQueuesWithControl looks which of queues $1 have control messages, or limits of another version than $2. It returns
// their places in $1.
const sqlQueuesWithControl = `SELECT place FROM {schema}.strunk_queues_with_control($1::text[], $2::bigint[])`

// askForControl asks on the connection that handlers cannot exhaust.
func askForControl(rt core.Runtime) asker[controlQuestion, bool] {
	return func(ctx context.Context, questions []controlQuestion) (answers []bool, err error) {
		var queues []string
		var limits []int64
		for _, q := range questions {
			queues, limits = append(queues, q.queue), append(limits, q.limits)
		}
		err = rt.Control(ctx, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, rt.SQL(sqlQueuesWithControl), queues, limits)
			if err != nil {
				return err
			}
			return scanPlaces(rows, len(questions), &answers)
		})
		return answers, err
	}
}

// scanPlaces reads places, counted from 1, of n.
func scanPlaces(rows pgx.Rows, n int, into *[]bool) error {
	*into = make([]bool, n)
	var place int
	_, err := pgx.ForEachRow(rows, []any{&place}, func() error {
		(*into)[place-1] = true
		return nil
	})
	return err
}
