package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// baseSettings suit many small databases used at once; the rest is PostgreSQL's default.
var baseSettings = map[string]string{
	"max_connections":           "300",
	"max_prepared_transactions": "10",
	"autovacuum":                "on",
	"timezone":                  "UTC",
	"log_timezone":              "UTC",
	"shared_preload_libraries":  "",
}

// fastSettings give up what only a crash of the machine asks for. synchronous_commit stays on: without fsync it costs
// next to nothing, and StopServer must not lose what was committed. Shared memory is kept among the server's files, so
// that it goes with them even after a crash.
var fastSettings = map[string]string{
	"fsync":                      "off",
	"full_page_writes":           "off",
	"dynamic_shared_memory_type": "mmap",
}

// SettingArgs returns a server's settings as its arguments: those that say where it listens win, then Config.Settings.
func SettingArgs(cfg Config, listen map[string]string) []string {
	all := maps.Clone(baseSettings)
	if !cfg.Durable {
		maps.Copy(all, fastSettings)
	}
	maps.Copy(all, cfg.Settings)
	maps.Copy(all, listen)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}

// readyTimeout bounds the wait for a server's first answer, readyPoll is the pause between two questions, and
// attemptTimeout bounds one.
const (
	readyTimeout   = time.Minute
	readyPoll      = 10 * time.Millisecond
	attemptTimeout = 5 * time.Second
)

// WaitReady returns when the server answers, or with an error after a minute.
func WaitReady(ctx context.Context, dsn string) error { return waitReady(ctx, dsn, nil) }

// waitReady returns when the server answers, or with an error when it has gone.
func waitReady(ctx context.Context, dsn string, gone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := answers(ctx, dsn)
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(readyPoll):
		}
	}
}

func answers(ctx context.Context, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// FreePort returns a port of localhost that was free a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func urlEscape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// tailBytes is how much of a log goes into an error.
const tailBytes = 2000

func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
	}
	return strings.TrimSpace(string(text))
}
