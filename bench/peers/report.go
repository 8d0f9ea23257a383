package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// report collects what the rounds measured.
type report struct {
	config  config
	commit  string // that is measured
	server  *server
	peers   []peer
	missing []string // a line for each peer that is left out
	values  map[cell][]float64
	notes   map[cell]string // what must be known of a figure
	took    time.Duration
}

// cell is a place of the table.
type cell struct {
	line *line
	peer string
}

func (r *report) add(l *line, p peer, value float64) {
	at := cell{l, p.name}
	r.values[at] = append(r.values[at], value)
}

// The notes of figures.
const (
	noteCut    = "cut"        // a limit of time ended the drain
	noteSlower = "fewer came" // the library did not enqueue at the rate
)

// addNoted adds a value, and the note if it applies. One round with it is enough.
func (r *report) addNoted(l *line, p peer, value float64, note string, applies bool) {
	r.add(l, p, value)
	if applies {
		r.notes[cell{l, p.name}] = note
	}
}

// noted is a note as it follows a figure.
func (r *report) noted(l *line, p peer) string {
	if note := r.notes[cell{l, p.name}]; note != "" {
		return ", " + note
	}
	return ""
}

// figures are the values of a cell.
type figures struct{ least, median, most float64 }

func (r *report) figures(l *line, p peer) (f figures, ok bool) {
	values := slices.Sorted(slices.Values(r.values[cell{l, p.name}]))
	if len(values) == 0 {
		return f, false
	}
	return figures{least: values[0], median: median(values), most: values[len(values)-1]}, true
}

func median(sorted []float64) float64 { return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2 }

// columns are the peers that are in a table with these rows.
func (r *report) columns(rows ...row) (columns []peer) {
	for _, p := range r.peers {
		if slices.ContainsFunc(rows, func(of row) bool { return of.has(p) }) {
			columns = append(columns, p)
		}
	}
	return columns
}

// print writes the medians.
func (r *report) print(out io.Writer, rows []row) error {
	var text strings.Builder
	var last []peer
	for _, of := range rows {
		columns := r.columns(of)
		if len(columns) == 0 {
			continue
		}
		if !slices.EqualFunc(columns, last, samePeer) {
			text.WriteString("\n" + printed("", columns, func(p peer) string { return p.name }))
		}
		last = columns
		for _, l := range of.lines {
			text.WriteString(printed(l.what+", "+l.unit, columns, func(p peer) string {
				f, ok := r.figures(l, p)
				if !ok {
					return "-"
				}
				return number(f.median)
			}))
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func samePeer(a, b peer) bool { return a.name == b.name && a.kind == b.kind }

func printed(what string, columns []peer, value func(peer) string) string {
	line := fmt.Sprintf("%-86s", what)
	for _, p := range columns {
		line += fmt.Sprintf(" %15s", value(p))
	}
	return line + "\n"
}

// number drops the digits that mean nothing: three are left, and commas.
func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	text := fmt.Sprintf("%.0f", roundTo(v))
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// roundTo keeps three digits of a large number, four of those with a leading 1.
func roundTo(v float64) float64 {
	step := 1.0
	for v/step >= 2000 {
		step *= 10
	}
	return float64(int64(v/step+0.5)) * step
}
