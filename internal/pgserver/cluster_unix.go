//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// clusterScript makes a directory under $1, fills it with initdb, the program $2, and removes it at the end, after the
// processes that it was told of last ("pid 0", "standby 0": none). While initdb runs, the end of the parent goes
// unseen, and is seen right after.
const clusterScript = `
umask 077
pid=0
standby=0
dir=$(mktemp -d "$1/strunk-pg-XXXXXXXX") || exit 1
echo "$dir"
while read -r command argument; do
	case $command in
	init)
		if "$2" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 </dev/null
		then echo ok; else echo failed; fi ;;
	pid) pid=$argument; echo ok ;;
	standby) standby=$argument; echo ok ;;
	esac
done
for p in $pid $standby; do
	if [ "$p" -eq 0 ]; then continue; fi
	kill -QUIT "$p" 2>/dev/null
	n=0
	while kill -0 "$p" 2>/dev/null; do
		n=$((n + 1))
		if [ "$n" -eq 200 ]; then kill -KILL "$p"; fi
		if [ "$n" -gt 220 ]; then break; fi
		sleep 0.025 2>/dev/null || sleep 1
	done
done
n=0
until rm -rf "$dir" 2>/dev/null; do
	n=$((n + 1))
	if [ "$n" -gt 100 ]; then exit 1; fi
	sleep 0.05 2>/dev/null || sleep 1
done
`

// gateScript becomes the server once it is told to, by when the watchdog knows its process id.
const gateScript = `read -r go && exec "$@" </dev/null`

// socketPort names the socket file; the directory is the server's own, so it clashes with nothing.
const socketPort = "5432"

// maxSocketDir keeps the socket's path within the 104 bytes of the BSDs and macOS (Linux has 108).
const maxSocketDir = 104 - 1 - len("/.s.PGSQL.") - len(socketPort)

// dirSuffix is how much the watchdog's mktemp adds to the directory it is given.
const dirSuffix = len("/strunk-pg-XXXXXXXX")

// stopTimeout bounds an immediate shutdown before the process is killed.
const stopTimeout = 5 * time.Second

// cluster is a server of our own, reached by a Unix socket in its directory.
type cluster struct {
	programs Programs
	cfg      Config
	words    string
	watchdog *Watchdog
	dir      string

	mu      sync.Mutex // held while starting and stopping
	server  *exec.Cmd
	gone    chan struct{} // closed when server has ended
	standby *process      // nil while there is none
	env     []string      // further environment of the server
}

func openCluster(ctx context.Context, cfg Config, found Programs, words string) (Backend, error) {
	root, err := clusterRoot(cfg)
	if err != nil {
		return nil, err
	}
	dog, err := startWatchdog(demote, clusterScript, root, program(found.dir, "initdb"))
	if err != nil {
		return nil, err
	}
	c := &cluster{programs: found, cfg: cfg, words: words, watchdog: dog}
	if err := c.create(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// clusterRoot returns a directory for temporary files that the server's user can write to and whose path is short
// enough: Config.Dir when it is set; else TMPDIR when it is set, else memory unless the server is to be durable, else
// the system's.
func clusterRoot(cfg Config) (string, error) {
	candidates := []string{os.TempDir(), "/tmp", "/var/tmp"}
	if cfg.Dir != "" {
		candidates = []string{cfg.Dir}
	} else if memory := memoryRoot(); memory != "" && !cfg.Durable && os.Getenv("TMPDIR") == "" {
		candidates = append([]string{memory}, candidates...)
	}
	for _, dir := range candidates {
		if filepath.IsAbs(dir) && len(dir)+dirSuffix <= maxSocketDir && !strings.ContainsAny(dir, "\",\n") &&
			usable(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no directory for temporary files with a short path that the server can write to%s: set "+
		"TMPDIR",
		asUser())
}

func usable(dir string) bool {
	cmd := exec.Command("/bin/sh", "-c", `test -d "$1" && test -w "$1" && test -x "$1"`, "sh", dir)
	return demote(cmd) == nil && cmd.Run() == nil
}

func (c *cluster) create(ctx context.Context) error {
	dir, err := c.watchdog.ask("")
	if err != nil {
		return fmt.Errorf("make a directory for the server: %w", err)
	}
	c.dir = dir
	answer, err := c.watchdog.ask("init")
	if err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	if answer != "ok" {
		return fmt.Errorf("initdb failed: %s", tail(filepath.Join(c.dir, "initdb.log")))
	}
	return c.start(ctx)
}

func (c *cluster) DSN() string {
	return "postgres://postgres@/postgres?host=" + urlEscape(c.dir) + "&port=" + socketPort + "&sslmode=disable"
}

func (c *cluster) Source() string { return c.words }

func (c *cluster) start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return failed("start the server: it is running")
	}
	if err := c.launch(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	if err := waitReady(ctx, c.DSN(), c.gone); err != nil {
		log := tail(filepath.Join(c.dir, "log"))
		return errors.Join(fmt.Errorf("start the server: %w: %s", err, log), c.halt(context.WithoutCancel(ctx)))
	}
	return nil
}

// launch starts the server's process behind its gate and opens the gate when the watchdog knows of it.
func (c *cluster) launch() error {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-c", gateScript, "strunk-gate", program(c.programs.dir, "postgres"), "-D",
		filepath.Join(c.dir, "data")}
	cmd := exec.Command("/bin/sh", append(args, c.settings()...)...)
	if err := demote(cmd); err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, c.env...)
	cmd.Stdout, cmd.Stderr = log, log
	gone, err := c.guarded(cmd, "pid")
	if gone != nil {
		c.server, c.gone = cmd, gone
	}
	return err
}

func (c *cluster) settings() []string {
	return SettingArgs(c.cfg, map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": `"` + c.dir + `"`,
		"port":                    socketPort,
	})
}

func (c *cluster) stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return failed("stop the server: it is not running")
	}
	return c.halt(ctx)
}

// halt ends the server's process. The caller holds c.mu.
func (c *cluster) halt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	_ = c.server.Process.Signal(syscall.SIGQUIT) // fails when it has ended
	select {
	case <-c.gone:
	case <-ctx.Done():
		_ = c.server.Process.Kill()
		<-c.gone
	}
	c.server = nil
	_, err := c.watchdog.ask("pid 0")
	return err
}

// Close leaves the server's end to the watchdog, as a killed parent does; one that has crashed is not its business.
func (c *cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil && closed(c.gone) {
		_, _ = c.watchdog.ask("pid 0")
	}
	if err := c.watchdog.End(); err != nil {
		return failed("remove the server in %s: %w", c.dir, err)
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
