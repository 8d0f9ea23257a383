package queue_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// compile builds a package of testdata/compile and returns what the compiler says, by line.
func compile(t *testing.T, name string) (map[int]string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-e", "-o", os.DevNull, "./testdata/compile/"+name)
	out, err := cmd.CombinedOutput()
	said := map[int]string{}
	for _, m := range regexp.MustCompile(`(?m)\.go:(\d+):\d+: (.*)$`).FindAllStringSubmatch(string(out), -1) {
		line, _ := strconv.Atoi(m[1])
		said[line] += m[2] + "\n"
	}
	if err != nil && len(said) == 0 {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return said, err
}

// A wrong payload, a pool or a connection where a transaction belongs, an option in the wrong
// place: the compiler refuses each, and nothing else beside them.
func TestMisuseDoesNotCompile(t *testing.T) {
	t.Parallel()
	if said, err := compile(t, "good"); err != nil {
		t.Fatalf("the control does not compile: %v", said)
	}
	said, err := compile(t, "bad")
	if err == nil {
		t.Fatal("package bad compiles")
	}
	source, err := os.ReadFile(filepath.Join("testdata", "compile", "bad", "bad.go"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := 0
	lines := strings.Split(string(source), "\n")
	for i, text := range lines {
		_, quoted, wants := strings.Cut(text, "// want ")
		got := said[i+1]
		if strings.HasPrefix(strings.TrimSpace(text), "// want ") { // of the next line
			continue
		}
		if before := strings.TrimSpace(lines[max(i-1, 0)]); strings.HasPrefix(before, "// want ") {
			_, quoted, wants = strings.Cut(before, "// want ")
		}
		if !wants {
			if got != "" {
				t.Errorf("line %d: unexpected: %s", i+1, got)
			}
			continue
		}
		wanted++
		want, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, want) {
			t.Errorf("line %d: the compiler says %q; want %q", i+1, got, want)
		}
	}
	if wanted < 10 {
		t.Errorf("%d lines are wanted to fail; the file has lost its point", wanted)
	}
}
