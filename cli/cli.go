// Package cli is the program strunk: all that an operator does to an outbox from a shell. Its main
// package is cli/strunk; [Run] embeds it in a program of one's own.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// Exit codes of the program.
const (
	// ExitDone says that the command did what it was asked to.
	ExitDone = 0
	// ExitFailed says that it could not, or not all of it.
	ExitFailed = 1
	// ExitUsage says that it was called wrongly; nothing was done.
	ExitUsage = 2
	// ExitUnhealthy says that health, doctor or migrate --check found something.
	ExitUnhealthy = 3
)

// Streams are what a command reads and writes. Colours, progress bars and aligned screens need a
// terminal: files that are none get plain text.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Columns makes Out a terminal of that width though it is no file, such as a session of SSH; zero has Out asked.
	Columns int
}

// Main runs the program with the process's arguments and streams and returns its exit code. SIGINT and SIGTERM end it
// gracefully, a second one at once.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()
	return Run(ctx, os.Args, Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

// Run runs one command: args as os.Args has them, the program's name first. It returns an exit
// code. Flags may stand before and after a command's arguments, and global flags anywhere. Run may be called from
// several goroutines at once.
func Run(ctx context.Context, args []string, streams Streams) (code int) {
	p := &program{Streams: streams}
	defer func() {
		if r := recover(); r != nil {
			code = p.fail(fmt.Errorf("strunk: internal: panic: %v\n%s", r, debug.Stack()))
		}
	}()
	app := p.app()
	if words, ok := toComplete(args); ok {
		return p.fail(p.complete(app, words))
	}
	args, err := reorder(app, args)
	if err == nil {
		withHelp(app, args)
		err = app.RunContext(ctx, args)
	}
	return p.fail(err)
}

// program is one run of strunk.
type program struct {
	Streams
	secrets []string // must not be printed
	role    string   // of the connection
	changed int64    // rows that the command has changed
}

// exitError is an error with an exit code of its own. An empty text prints nothing: the command has said it all.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Sprintf(format, args...)}
}

// fail prints err, if there is one, and returns the exit code that it stands for.
func (p *program) fail(err error) int {
	if err == nil {
		return ExitDone
	}
	if text := p.redact(err.Error()); text != "" {
		fmt.Fprintln(p.Err, "strunk:", printableLines(trimPrefix(text)))
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege {
		fmt.Fprintf(p.Err, "strunk: the role %q lacks the right to do this; `strunk grants` prints SQL for roles that "+
			"have it\n", p.role)
	}
	return exitCode(err)
}

// calledWrongly are the errors of the library that blame an argument.
var calledWrongly = []error{queue.ErrInvalid, events.ErrInvalid, ops.ErrInvalid, schedule.ErrInvalid}

func exitCode(err error) int {
	var exit *exitError
	var bounds *events.RangeError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &bounds):
		return ExitUsage
	}
	for _, wrong := range calledWrongly {
		if errors.Is(err, wrong) {
			return ExitUsage
		}
	}
	return ExitFailed
}

func (p *program) app() *ucli.App {
	app := &ucli.App{
		Name:                   "strunk",
		Usage:                  "operate a strunk outbox in PostgreSQL",
		UsageText:              "strunk [--database-url URL] [--schema NAME] COMMAND [flags] [arguments]",
		Version:                core.LibraryVersion(),
		Flags:                  globalFlags(),
		Commands:               p.commands(),
		Reader:                 p.In,
		Writer:                 p.Out,
		ErrWriter:              p.Err,
		Suggest:                true,
		UseShortOptionHandling: false,
		ExitErrHandler:         func(*ucli.Context, error) {},
		OnUsageError:           usageError,
		Before:                 checkSchemaName,
		Action:                 noCommand,
		Description: "Exit codes: 0 done, 1 failed, 2 called wrongly, 3 unhealthy.\n" +
			"--json prints one JSON document for programs instead of a table for people.",
	}
	for _, c := range app.Commands {
		finish(c)
	}
	return app
}

// finish gives a command and its subcommands what all share.
func finish(c *ucli.Command) {
	c.OnUsageError = usageError
	for _, sub := range c.Subcommands {
		finish(sub)
	}
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = noCommand
	}
}

// checkSchemaName refuses a --schema that PostgreSQL or strunk would.
func checkSchemaName(c *ucli.Context) error {
	if _, err := outbox.Grants(outbox.GrantsConfig{Schema: c.String("schema")}); err != nil {
		return usagef("--schema: %v", err)
	}
	return nil
}

func usageError(c *ucli.Context, err error, _ bool) error {
	return usagef("%v%s; see `%s --help`", err, spanHint(c.Command.Flags, err.Error()), c.Command.HelpName)
}

// spanHint says how a span of time is written, where a flag for one could not be read: Go's own error does not.
func spanHint(flags []ucli.Flag, text string) string {
	_, rest, _ := strings.Cut(text, "for flag ")
	name, _, bad := strings.Cut(rest, ": parse error")
	if _, span := flagNamed(flags, name).(*ucli.DurationFlag); bad && span {
		return " (write a span of time as 90s, 15m or 24h)"
	}
	return ""
}

func noCommand(c *ucli.Context) error {
	commands, help := c.App.Commands, "strunk --help"
	if len(c.Command.Subcommands) > 0 && c.Command.Name != c.App.Name {
		commands, help = c.Command.Subcommands, "strunk "+c.Command.Name+" --help"
	}
	if c.Args().Present() {
		return usagef("there is no command %q%s; see `%s`", c.Args().First(), meant(commands, c.Args().First()), help)
	}
	if err := ucli.ShowSubcommandHelp(c); err != nil {
		return err
	}
	return &exitError{ExitUsage, ""}
}

// meant asks whether another command was meant: one that begins as the word does or the other way
// round, or differs from it by one slip of the finger.
func meant(commands []*ucli.Command, word string) string {
	for _, c := range commands {
		if strings.HasPrefix(c.Name, word) || strings.HasPrefix(word, c.Name) || oneSlip(c.Name, word) {
			return fmt.Sprintf(" (did you mean %q?)", c.Name)
		}
	}
	return ""
}

// oneSlip reports whether a and b differ by one letter more, one less, another one, or two neighbours that are swapped.
func oneSlip(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	swapped := len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
	return swapped || len(a) <= 1 && len(b) <= 1
}
