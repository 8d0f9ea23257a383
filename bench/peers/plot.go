package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// plot is a picture of bars: a group for each line, a bar for each library.
type plot struct {
	file  string
	title string
	lines []*line
	log   bool // whether the axis is logarithmic
}

// The picture's measures, in pixels.
const (
	plotWidth = 860
	plotLeft  = 150 // of the bars
	plotRight = 710
	barHeight = 16
	barStep   = 21
	groupGap  = 34
)

// Colours that are readable on white and on black. A library has the same in all pictures.
const ink = "#7d8590"

var colours = map[string]string{
	"strunk": "#2f81f7", "River": "#2da44e", "gue": "#bf8700", "graphile-worker": "#a371f7", "pg-boss": "#db61a2",
	"plain row": "#8b949e", "bare task row": "#57606a", "bare event rows": "#57606a", "watermill-sql": "#e5534b",
}

// draw makes the SVG.
func (r *report) draw(p plot, columns []peer) string {
	scale := r.newScale(p, columns)
	var body strings.Builder
	y := 44
	for _, l := range p.lines {
		fmt.Fprintf(&body, `<text x="10" y="%d" font-weight="600">%s</text>`+"\n", y,
			html.EscapeString(l.what))
		y += 10
		for _, c := range columns {
			if f, ok := r.figures(l, c); ok {
				drawBar(&body, scale, c.name, f, r.noted(l, c), y)
				y += barStep
			}
		}
		y += groupGap - 10
	}
	bottom := y - groupGap + 16
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" `+
		`font-family="system-ui, sans-serif" font-size="12" fill="%s" role="img">`+"\n", plotWidth, bottom+40,
		plotWidth, bottom+40, ink)
	fmt.Fprintf(&svg, "<title>%s</title>\n", html.EscapeString(p.title))
	fmt.Fprintf(&svg, `<text x="10" y="20" font-size="15" font-weight="600">%s</text>`+"\n",
		html.EscapeString(p.title+", "+scale.label))
	scale.drawAxis(&svg, 36, bottom)
	svg.WriteString(body.String())
	svg.WriteString("</svg>\n")
	return svg.String()
}

// drawBar draws the median, with the spread as a whisker and both in words.
func drawBar(out *strings.Builder, s scale, name string, f figures, note string, y int) {
	middle := y + barHeight/2
	end, least, most := s.x(f.median), s.x(f.least), s.x(f.most)
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotLeft-8, middle+4,
		html.EscapeString(name))
	fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", plotLeft, y,
		math.Max(end-plotLeft, 1), barHeight, colours[name])
	fmt.Fprintf(out, `<path d="M%.1f %dV%dM%.1f %dV%dM%.1f %dH%.1f" stroke="%s" stroke-width="1.5" fill="none"/>`+"\n",
		least, y+4, y+barHeight-4, most, y+4, y+barHeight-4, least, middle, most, ink)
	fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`+"\n", math.Max(end, most)+6, middle+4,
		number(f.median)+note)
}

// scale is the axis of a picture.
type scale struct {
	log         bool
	first, last float64
	ticks       []float64
	label       string
}

func (r *report) newScale(p plot, columns []peer) scale {
	least, most := math.Inf(1), 0.0
	for _, l := range p.lines {
		for _, c := range columns {
			if f, ok := r.figures(l, c); ok {
				least, most = math.Min(least, f.least), math.Max(most, f.most)
			}
		}
	}
	s := scale{log: p.log, label: p.lines[0].unit + ": median, least and most"}
	if s.log {
		s.label += ", logarithmic"
		s.logTicks(math.Max(math.Min(least, most), 0.01), math.Max(most, 0.1))
	} else {
		s.evenTicks(math.Max(most, 1e-6))
	}
	return s
}

// logTicks are the powers of ten around the values.
func (s *scale) logTicks(least, most float64) {
	s.first = math.Pow(10, math.Floor(math.Log10(least)))
	for s.last = s.first; s.last < most || s.last == s.first; s.last *= 10 {
		s.ticks = append(s.ticks, s.last)
	}
	s.ticks = append(s.ticks, s.last)
}

// evenTicks are at most seven round numbers from zero.
func (s *scale) evenTicks(most float64) {
	step := math.Pow(10, math.Floor(math.Log10(most))-1)
	for _, coarser := range []float64{1, 2, 2.5, 5, 10, 20} {
		if most/(step*coarser) <= 6 {
			step *= coarser
			break
		}
	}
	for i := 0; s.last < most; i++ {
		s.last = float64(i) * step
		s.ticks = append(s.ticks, s.last)
	}
}

// x is where a value is.
func (s scale) x(value float64) float64 {
	part := value / s.last
	if s.log {
		part = math.Log(math.Max(value, s.first)/s.first) / math.Log(s.last/s.first)
	}
	return plotLeft + part*(plotRight-plotLeft)
}

func (s scale) drawAxis(out *strings.Builder, top, bottom int) {
	for _, tick := range s.ticks {
		fmt.Fprintf(out, `<path d="M%.1f %dV%d" stroke="%s" stroke-opacity="0.35"/>`+"\n", s.x(tick), top, bottom, ink)
		fmt.Fprintf(out, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", s.x(tick), bottom+18,
			tickText(tick))
	}
}

func tickText(v float64) string {
	if v >= 100 {
		return number(v)
	}
	return fmt.Sprintf("%g", math.Round(v*1000)/1000)
}
