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

// table is rows for people. Columns whose header ends in "#" (not printed) are numbers, set to the right.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// show prints doc as JSON where the user asked for it, and the table otherwise.
func (p *program) show(c *ucli.Context, doc any, t *table) error {
	if c.Bool("json") {
		return p.printJSON(doc)
	}
	_, err := io.WriteString(p.Out, t.render(p.colours(c)))
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

const (
	bold  = "\x1b[1m"
	plain = "\x1b[0m"
)

func (t *table) render(colours bool) string {
	widths := make([]int, len(t.header))
	right := make([]bool, len(t.header))
	header := make([]string, len(t.header))
	for i, h := range t.header {
		header[i], right[i] = strings.TrimSuffix(h, "#"), strings.HasSuffix(h, "#")
		widths[i] = width(header[i])
	}
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], width(printable(cell)))
		}
	}
	var b strings.Builder
	line := func(cells []string) string {
		var l strings.Builder
		for i, cell := range cells {
			cell = printable(cell)
			pad := strings.Repeat(" ", widths[i]-width(cell))
			if right[i] {
				cell, pad = pad+cell, ""
			}
			l.WriteString(cell + pad + "  ")
		}
		return strings.TrimRight(l.String(), " ")
	}
	if colours {
		b.WriteString(bold + line(header) + plain + "\n")
	} else {
		b.WriteString(line(header) + "\n")
	}
	for _, row := range t.rows {
		b.WriteString(line(row) + "\n")
	}
	return b.String()
}

// width is how many columns of a terminal a text takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf): // written onto the one before
		case unicode.In(r, wide):
			n += 2
		default:
			n++
		}
	}
	return n
}

// wide are the runes that take two columns: the blocks that Unicode's UAX #11 calls wide or full width.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0x4dbf, 1}, {0x4e00, 0xa4cf, 1},
		{0xa960, 0xa97c, 1},
		{0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff01, 0xff60, 1}, {0xffe0, 0xffe6, 1}},
	R32: []unicode.Range32{{0x16fe0, 0x18aff, 1}, {0x1b000, 0x1b2ff, 1}, {0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1},
		{0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
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

func (p *program) colours(c *ucli.Context) bool {
	return terminal(p.Out) && !c.Bool("no-color") && os.Getenv("TERM") != "dumb"
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
