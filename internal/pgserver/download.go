package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloadVersion is what embedded-postgres downloads.
const downloadVersion = embeddedpostgres.V17

// openDownloaded starts a server like openInstalled, from programs that embedded-postgres has downloaded.
func openDownloaded(ctx context.Context, r request) (backend, error) {
	dir, err := downloadDir(r.places)
	if err != nil {
		return nil, err
	}
	found, err := probe(ctx, filepath.Join(dir, "bin"))
	if err != nil {
		if err := fetch(ctx, r.places, dir); err != nil {
			return nil, err
		}
		if found, err = probe(ctx, filepath.Join(dir, "bin")); err != nil {
			return nil, fmt.Errorf("the downloaded programs cannot be used: %w", err)
		}
	}
	return openCluster(ctx, r.cfg, found, fmt.Sprintf("downloaded programs in %s (PostgreSQL %s)", found.dir, found.version))
}

// downloadDir is in the user's cache directory; root's is closed to the user that the server runs as, so root has
// another.
func downloadDir(p places) (string, error) {
	cache := p.cache
	if cache == "" && runtime.GOOS != "windows" && os.Geteuid() == 0 {
		cache = "/var/cache"
	}
	if cache == "" {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a place for downloaded programs: %w", err)
		}
	}
	return filepath.Join(cache, "strunk-postgres", string(downloadVersion)), nil
}

// fetch downloads and unpacks the programs. The library does so on the way to starting a server of its own; a data
// directory that holds nothing but a version makes it stop there, and the server is ours to start, with our watchdog.
// It takes no context: when ctx ends first, the download is left to finish in the background.
func fetch(ctx context.Context, p places, dir string) error {
	scratch, err := os.MkdirTemp("", "strunk-pg-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	cfg, err := fetchConfig(p, dir, scratch)
	if err != nil {
		return err
	}
	before := downloadLogs()
	done := make(chan error, 1)
	go func() {
		err := embeddedpostgres.NewDatabase(cfg).Start()
		removeLogs(before)
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, missing := os.Stat(program(filepath.Join(dir, "bin"), "initdb")); missing != nil {
		return fmt.Errorf("download PostgreSQL %s: %w", downloadVersion, errors.Join(err, missing))
	}
	return nil
}

// downloadLogs lists the files that embedded-postgres logs to, in a place that cannot be chosen, and leaves there when it
// starts no server.
func downloadLogs() []string {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*")) // the pattern is well formed
	return logs
}

// removeLogs removes those that have come since, if nothing was logged: one with content is another process's.
func removeLogs(before []string) {
	for _, log := range downloadLogs() {
		if info, err := os.Stat(log); err == nil && info.Size() == 0 && !slices.Contains(before, log) {
			_ = os.Remove(log)
		}
	}
}

func fetchConfig(p places, dir, scratch string) (embeddedpostgres.Config, error) {
	port, err := freePort()
	if err != nil {
		return embeddedpostgres.Config{}, err
	}
	data := filepath.Join(scratch, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return embeddedpostgres.Config{}, err
	}
	major, _, _ := strings.Cut(string(downloadVersion), ".")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(major+"\n"), 0o600); err != nil {
		return embeddedpostgres.Config{}, err
	}
	cfg := embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		CachePath(filepath.Dir(dir)).
		BinariesPath(dir).
		RuntimePath(filepath.Join(scratch, "run")).
		DataPath(data).
		Port(uint32(port)).
		Logger(io.Discard)
	if p.repository != "" {
		cfg = cfg.BinaryRepositoryURL(p.repository)
	}
	return cfg, nil
}

// freePort returns a port of localhost that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
