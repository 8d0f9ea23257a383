//go:build unix

package pgserver

import (
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nowhere is a machine without any server.
func nowhere(t *testing.T) places {
	t.Helper()
	closed := httptest.NewServer(nil)
	closed.Close()
	return places{
		programs:       []string{filepath.Join(t.TempDir(), "*")},
		dockerEndpoint: "unix://" + filepath.Join(t.TempDir(), "docker.sock"),
		repository:     closed.URL,
		cache:          t.TempDir(),
	}
}

func TestNothingToBeHadSaysWhatWasTried(t *testing.T) {
	t.Parallel()
	p := nowhere(t)
	_, err := start(t.Context(), Config{}, p)
	if err == nil {
		t.Fatal("a server out of nothing")
	}
	for _, want := range []string{
		"strunk/outboxtest: no PostgreSQL server can be had",
		"env: DATABASE_URL is not set",
		"installed: no server programs", p.programs[0],
		"docker: no Docker daemon answers at " + p.dockerEndpoint,
		"download: ", p.repository,
		"apt install postgresql", "dnf install postgresql-server", "brew install postgresql",
		"start Docker", "set DATABASE_URL",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestOnlyRestrictsTheSearch(t *testing.T) {
	t.Parallel()
	_, err := start(t.Context(), Config{Only: "docker"}, nowhere(t))
	if err == nil || strings.Contains(err.Error(), "installed:") {
		t.Errorf("error of the one way: %v", err)
	}
	if _, err := start(t.Context(), Config{Only: "magic"}, nowhere(t)); err == nil || !strings.Contains(err.Error(), `"magic"`) {
		t.Errorf("error of an unknown way: %v", err)
	}
	if _, err := start(t.Context(), Config{BinDir: t.TempDir()}, withoutURL()); !errors.Is(err, os.ErrNotExist) && err == nil {
		t.Error("a server out of an empty BinDir")
	}
}

func TestSilentDockerDaemonIsGivenUpSoon(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := nowhere(t)
	p.dockerEndpoint = "tcp://" + silent.Addr().String()
	began := time.Now()
	_, err = start(t.Context(), Config{Only: "docker"}, p)
	if took := time.Since(began); err == nil || took > pingTimeout+3*time.Second {
		t.Errorf("a daemon that does not answer: %v after %v", err, took)
	}
}

func TestProgramsOfPathThenNewest(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	for dir, version := range map[string]string{"9.6": "9.6.24", "14": "14.2", "17": "17beta1", "16": "16.4 (Debian 16.4-1)"} {
		fakePrograms(t, filepath.Join(root, dir), "postgres (PostgreSQL) "+version)
	}
	fakePrograms(t, filepath.Join(root, "broken"), "hello")
	link := filepath.Join(root, "link")
	if err := os.Mkdir(link, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "14", "postgres"), filepath.Join(link, "postgres")); err != nil {
		t.Fatal(err)
	}
	fakeProgram(t, filepath.Join(root, "config"), "pg_config", filepath.Join(root, "16"))
	all := []string{filepath.Join(root, "*")}
	for _, row := range []struct {
		name   string
		places places
		want   string
	}{
		{"newest of the usual places", places{programs: all}, "17"},
		{"PATH goes before a newer one", places{path: filepath.Join(root, "16"), programs: all}, "16"},
		{"a link on PATH is followed", places{path: link, programs: all}, "14"},
		{"pg_config on PATH", places{path: filepath.Join(root, "config"), programs: all}, "16"},
		{"too old on PATH", places{path: filepath.Join(root, "9.6"), programs: all}, "17"},
		{"unusable on PATH", places{path: filepath.Join(root, "broken"), programs: all}, "17"},
	} {
		got, err := findPrograms(t.Context(), Config{}, row.places)
		if err != nil || filepath.Base(got.dir) != row.want {
			t.Errorf("%s: %s, %v; want %s", row.name, got.dir, err, row.want)
		}
	}
	_, err := findPrograms(t.Context(), Config{}, places{path: filepath.Join(root, "9.6")})
	if err == nil || !strings.Contains(err.Error(), "9.6.24 is older than 14") {
		t.Errorf("error of an old version: %v", err)
	}
}

func fakePrograms(t *testing.T, dir, says string) {
	t.Helper()
	fakeProgram(t, dir, "postgres", says)
	fakeProgram(t, dir, "initdb", says)
}

func fakeProgram(t *testing.T, dir, name, says string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+says+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}
