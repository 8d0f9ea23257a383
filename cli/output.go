package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode"

	ucli "github.com/urfave/cli/v2"
)

// show prints doc as JSON where the user asked for it, and the table otherwise.
func (p *program) show(c *ucli.Context, doc any, t *table) error {
	if c.Bool("json") {
		return p.printJSON(doc)
	}
	_, err := io.WriteString(p.Out, t.render(p.look(c)))
	return err
}

func (p *program) printJSON(doc any) error {
	enc := json.NewEncoder(p.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// say prints a sentence for people, and doc for programs.
func (p *program) say(c *ucli.Context, doc any, format string, args ...any) error {
	if c.Bool("json") {
		return p.printJSON(doc)
	}
	_, err := fmt.Fprintf(p.Out, format+"\n", args...)
	return err
}

// printable keeps what stored text would do to a terminal away from it: control characters, and
// those that turn the writing around.
func printable(s string) string { return strings.Map(harmless, s) }

// printableLines is printable for a text of several lines.
func printableLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return harmless(r)
	}, s)
}

func harmless(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
		return ' '
	}
	return r
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0
}

// onTerminal reports whether standard output is a terminal.
func (p *program) onTerminal() bool { return p.Columns > 0 || terminal(p.Out) }

// look is how tables are written to standard output: within a terminal's columns, and coloured there.
func (p *program) look(c *ucli.Context) look {
	l := look{colours: p.colours(c), width: p.Columns}
	if f, ok := p.Out.(*os.File); ok && l.width == 0 && terminal(f) {
		l.width = columnsOf(f)
	}
	return l
}

func (p *program) colours(c *ucli.Context) bool {
	return p.onTerminal() && !c.Bool("no-color") && os.Getenv("TERM") != "dumb"
}

// logger writes what the library warns of to the error stream.
func (p *program) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(redactor{p}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type redactor struct{ p *program }

func (r redactor) Write(b []byte) (int, error) {
	_, err := io.WriteString(r.p.Err, r.p.redact(string(b)))
	return len(b), err
}
