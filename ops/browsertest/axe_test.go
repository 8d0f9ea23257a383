package browsertest

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"testing"
)

// axe-core finds what keeps people out: https://github.com/dequelabs/axe-core, MPL 2.0 (testdata/axe).
//
//go:embed testdata/axe/axe.min.js
var axeScript string

// axeSum is the SHA-256 of package/axe.min.js in the npm package axe-core 4.14.1.
const axeSum = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"

// violation is a rule that a view breaks, with the elements that do.
type violation struct {
	ID, Help string
	Nodes    []struct {
		HTML, FailureSummary string
	}
}

// The rules that a theme and a width change; all others hold in each or in none.
const (
	allRules   = `{}`
	shownRules = `{runOnly: ['color-contrast', 'target-size', 'scrollable-region-focusable', 'link-in-text-block']}`
)

// checkAxe runs all rules of axe-core, or those that options choose.
func (tb *tab) checkAxe(what, options string) {
	tb.t.Helper()
	for _, v := range ask[[]violation](tb, axeScript+`;
axe.run(`+options+`).then((r) => r.violations.map((v) => ({ID: v.id, Help: v.help,
	Nodes: v.nodes.map((n) => ({HTML: n.html, FailureSummary: n.failureSummary}))})))`) {
		for _, n := range v.Nodes {
			tb.t.Errorf("%s: %s (%s): %s\n%s", what, v.ID, v.Help, shortened(n.HTML), n.FailureSummary)
		}
	}
}

func TestAxeIsTheOneOfNPM(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(axeScript))); got != axeSum {
		t.Errorf("testdata/axe/axe.min.js has the SHA-256 %s; want %s", got, axeSum)
	}
}
