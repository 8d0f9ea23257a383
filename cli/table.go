package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// table is rows for people. What a header ends in says what its column is, and is not printed: see column.
type table struct {
	header []string
	rows   [][]string
	fields bool // its rows are the fields of one thing, whose name the header has: see newFields
}

// newFields is a table of the fields of one thing, a row each.
func newFields(of, name string) *table { return &table{header: []string{of, name}, fields: true} }

// look is how a table is written: width is the columns of the terminal, 0 where it may be as wide as it likes.
type look struct {
	colours bool
	width   int
}

// column is what a header says of the cells below it.
type column struct {
	name     string
	right    bool // "#": a number, set to the right
	utc      bool // "@": a time; the header says that it is in UTC
	shorten  bool // "~": a text that may be cut
	wrap     bool // "&": a text that goes on in the next line; of the last column alone
	optional bool // "?": left out where the terminal is too narrow for all columns
	state    bool // a word that has a colour
	widest   int  // of its cells and its name
}

func newColumn(header string) column {
	name := strings.TrimRight(header, "#@~&?")
	marks := header[len(name):]
	c := column{name: name, right: strings.Contains(marks, "#"), utc: strings.Contains(marks, "@"),
		shorten: strings.Contains(marks, "~"), wrap: strings.Contains(marks, "&"),
		optional: strings.Contains(marks, "?"),
		state:    slices.Contains([]string{"STATUS", "STATE", "PAUSED"}, name)}
	if c.utc {
		c.name += " (UTC)"
	}
	return c
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Time:
			row[i] = stamp(c)
		case *time.Time:
			row[i] = stampOrDash(c)
		default:
			row[i] = printable(fmt.Sprint(c))
		}
	}
	t.rows = append(t.rows, row)
}

// between is what stands between two columns.
const between = "  "

func (t *table) render(l look) string {
	columns := t.columns()
	if l.width > 0 {
		fit(columns, l.width)
	}
	var b strings.Builder
	header := make([]string, len(columns))
	for i, c := range columns {
		header[i] = c.name
	}
	line := writeRow(columns, header, look{})
	if l.colours {
		line = bold + line + plain
	}
	b.WriteString(line + "\n")
	last := len(columns) - 1
	for _, row := range t.rows {
		lines := []string{row[last]}
		if columns[last].wrap {
			lines = wrapped(row[last], columns[last].widest)
		}
		for i, text := range lines {
			cells := append(make([]string, last), text)
			if i == 0 {
				copy(cells, row[:last])
			}
			b.WriteString(writeRow(columns, cells, l) + "\n")
		}
	}
	return b.String()
}

func (t *table) columns() []column {
	columns := make([]column, len(t.header))
	for i, h := range t.header {
		c := newColumn(h)
		if t.fields {
			c = column{name: printable(h), wrap: i == 1}
		}
		c.widest = width(c.name)
		for _, row := range t.rows {
			if c.utc {
				row[i] = strings.TrimSuffix(row[i], utc)
			}
			c.widest = max(c.widest, width(row[i]))
		}
		columns[i] = c
	}
	return columns
}

// Texts are cut to comfortable before columns are left out, and to shortest after that.
const comfortable, shortest = 16, 6

// fit makes columns narrower, or leaves some out (their width is 0), until they fit.
func fit(columns []column, most int) {
	shrink(columns, most, comfortable)
	for i := len(columns) - 1; i >= 0 && total(columns) > most; i-- {
		if columns[i].optional {
			columns[i].widest = 0
		}
	}
	shrink(columns, most, shortest)
	if last := &columns[len(columns)-1]; last.wrap && total(columns) > most {
		last.widest = max(comfortable, last.widest-total(columns)+most)
	}
}

// shrink cuts the widest text, a character at a time, until all fit or none is wider than least or its name.
func shrink(columns []column, most, least int) {
	for total(columns) > most {
		widest := -1
		for i, c := range columns {
			if c.shorten && c.widest > max(least, width(c.name)) && (widest < 0 || c.widest > columns[widest].widest) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		columns[widest].widest--
	}
}

func total(columns []column) (n int) {
	for _, c := range columns {
		if c.widest > 0 {
			n += c.widest + len(between)
		}
	}
	return n - len(between)
}

func writeRow(columns []column, cells []string, l look) string {
	var b strings.Builder
	space := ""
	for i, c := range columns {
		if c.widest == 0 {
			continue
		}
		cell := cut(cells[i], c.widest)
		pad := strings.Repeat(" ", c.widest-width(cell))
		if l.colours && (c.state || i == 1 && isState(cells[0])) {
			cell = paint(cell)
		}
		if c.right {
			b.WriteString(space + pad + cell)
			space = between
		} else {
			b.WriteString(space + cell)
			space = pad + between
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// wrapped breaks a text into lines, between words where that is possible.
func wrapped(text string, most int) (lines []string) {
	for width(text) > most {
		end, space := 0, 0
		for i, r := range text {
			if width(text[:i])+width(string(r)) > most {
				break
			}
			if end = i + len(string(r)); r == ' ' {
				space = i
			}
		}
		if space > 0 {
			end = space
		}
		lines = append(lines, text[:end])
		text = strings.TrimLeft(text[end:], " ")
	}
	return append(lines, text)
}

// cut shortens a text to the columns of a terminal that it may take.
func cut(s string, most int) string {
	if width(s) <= most {
		return s
	}
	for width(s) > most-1 {
		r := []rune(s)
		s = string(r[:len(r)-1])
	}
	return s + "…"
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
