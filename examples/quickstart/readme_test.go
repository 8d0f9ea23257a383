package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/outbox/outboxtest"
)

const (
	module = "github.com/strunk-go/strunk"
	root   = "../.."
)

// TestQuickStartFromNothing does what the README's quick start says, line by line, in an empty directory. The module
// comes from a proxy that is made of this working tree. No shell is needed, as the README promises of all tests.
func TestQuickStartFromNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := append(os.Environ(), "DATABASE_URL="+outboxtest.DSN(outboxtest.Empty(t)), "GOPROXY="+proxies(t),
		"GOFLAGS=-modcacherw", "GOSUMDB=off", "GOWORK=off", "GOTOOLCHAIN=local", asProgram+"=")
	var printed strings.Builder
	for _, step := range quickStart(t) {
		if step.file != "" {
			if err := os.WriteFile(filepath.Join(dir, step.file), []byte(step.text), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		cmd := exec.CommandContext(t.Context(), step.command[0], step.command[1:]...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		printed.Write(out)
		if err != nil {
			t.Fatalf("%q of the quick start ended with %v. Up to then it printed:\n%s", step.command, err, &printed)
		}
	}
	for _, want := range []string{"ok  \texample.com/hello", "sending welcome to user@example.com"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("the quick start printed no %q:\n%s", want, &printed)
		}
	}
}

var (
	section = regexp.MustCompile(`(?s)\n## Quick start\n(.*?)\n## `)
	fence   = regexp.MustCompile("(?s)([^\n]*)\n\n```(go|sh)\n(.*?)```")
	source  = regexp.MustCompile("`([a-z_]+\\.go)`")
)

// step is what a reader does next: write a file, or run a command.
type step struct {
	file, text string
	command    []string
}

// quickStart is what the README's quick start has its reader do, in order.
func quickStart(t *testing.T) []step {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := section.FindSubmatch(readme)
	if found == nil {
		t.Fatal("the README has no section Quick start")
	}
	var steps []step
	for _, block := range fence.FindAllStringSubmatch(string(found[1]), -1) {
		if block[2] == "sh" {
			for line := range strings.Lines(block[3]) {
				steps = append(steps, step{command: words(t, line)})
			}
			continue
		}
		name := source.FindStringSubmatch(block[1])
		if name == nil {
			t.Fatalf("the line before a block of Go names no file: %q", block[1])
		}
		steps = append(steps, step{file: name[1], text: block[3]})
	}
	return steps
}

// words splits a command of the README, which must mean without a shell what it means in one.
func words(t *testing.T, line string) []string {
	t.Helper()
	found := strings.Fields(line)
	if len(found) == 0 || strings.ContainsAny(line, "\\\"'$`|&;<>(){}*?[]~#") {
		t.Fatalf("the quick start's line %q needs a shell, which this test does without", line)
	}
	return found
}

// proxies are where modules come from: this one from the working tree, others from the module cache, or else from where
// they always do.
func proxies(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache, usual, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	downloads := filepath.Join(cache, "cache", "download")
	version := "v0.0.0-test." + strconv.FormatUint(rand.Uint64(), 36) // of this run alone
	t.Cleanup(func() {
		if err := errors.Join(os.RemoveAll(filepath.Join(cache, module+"@"+version)),
			os.RemoveAll(filepath.Join(downloads, module))); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("file://%s,file://%s,%s", moduleProxy(t, version), downloads, usual)
}

// moduleProxy makes a module proxy that has this module, in one version.
func moduleProxy(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, filepath.FromSlash(module), "@v")
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"list": version + "\n", version + ".mod": string(mod),
		version + ".info": fmt.Sprintf(`{"Version": %q, "Time": "2026-01-01T00:00:00Z"}`, version)} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := zipModule(filepath.Join(at, version+".zip"), module+"@"+version+"/"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// zipModule writes the files of the module, without those of the modules within it, and without what no program needs.
func zipModule(name, prefix string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close() // again, where all went well
	archive := zip.NewWriter(file)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		if entry.IsDir() {
			return skipped(path, entry.Name())
		}
		return addFile(archive, path, prefix)
	})
	if err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return file.Close()
}

// skipped leaves out directories that are hidden, modules of their own, or no program's.
func skipped(path, name string) error {
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	if err == nil || strings.HasPrefix(name, ".") || name == "testdata" || name == "docs" {
		return filepath.SkipDir
	}
	return nil
}

func addFile(archive *zip.Writer, path, prefix string) error {
	within, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := archive.Create(prefix + filepath.ToSlash(within))
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return err
}
