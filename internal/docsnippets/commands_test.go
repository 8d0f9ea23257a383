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

// installation is a database with what the documents name: the queues emails, bookings and videos, the dead letter
// 12345, the subscriber search-indexer and the schedule nightly.
func installation(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := outboxtest.New(t, outboxtest.SearchPath("public"))
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Soon)
	defer cancel()
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	emails := queue.Define[map[string]string]("emails", queue.Config{})
	type order struct{ ID string }
	orders := events.Define("order", func(o order) string { return o.ID }, events.Config{})
	handled := func(context.Context, events.Event[order]) error { cancel(); return nil }
	steps := []func() error{
		func() error { _, err := pool.Exec(ctx, "SELECT setval('strunk_outbox_id_seq', 12344)"); return err },
		func() error {
			return box.InTx(ctx, func(tx *outbox.OwnedTx) error {
				for _, to := range []string{"ann@example.com", "bob@example.com", "cy@example.com"} {
					if _, err := emails.Enqueue(ctx, tx, map[string]string{"to": to}); err != nil {
						return err
					}
				}
				_, err := orders.Publish(ctx, tx, order{"42"})
				return err
			})
		},
		func() error {
			_, err := pool.Exec(ctx, `UPDATE strunk_outbox SET status = 'dead', finished_at = now(),
				last_error = 'no such user' WHERE id = 12345`)
			return err
		},
		func() error {
			_, err := schedule.Register(ctx, box, "nightly", emails, map[string]string{"to": "all"}, "@daily")
			return err
		},
		func() error { return box.Run(ctx, orders.Subscriber("search-indexer", handled)) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return pool
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

// TestEveryCommandRuns runs each line that begins with strunk in the blocks that are fenced as sh, one after the other.
func TestEveryCommandRuns(t *testing.T) {
	t.Parallel()
	dsn := outboxtest.DSN(installation(t))
	run := map[string]bool{}
	for _, block := range blocks(t, "sh") {
		for _, line := range block.Lines {
			line, comment, _ := strings.Cut(line, " #")
			line = strings.TrimSpace(line)
			words := argument.FindAllString(line, -1)
			if len(words) == 0 || words[0] != "strunk" || run[line] {
				continue
			}
			run[line] = true
			for i, word := range words {
				words[i] = strings.Trim(word, "'")
			}
			var out bytes.Buffer
			code := cli.Run(t.Context(), append([]string{"strunk", "--database-url", dsn}, words[1:]...),
				cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
			refused := strings.Contains(comment, "without --yes") // the document says so
			fine := code == cli.ExitDone || code == cli.ExitUnhealthy
			if refused && code != cli.ExitUsage || !refused && !fine {
				t.Errorf("%s, block at line %d: %q ends with %d:\n%s", block.File, block.Line, line, code, &out)
			}
		}
	}
	if len(run) == 0 {
		t.Error("the documents hold no command at all: is the fence still ```sh?")
	}
}
