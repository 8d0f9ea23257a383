package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
)

// tail prints tasks and events as they come.
func (p *program) tail() *ucli.Command {
	return &ucli.Command{
		Name: "tail", Usage: "print tasks as they are enqueued and end, and events as they are published; Ctrl-C " +
			"ends it",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "queue", Usage: "tasks of this queue only, and no events"},
			&ucli.StringFlag{Name: "entity", Usage: "events of this entity type only, and no tasks"},
			&ucli.DurationFlag{Name: "every", Value: time.Second, Usage: "how often it looks"},
			&ucli.DurationFlag{Name: "for", Usage: "how long; 0 is until Ctrl-C"},
			payloadFlag(),
		},
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			if c.String("queue") != "" && c.String("entity") != "" {
				return usagef("tail: give --queue or --entity, not both")
			}
			if c.Duration("every") < 100*time.Millisecond {
				return usagef("tail: --every: %v is less than 100ms", c.Duration("every"))
			}
			if d := c.Duration("for"); d > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			return quietEnd(ctx, p.runTail(ctx, c, box))
		}),
	}
}

// sighting is one line of tail.
type sighting struct {
	At      time.Time       `json:"at"`
	ID      int64           `json:"id"`
	Kind    string          `json:"kind"`
	Status  string          `json:"status"`
	Key     string          `json:"key"`
	Entity  string          `json:"entity_id,omitempty"`
	Error   string          `json:"error,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// maxTail bounds the lines of one look: what goes by faster than a person reads is left out, and said to be.
const maxTail = 200

// sqlTail lists what has changed since $1: rows enqueued (by id, above $2), done and dead since.
// Each part is bounded and read by an index of its own. It locks nothing.
const sqlTail = `
(SELECT created_at AS at, id, kind, status, key, coalesce(entity_id, ''), '' AS error, payload
FROM {schema}.strunk_outbox_tasks
	WHERE id > $2 AND ($3 = '' OR key = $3) AND $4 = '' ORDER BY id LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), '', payload
FROM {schema}.strunk_outbox_delivered_tasks
	WHERE finished_at > $1 AND ($3 = '' OR key = $3) AND $4 = '' AND id > $6 ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), coalesce(last_error, ''), payload
FROM {schema}.strunk_outbox_dead
	WHERE finished_at > $1 AND ($3 = '' OR (kind = 'task' AND key = $3)) AND ($4 = '' OR (kind = 'delivery'
	AND key = $4)) ORDER BY finished_at DESC LIMIT $5)
UNION ALL
(SELECT finished_at, id, kind, status, key, coalesce(entity_id, ''), '', payload
FROM {schema}.strunk_outbox_delivered_events
	WHERE position > $7 AND $3 = '' AND ($4 = '' OR key = $4) ORDER BY position LIMIT $5)`

func (p *program) runTail(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	var since time.Time
	var lastID, head int64
	start := expand(box, `SELECT clock_timestamp(), (SELECT last_value FROM {schema}.strunk_outbox_id_seq),
	(SELECT head FROM {schema}.strunk_feed ORDER BY slot DESC LIMIT 1)`)
	if err := box.Pool().QueryRow(ctx, start).Scan(&since, &lastID, &head); err != nil {
		return err
	}
	ticker := time.NewTicker(c.Duration("every"))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		var now time.Time
		var newest, newHead int64
		if err := box.Pool().QueryRow(ctx, start).Scan(&now, &newest, &newHead); err != nil {
			return err
		}
		rows, err := box.Pool().Query(ctx, expand(box, sqlTail), since, lastID, c.String("queue"),
			c.String("entity"), maxTail, lastID-tailBack, head)
		if err != nil {
			return err
		}
		seen, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sighting])
		if err != nil {
			return err
		}
		slices.SortFunc(seen, func(a, b sighting) int { return a.At.Compare(b.At) })
		if err := p.printSightings(c, seen); err != nil {
			return err
		}
		since, lastID, head = now, newest, newHead
	}
}

// tailBack is how many ids before the first a task may have whose delivery is shown: it keeps the
// look at the delivered rows on a short stretch of their index of ids.
const tailBack = 20_000

func (p *program) printSightings(c *ucli.Context, seen []sighting) error {
	for _, s := range seen {
		if !c.Bool("payload") {
			s.Payload = nil
		}
		if c.Bool("json") {
			doc, err := json.Marshal(s)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.Out, "%s\n", doc)
			continue
		}
		line := fmt.Sprintf("%s  %-9s  %-8s  %d  %s", s.At.UTC().Format("15:04:05.000"), s.Status, s.Kind, s.ID, s.Key)
		for _, more := range []string{s.Entity, clip(s.Error, 100), clip(string(s.Payload), 200)} {
			if more != "" {
				line += "  " + more
			}
		}
		if _, err := fmt.Fprintln(p.Out, printable(line)); err != nil {
			return err
		}
	}
	if len(seen) >= maxTail {
		fmt.Fprintln(p.Err, "strunk: more went by than is shown; choose a queue or an entity type")
	}
	return nil
}
