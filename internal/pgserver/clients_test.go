//go:build unix

package pgserver

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// It is not parallel: a program that another goroutine's child still holds open for writing cannot be run.
func TestClientServesTheServer(t *testing.T) {
	root := openDir(t)
	for _, version := range []string{"14.2", "16.4 (Debian 16.4-1)", "17beta1"} {
		fakeProgram(t, filepath.Join(root, version[:2]), "pg_dump", "pg_dump (PostgreSQL) "+version)
	}
	path, usual := filepath.Join(root, "16"), []string{filepath.Join(root, "*")}
	for _, row := range []struct {
		name        string
		places      places
		least, most int
		want        string
	}{
		{"the one on PATH serves older servers", places{path: path, programs: usual}, 14, 18, "16"},
		{"and those of its own version", places{path: path, programs: usual}, 16, 18, "16"},
		{"a newer server needs another", places{path: path, programs: usual}, 17, 18, "17"},
		{"the newest of the usual places", places{programs: usual}, 14, 18, "17"},
		{"that of the version alone", places{path: path, programs: usual}, 14, 14, "14"},
	} {
		got, err := client(t.Context(), row.places, "pg_dump", row.least, row.most)
		if err != nil || filepath.Base(filepath.Dir(got)) != row.want {
			t.Errorf("%s: %s, %v; want that of %s", row.name, got, err, row.want)
		}
	}
	_, err := client(t.Context(), places{path: path}, "pg_dump", 17, 18)
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "is of version 16.4") {
		t.Errorf("error of a program that is too old: %v", err)
	}
}
