package docsnippets_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/docsnippets"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// blocks returns the blocks of a language in all documents.
func blocks(t *testing.T, language string) (all []docsnippets.Block) {
	t.Helper()
	for _, doc := range documents(t) {
		found, err := docsnippets.Blocks(root, doc, language)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// installation is a database with what the documents name: the queue emails with the dead letter 12345 and the tasks
// behind it, the subscriber search-indexer and the schedule nightly.
func installation(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := outboxtest.New(t, outboxtest.SearchPath("public"))
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Soon)
	defer cancel()
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	handled := func(context.Context, events.Event[order]) error { cancel(); return nil }
	for _, step := range []func() error{
		func() error { _, err := pool.Exec(ctx, "SELECT setval('strunk_outbox_id_seq', 12344)"); return err },
		func() error { return box.InTx(ctx, func(tx *outbox.OwnedTx) error { return fill(ctx, tx) }) },
		func() error { _, err := pool.Exec(ctx, sqlDie); return err },
		func() error {
			_, err := schedule.Register(ctx, box, "nightly", emails, mail{"to": "all"}, "@daily")
			return err
		},
		func() error { return box.Run(ctx, orders.Subscriber("search-indexer", handled)) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

type (
	mail  map[string]string
	order struct{ ID string }
)

var (
	emails = queue.Define[mail]("emails", queue.Config{})
	orders = events.Define("order", func(o order) string { return o.ID }, events.Config{})
)

const sqlDie = `UPDATE strunk_outbox SET status = 'dead', finished_at = now(), last_error = 'no such user'
WHERE id = 12345`

func fill(ctx context.Context, tx *outbox.OwnedTx) error {
	mails := []mail{{"to": "ann@example.com"}, {"to": "bob@example.com"}, {"to": "cy@example.com"}}
	if _, err := emails.EnqueueBatch(ctx, tx, mails); err != nil {
		return err
	}
	_, err := orders.Publish(ctx, tx, order{"42"})
	return err
}

// TestEverySQLBlockRuns runs each block that is fenced as sql in a transaction that is rolled back. Those of
// migrating.md, which need other libraries' tables, have a test of their own.
func TestEverySQLBlockRuns(t *testing.T) {
	t.Parallel()
	pool := installation(t)
	run := 0
	for _, block := range blocks(t, "sql") {
		if block.File == migrating {
			continue
		}
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), block.Text()); err != nil {
				return err
			}
			run++
			return errRollBack
		})
		if err != errRollBack {
			t.Errorf("%s:%d: %v", block.File, block.Line, err)
		}
	}
	if run == 0 {
		t.Error("the documents hold no block of SQL at all: is the fence still ```sql?")
	}
}

var errRollBack = fmt.Errorf("roll back")

// argument is a word of a command line, or words in single quotes.
var argument = regexp.MustCompile(`'[^']*'|\S+`)

// command is a line of a block that begins with strunk.
type command struct {
	block docsnippets.Block
	line  string
	words []string
	// refused says that the comment behind it says "without --yes".
	refused bool
}

// commands returns each command of the blocks that are fenced as sh, once.
func commands(t *testing.T) (all []command) {
	t.Helper()
	seen := map[string]bool{}
	for _, block := range blocks(t, "sh") {
		for _, line := range block.Lines {
			line, comment, _ := strings.Cut(line, " #")
			line = strings.TrimSpace(line)
			words := argument.FindAllString(line, -1)
			if len(words) == 0 || words[0] != "strunk" || seen[line] {
				continue
			}
			seen[line] = true
			for i, word := range words {
				words[i] = strings.Trim(word, "'")
			}
			all = append(all, command{block, line, words, strings.Contains(comment, "without --yes")})
		}
	}
	return all
}

// TestEveryCommandRuns runs the commands one after the other. One that runs until it is stopped fails.
func TestEveryCommandRuns(t *testing.T) {
	t.Parallel()
	dsn, all := outboxtest.DSN(installation(t)), commands(t)
	if len(all) == 0 {
		t.Error("the documents hold no command at all: is the fence still ```sh?")
	}
	for _, c := range all {
		c.run(t, dsn)
	}
}

func (c command) run(t *testing.T, dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Soon)
	defer cancel()
	var out bytes.Buffer
	code := cli.Run(ctx, append([]string{"strunk", "--database-url", dsn}, c.words[1:]...),
		cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
	fine := code == cli.ExitDone || code == cli.ExitUnhealthy
	if c.refused && code != cli.ExitUsage || !c.refused && !fine {
		t.Errorf("%s, block at line %d: %q ends with %d:\n%s", c.block.File, c.block.Line, c.line, code, &out)
	}
}
