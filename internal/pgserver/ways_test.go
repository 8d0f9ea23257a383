//go:build unix

package pgserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nowhere is a machine without any server, and without a further way to one.
func nowhere(t *testing.T) places {
	t.Helper()
	return places{programs: []string{filepath.Join(t.TempDir(), "*")}}
}

// closedWay is a further way that leads nowhere.
func closedWay(context.Context, Config) (Backend, error) { return nil, errors.New("no ferry today") }

func TestNothingToBeHadSaysWhatWasTried(t *testing.T) {
	t.Parallel()
	without, with := nowhere(t), nowhere(t)
	with.registered = []Way{{Name: "ferry", Open: closedWay, Remedy: "build a bridge"}}
	always := []string{
		"strunk/outboxtest: no PostgreSQL server can be had", "env: DATABASE_URL is not set",
		"installed: no server programs",
		"apt install postgresql", "dnf install postgresql-server", "brew install postgresql", "set DATABASE_URL",
	}
	for _, row := range []struct {
		name, reason string
		places       places
		want         []string
	}{
		{"no further way", "it says which packages add one", without,
			[]string{without.programs[0], "outboxtest/docker"}},
		{"a further way", "it says why it failed and what to do", with,
			[]string{"ferry: no ferry today", "build a bridge"}},
	} {
		_, err := start(t.Context(), Config{}, row.places)
		if err == nil {
			t.Fatalf("%s: a server out of nothing", row.name)
		}
		for _, want := range append(row.want, always...) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q (%s):\n%v", row.name, want, row.reason, err)
			}
		}
	}
}

func TestOnlyRestrictsTheSearch(t *testing.T) {
	t.Parallel()
	p := nowhere(t)
	p.registered = []Way{{Name: "ferry", Open: closedWay}}
	_, err := start(t.Context(), Config{Only: "ferry"}, p)
	if err == nil || strings.Contains(err.Error(), "installed:") || !strings.Contains(err.Error(), "no ferry today") {
		t.Errorf("error of the one way: %v", err)
	}
	if _, err := start(t.Context(), Config{Only: "magic"}, p); err == nil || !strings.Contains(err.Error(), `"magic"`) {
		t.Errorf("error of an unknown way: %v", err)
	}
	if _, err := start(t.Context(), Config{BinDir: t.TempDir()}, withoutURL()); err == nil {
		t.Error("a server out of an empty BinDir")
	}
}

// remote is a server that this process did not start.
type remote struct{}

func (remote) DSN() string    { return "postgres:///" }
func (remote) Source() string { return "a ferry" }
func (remote) Close() error   { return nil }

func TestOnlyOurOwnServerIsStopped(t *testing.T) {
	t.Parallel()
	p := nowhere(t)
	p.registered = []Way{{Name: "ferry", Open: func(context.Context, Config) (Backend, error) { return remote{}, nil }}}
	server, err := start(t.Context(), Config{}, p)
	if err != nil || server.Source() != "a ferry" {
		t.Fatalf("a server of a registered way: %v, %v", server, err)
	}
	for what, err := range map[string]error{"stop": server.StopServer(t.Context()),
		"start": server.StartServer(t.Context())} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v; want ErrUnsupported", what, err)
		}
	}
}

// The further ways come in the order of their names, whichever package was initialized first.
func TestRegisteredWaysAreInOrder(t *testing.T) {
	before := registry
	registry = map[string]Way{}
	t.Cleanup(func() { registry = before })
	for _, name := range []string{"b", "c", "a", "b"} {
		Register(Way{Name: name, Open: closedWay})
	}
	var names []string
	for _, w := range ways(places{registered: registeredWays()}) {
		names = append(names, w.name)
	}
	if got, want := strings.Join(names, " "), "env installed a b c"; got != want {
		t.Errorf("ways: %s; want %s", got, want)
	}
}

func TestProgramsOfPathThenNewest(t *testing.T) {
	t.Parallel()
	root := openDir(t)
	for dir, version := range map[string]string{"9.6": "9.6.24", "14": "14.2", "17": "17beta1",
		"16": "16.4 (Debian 16.4-1)"} {
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
