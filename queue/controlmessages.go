package queue

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// sqlControl returns the control messages for the workers of queue $1.
const sqlControl = `SELECT paused, task_id, reason, customer_key, hold_us FROM {schema}.strunk_control($1::text)`

// controlMessages are what a look at a queue's control messages has found.
type controlMessages struct {
	looked time.Time // when the look began
	paused bool      // by a pause or a hold
	// holdEnds is when the queue's hold ends; zero without one.
	holdEnds time.Time
	// keyHolds says when the holds of customer keys end.
	keyHolds map[string]time.Time
	// requests are the tasks of the queue that are to be cancelled, with the last errors that they get.
	requests map[int64]string
}

// scan reads the messages; the times are by this process's clock.
func (m *controlMessages) scan(rows pgx.Rows) error {
	*m = controlMessages{looked: m.looked, keyHolds: map[string]time.Time{}, requests: map[int64]string{}}
	now := time.Now()
	for rows.Next() {
		var paused *bool
		var id, holdUS *int64
		var text, key *string
		if err := rows.Scan(&paused, &id, &text, &key, &holdUS); err != nil {
			return err
		}
		ends := now.Add(time.Duration(orElse(holdUS, 0)) * time.Microsecond)
		switch {
		case paused != nil:
			m.paused = *paused
			if holdUS != nil {
				m.holdEnds = ends
			}
		case key != nil:
			m.keyHolds[*key] = ends
		case id != nil && text != nil:
			m.requests[*id] = *text
		}
	}
	return rows.Err()
}

// none reports whether the look has found nothing.
func (m controlMessages) none() bool {
	return !m.paused && m.holdEnds.IsZero() && len(m.keyHolds) == 0 && len(m.requests) == 0
}
