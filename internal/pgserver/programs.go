package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// usualPlaces are where packages put the server programs: PGDG and Debian, PGDG for Red Hat, Homebrew on both
// processors, Postgres.app, MacPorts, the BSDs and plain Linux, the Windows installer.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/lib/postgresql*/bin",
	"/usr/libexec/postgresql*",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/opt/local/lib/postgresql*/bin",
	"/usr/local/pgsql/bin",
	"/usr/local/bin",
	"/usr/bin",
	`C:\Program Files\PostgreSQL\*\bin`,
}

// probeTimeout bounds one question put to a program.
const probeTimeout = 10 * time.Second

// Programs is a directory that holds postgres and initdb, of a version that will do.
type Programs struct {
	dir     string
	version string // as the program says it: "15.18"
	major   int
}

// FindPrograms returns the installed programs that the way "installed" uses.
func FindPrograms(ctx context.Context) (Programs, error) {
	return findPrograms(ctx, Config{}, systemPlaces())
}

// ProbePrograms returns the programs of one directory; the error says why they cannot be used.
func ProbePrograms(ctx context.Context, dir string) (Programs, error) { return probe(ctx, dir) }

// Dir is the directory.
func (p Programs) Dir() string { return p.dir }

// Open starts a server; origin says where the programs came from, as in "downloaded".
func (p Programs) Open(ctx context.Context, cfg Config, origin string) (Backend, error) {
	return openCluster(ctx, cfg, p, fmt.Sprintf("%s programs in %s (PostgreSQL %s)", origin, p.dir, p.version))
}

func openInstalled(ctx context.Context, r request) (Backend, error) {
	found, err := findPrograms(ctx, r.cfg, r.places)
	if err != nil {
		return nil, err
	}
	return found.Open(ctx, r.cfg, "installed")
}

// findPrograms returns the first usable directory: that of PATH before the usual places, there the newest.
// A directory named in the configuration is the only one looked at.
func findPrograms(ctx context.Context, cfg Config, p places) (Programs, error) {
	if cfg.BinDir != "" {
		return probe(ctx, cfg.BinDir)
	}
	var reasons []error
	for _, list := range []func(context.Context, string) []string{pathDirs, configuredDirs} {
		for _, dir := range list(ctx, p.path) {
			found, err := probe(ctx, dir)
			if err == nil {
				return found, nil
			}
			reasons = append(reasons, reason(err)...)
		}
	}
	found, more := probeAll(ctx, globAll(p.programs))
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b Programs) int { return cmp.Compare(a.major, b.major) }), nil
	}
	none := fmt.Errorf("no server programs (postgres and initdb, version %d or newer) on PATH or in %s",
		MinVersion, strings.Join(p.programs, ", "))
	return Programs{}, errors.Join(append([]error{none}, append(reasons, more...)...)...)
}

func probeAll(ctx context.Context, dirs []string) (found []Programs, reasons []error) {
	for _, dir := range dirs {
		p, err := probe(ctx, dir)
		if err == nil {
			found = append(found, p)
		}
		reasons = append(reasons, reason(err)...)
	}
	return found, reasons
}

// reason leaves out that a directory has no server programs, as most have none.
func reason(err error) []error {
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return []error{err}
}

// pathDirs lists, for each directory of PATH that has a postgres, the directory behind its symbolic link and itself.
func pathDirs(_ context.Context, path string) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		if real, err := filepath.EvalSymlinks(program(dir, "postgres")); err == nil && filepath.IsAbs(dir) {
			dirs = append(dirs, filepath.Dir(real), dir)
		}
	}
	return unique(dirs)
}

// configuredDirs lists what each pg_config on PATH says.
func configuredDirs(ctx context.Context, path string) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(program(dir, "pg_config")); err != nil || !filepath.IsAbs(dir) {
			continue
		}
		if out, err := run(ctx, program(dir, "pg_config"), "--bindir"); err == nil {
			dirs = append(dirs, strings.TrimSpace(out))
		}
	}
	return unique(dirs)
}

func globAll(patterns []string) []string {
	var dirs []string
	for _, pattern := range patterns {
		matches, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		dirs = append(dirs, matches...)
	}
	return unique(dirs)
}

func unique(dirs []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(dirs, func(dir string) bool {
		known := seen[dir]
		seen[dir] = true
		return known
	})
}

// probe asks the programs in a directory for their version, as the user who will run them.
func probe(ctx context.Context, dir string) (Programs, error) {
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(program(dir, name)); err != nil {
			return Programs{}, err
		}
	}
	version, major, err := versionOf(ctx, program(dir, "postgres"))
	if err != nil {
		return Programs{}, err
	}
	if major < MinVersion {
		return Programs{}, fmt.Errorf("%s: version %s is older than %d", program(dir, "postgres"), version, MinVersion)
	}
	return Programs{dir: dir, version: version, major: major}, nil
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// versionOf asks a program for its version, as the user who will run it.
func versionOf(ctx context.Context, path string) (version string, major int, err error) {
	out, err := run(ctx, path, "--version")
	if err != nil {
		return "", 0, fmt.Errorf("%s: cannot be run%s: %w", path, asUser(), err)
	}
	match := versionPattern.FindStringSubmatch(out)
	if match == nil {
		return "", 0, fmt.Errorf("%s: does not say its version but %q", path, out)
	}
	major, err = strconv.Atoi(match[2])
	return match[1], major, err
}

func asUser() string {
	if u, err := serverUser(); err == nil && u.name != "" {
		return " as user " + u.name
	}
	return ""
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	if err := demote(cmd); err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

func program(dir, name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(dir, name)
}
