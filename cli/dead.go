package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// deadChunk bounds the dead letters of one step of long work, between two looks at the signals and the progress bar.
const deadChunk = 500

func deadFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "error", Usage: "only those whose last error contains this text"},
		&ucli.DurationFlag{Name: "older-than", Usage: "only those that died longer ago than this, such as 24h"},
		&ucli.DurationFlag{Name: "younger-than", Usage: "only those that died since then"},
	}
}

func deadFilter(c *ucli.Context) (outbox.DeadFilter, error) {
	name, err := oneArg(c, "QUEUE")
	filter := outbox.DeadFilter{Queue: name, Error: c.String("error"), OlderThan: c.Duration("older-than"),
		YoungerThan: c.Duration("younger-than")}
	if err == nil && (filter.OlderThan < 0 || filter.YoungerThan < 0) {
		err = usagef("%s: --older-than and --younger-than must not be negative", c.Command.Name)
	}
	return filter, err
}

// deadLetter is a dead letter as --json prints it.
type deadLetter struct {
	ID          int64           `json:"id"`
	Queue       string          `json:"queue"`
	Attempts    int             `json:"attempts"`
	MaxAttempts int             `json:"max_attempts"`
	CreatedAt   time.Time       `json:"created_at"`
	DiedAt      time.Time       `json:"died_at"`
	Error       string          `json:"error"`
	Payload     json.RawMessage `json:"payload,omitempty"`
}

func (p *program) deadLetters() *ucli.Command {
	return &ucli.Command{
		Name: "dead-letters", Usage: "list a queue's dead letters", ArgsUsage: "QUEUE",
		Flags: append(deadFlags(),
			&ucli.IntFlag{Name: "limit", Value: queue.DefaultDeadLimit, Usage: "how many at the most"},
			&ucli.Int64Flag{Name: "after", Usage: "only ids above this one: to page on"},
			payloadFlag()),
		Before: needs("QUEUE"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			filter, err := deadFilter(c)
			if err != nil {
				return err
			}
			filter.Limit, filter.After = c.Int("limit"), c.Int64("after")
			letters, err := queue.DeadLetters(ctx, box, filter)
			if err != nil {
				return err
			}
			if len(letters) == 0 {
				err = p.noteUnused(ctx, box, filter.Queue)
			}
			return errors.Join(err, p.showDead(c, letters))
		}),
	}
}

func (p *program) showDead(c *ucli.Context, letters []queue.DeadLetter) error {
	docs := make([]deadLetter, 0, len(letters))
	t := &table{header: []string{"ID#", "ATTEMPTS#", "DIED", "ERROR"}}
	if c.Bool("payload") {
		t.header = append(t.header, "PAYLOAD")
	}
	for _, l := range letters {
		d := deadLetter{ID: l.ID, Queue: l.Queue, Attempts: l.Attempt, MaxAttempts: l.MaxAttempts,
			CreatedAt: l.CreatedAt.UTC(),
			DiedAt:    l.FinishedAt.UTC(), Error: l.LastError}
		row := []any{l.ID, fmt.Sprintf("%d/%d", l.Attempt, l.MaxAttempts), stamp(l.FinishedAt), clip(l.LastError, 80)}
		if c.Bool("payload") {
			d.Payload = l.Raw
			row = append(row, clip(string(l.Raw), 120))
		}
		docs = append(docs, d)
		t.add(row...)
	}
	if len(docs) == 0 && !c.Bool("json") {
		return p.say(c, docs, "no dead letters")
	}
	return p.show(c, docs, t)
}

func (p *program) retry() *ucli.Command {
	return &ucli.Command{
		Name: "retry", Usage: "give dead letters all their attempts again", ArgsUsage: "ID…",
		Before: needIDs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			ids, err := idArgs(c)
			if err != nil {
				return err
			}
			n, err := retryDead(ctx, box, ids)
			if err != nil {
				return err
			}
			if n == 0 && len(ids) == 1 {
				return fmt.Errorf("%d is no dead letter; `strunk show %d` says what it is", ids[0], ids[0])
			}
			if n < len(ids) {
				return fmt.Errorf("%d of %d were retried: the others are no dead letters (see `strunk show ID`)", n,
					len(ids))
			}
			return p.say(c, map[string]any{"retried": n, "ids": ids}, "retried %s", plural(n, "dead letter"))
		}),
	}
}

// retryDead retries dead tasks, and dead copies of events for their subscribers.
func retryDead(ctx context.Context, box *outbox.Box, ids []int64) (int, error) {
	done, err := queue.RetryDead(ctx, box, outbox.DeadFilter{IDs: ids})
	for _, id := range ids {
		if err != nil || done == len(ids) {
			break
		}
		t, lookErr := ops.Task(ctx, box, id)
		if lookErr != nil || t.Kind != ops.KindDelivery || t.Status != queue.StatusDead {
			continue
		}
		var n int64
		n, err = events.RetryDead(ctx, box, t.Subscriber, id)
		done += int(n)
	}
	return done, err
}

func (p *program) retryAll() *ucli.Command {
	return &ucli.Command{
		Name: "retry-all", Usage: "give all dead letters of a queue all their attempts again", ArgsUsage: "QUEUE",
		Description: "Works in transactions of at most " + strconv.Itoa(deadChunk) +
			". Interrupted, it keeps what it did, and the next call does the rest.\n" +
			"One that dies again meanwhile is not retried twice.",
		Flags:  deadFlags(),
		Before: needs("QUEUE"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			filter, err := deadFilter(c)
			if err != nil {
				return err
			}
			n, err := p.eachDead(ctx, c, box, "retrying", filter, queue.RetryDead)
			if err == nil && n == 0 {
				err = p.noteUnused(ctx, box, filter.Queue)
			}
			return p.sayCount(c, "retried", n, err)
		}),
	}
}

func (p *program) purge() *ucli.Command {
	return &ucli.Command{
		Name: "purge", Usage: "delete a queue's dead letters for good", ArgsUsage: "QUEUE",
		Flags:  append(deadFlags(), yesFlag()),
		Before: needs("QUEUE"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			filter, err := deadFilter(c)
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				n, err := countDead(ctx, box, filter)
				if err != nil {
					return err
				}
				if n == 0 {
					return errors.Join(p.noteUnused(ctx, box, filter.Queue),
						p.say(c, map[string]any{"purged": 0}, "no dead letters to purge"))
				}
				return usagef("purge would delete %s of %q for good: %v", plural(n, "dead letter"), filter.Queue,
					errNeedYes)
			}
			n, err := p.eachDead(ctx, c, box, "purging", filter, queue.PurgeDead)
			return p.sayCount(c, "purged", n, err)
		}),
	}
}

// errInterrupted ends long work between two transactions.
var errInterrupted = errors.New("interrupted")

// sayCount says how far long work has come, also where an error ended it.
func (p *program) sayCount(c *ucli.Context, what string, n int, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s, then: %w; call it again for the rest", what, plural(n, "dead letter"), err)
	}
	return p.say(c, map[string]any{what: n}, "%s %s", what, plural(n, "dead letter"))
}

// eachDead works on the dead letters that were there at the beginning, a chunk at a time. The first
// signal lets the chunk that runs end, so that what was done is known; a second one ends the
// process.
func (p *program) eachDead(ctx context.Context, c *ucli.Context, box *outbox.Box, what string, filter outbox.DeadFilter,
	step func(context.Context, *outbox.Box, outbox.DeadFilter) (int, error)) (done int, err error) {
	ids, err := deadIDs(ctx, box, filter)
	if err != nil {
		return 0, err
	}
	bar := p.bar(c, what, len(ids))
	defer bar.end()
	for chunk := range slices.Chunk(ids, deadChunk) {
		if ctx.Err() != nil {
			return done, errInterrupted
		}
		// After and Limit let the chunk be found without a walk through all that are dead.
		n, err := step(context.WithoutCancel(ctx), box, outbox.DeadFilter{IDs: chunk, After: chunk[0] - 1,
			Limit: len(chunk)})
		done += n
		bar.add(len(chunk))
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// sqlDeadOf chooses dead letters of queue $1: with text $2 in their error, dead for longer than $3
// microseconds, and for less than $4; empty and zero mean any. It locks nothing.
const sqlDeadOf = ` FROM {schema}.strunk_outbox_dead
WHERE kind = 'task' AND key = $1::text AND ($2::text = '' OR pg_catalog.strpos(last_error, $2::text) > 0)
	AND ($3::bigint = 0 OR finished_at < pg_catalog.now() - $3::bigint * interval '1 microsecond')
	AND ($4::bigint = 0 OR finished_at > pg_catalog.now() - $4::bigint * interval '1 microsecond')`

func deadArgs(f outbox.DeadFilter) []any {
	return []any{f.Queue, f.Error, f.OlderThan.Microseconds(), f.YoungerThan.Microseconds()}
}

// deadIDs lists the ids that a filter chooses. Eight bytes a dead letter are all that is kept.
func deadIDs(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) ([]int64, error) {
	rows, err := box.Pool().Query(ctx, expand(box, "SELECT id"+sqlDeadOf+" ORDER BY id"), deadArgs(filter)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func countDead(ctx context.Context, box *outbox.Box, filter outbox.DeadFilter) (n int, err error) {
	err = box.Pool().QueryRow(ctx, expand(box, "SELECT count(*)"+sqlDeadOf), deadArgs(filter)...).Scan(&n)
	return n, err
}

func idArgs(c *ucli.Context) ([]int64, error) {
	if !c.Args().Present() {
		return nil, usagef("%s: which? give one id or more", c.Command.Name)
	}
	ids := make([]int64, 0, c.NArg())
	for _, arg := range c.Args().Slice() {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, usagef("%s: %q is not an id", c.Command.Name, arg)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func idArg(c *ucli.Context) (int64, error) {
	ids, err := idArgs(c)
	if err == nil && len(ids) > 1 {
		err = usagef("%s: give one id, not %d", c.Command.Name, len(ids))
	}
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// needs refuses all but one argument, before the database is asked.
func needs(what string) ucli.BeforeFunc {
	return func(c *ucli.Context) error {
		_, err := oneArg(c, what)
		return err
	}
}

func needIDs(c *ucli.Context) error {
	_, err := idArgs(c)
	return err
}

func needID(c *ucli.Context) error {
	_, err := idArg(c)
	return err
}

// oneArg returns the command's one argument.
func oneArg(c *ucli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", usagef("%s: give one %s, not %d arguments", c.Command.Name, what, c.NArg())
	}
	if c.Args().First() == "" {
		return "", usagef("%s: the %s is empty", c.Command.Name, what)
	}
	return c.Args().First(), nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func clip(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func payloadFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "payload", Usage: "show payloads (and metadata), which are hidden otherwise"}
}

func yesFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "yes", Usage: "do it; without this flag the command says what it would do"}
}
