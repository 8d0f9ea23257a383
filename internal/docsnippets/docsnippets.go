// Package docsnippets holds the documentation to the code: what a guide shows was compiled and run, what it links to
// is there, and the errors and defaults it lists are those of the code. It has tests only, and what they share.
package docsnippets

import (
	"bufio"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Block is a fenced block of a document.
type Block struct {
	File    string
	Line    int    // of the fence
	Section string // the last heading of the second level before it
	Lines   []string
}

// Text is the block as it stands in the document, less its indentation.
func (b Block) Text() string { return strings.Join(b.Lines, "\n") }

// Documents returns the documents of the root and all below docs, relative to root.
func Documents(root string) ([]string, error) {
	docs := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		rel, err := filepath.Rel(root, path)
		docs = append(docs, rel)
		return err
	})
	return docs, err
}

// Blocks returns the blocks of a document that are fenced as the language.
func Blocks(root, file, language string) ([]Block, error) {
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, err
	}
	var blocks []Block
	var open *Block
	section := ""
	for i, line := range strings.Split(string(text), "\n") {
		fence := strings.TrimSpace(line)
		switch {
		case open == nil && strings.HasPrefix(line, "## "):
			section = strings.TrimPrefix(line, "## ")
		case open == nil && fence == "```"+language:
			open = &Block{File: file, Line: i + 1, Section: section}
		case open != nil && fence == "```":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Lines = append(open.Lines, normalize(line))
		}
	}
	return blocks, nil
}

// normalize drops what a document may change: the indentation.
func normalize(line string) string { return strings.TrimSpace(line) }

// Sources returns the normalized text of every Go file that the tests compile and run: test files, and the programs
// under examples, those of nested modules too. Files that this system's build leaves out do not count.
func Sources(root string) (map[string]string, error) {
	sources := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || !runByTests(rel) {
			return err
		}
		if built, err := build.Default.MatchFile(filepath.Dir(path), d.Name()); err != nil || !built {
			return err
		}
		sources[rel], err = read(path)
		return err
	})
	return sources, err
}

func runByTests(path string) bool {
	slashed := filepath.ToSlash(path)
	return strings.HasSuffix(slashed, "_test.go") ||
		strings.HasSuffix(slashed, ".go") && (strings.HasPrefix(slashed, "examples/") ||
			strings.Contains(slashed, "/examples/"))
}

// read returns a file's normalized lines, each with a line feed before and after it.
func read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text := strings.Builder{}
	text.WriteByte('\n')
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text.WriteString(normalize(lines.Text()) + "\n")
	}
	return text.String(), lines.Err()
}

// Find returns a file that holds the block as it is, modulo indentation, or an empty string.
func Find(sources map[string]string, b Block) string {
	text := "\n" + strings.Join(b.Lines, "\n") + "\n"
	for file, source := range sources {
		if strings.Contains(source, text) {
			return file
		}
	}
	return ""
}
