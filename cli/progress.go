package cli

import (
	"fmt"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"
)

// bar shows how far long work has come, on the error stream and only on a terminal.
type bar struct {
	p           *program
	what        string
	done, total int
	shown       bool
	last        time.Time
}

const (
	barWidth = 30
	barPause = 100 * time.Millisecond
)

func (p *program) bar(c *ucli.Context, what string, total int) *bar {
	return &bar{p: p, what: what, total: total, shown: terminal(p.Err) && !c.Bool("json")}
}

func (b *bar) add(n int) {
	b.done += n
	if now := time.Now(); b.shown && (now.Sub(b.last) >= barPause || b.done == b.total) {
		b.last = now
		fmt.Fprintf(b.p.Err, "\r%s", b.line())
	}
}

func (b *bar) line() string {
	part := 1.0
	if b.total > 0 {
		part = float64(b.done) / float64(b.total)
	}
	full := int(part * barWidth)
	return fmt.Sprintf("%s [%s%s] %d/%d %3.0f%%", b.what, strings.Repeat("#", full),
		strings.Repeat(".", barWidth-full), b.done, b.total, 100*part)
}

func (b *bar) end() {
	if b.shown && b.done > 0 {
		fmt.Fprintln(b.p.Err)
	}
}
