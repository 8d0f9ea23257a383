package docsnippets_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/internal/docsnippets"
)

const root = "../.."

func documents(t *testing.T) []string {
	t.Helper()
	docs, err := docsnippets.Documents(root)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestEveryGoBlockIsCompiledAndRun(t *testing.T) {
	t.Parallel()
	sources, err := docsnippets.Sources(root)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, doc := range documents(t) {
		blocks, err := docsnippets.Blocks(root, doc, "go")
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks {
			if docsnippets.Find(sources, block) == "" {
				t.Errorf("%s:%d: no _test.go file and no program under examples holds this block, lines in one "+
					"piece:\n\t%s",
					block.File, block.Line, strings.ReplaceAll(block.Text(), "\n", "\n\t"))
			}
			found++
		}
	}
	if found == 0 {
		t.Error("the documents hold no block of Go at all: is the fence still ```go?")
	}
}

func TestFindTellsBlocksApart(t *testing.T) {
	t.Parallel()
	sources := map[string]string{"a_test.go": "\na := 1\nif a > 0 {\nb()\n}\n"}
	for _, c := range []struct {
		name, reason string
		lines        []string
		found        bool
	}{
		{"whole", "it is there in one piece", []string{"a := 1", "if a > 0 {", "b()", "}"}, true},
		{"part", "a part is verbatim too", []string{"b()"}, true},
		{"changed", "one character differs", []string{"a := 2"}, false},
		{"gap", "a line was left out", []string{"a := 1", "b()"}, false},
		{"prefix", "a part of a line is not a line", []string{"a :="}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := docsnippets.Find(sources, docsnippets.Block{Lines: c.lines}) != ""; got != c.found {
				t.Errorf("found: %v, want %v: %s", got, c.found, c.reason)
			}
		})
	}
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code     = regexp.MustCompile("(?s)```.*?```|`[^`]*`")
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unlinked = regexp.MustCompile("[^a-z0-9 _-]")
)

// anchor is the fragment by which GitHub reaches a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(unlinked.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func TestLinksBetweenDocumentsLead(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(text(t, doc), ""), -1) {
			target := match[1]
			if strings.Contains(target, "://") {
				continue
			}
			checkLink(t, doc, target)
		}
	}
}

func checkLink(t *testing.T, doc, target string) {
	t.Helper()
	path, fragment, _ := strings.Cut(target, "#")
	file := doc
	if path != "" {
		file = filepath.Join(filepath.Dir(doc), path)
	}
	if _, err := os.Stat(filepath.Join(root, file)); err != nil {
		t.Errorf("%s links to %s: %v", doc, target, err)
		return
	}
	if fragment == "" {
		return
	}
	for _, h := range heading.FindAllStringSubmatch(text(t, file), -1) {
		if anchor(h[1]) == fragment {
			return
		}
	}
	t.Errorf("%s links to %s: there is no such heading", doc, target)
}

func TestIndexListsEveryGuide(t *testing.T) {
	t.Parallel()
	index := text(t, "docs/README.md")
	for _, doc := range documents(t) {
		name := filepath.Base(doc)
		if filepath.Dir(doc) == "docs" && name != "README.md" && !strings.Contains(index, "("+name+")") {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
}

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
