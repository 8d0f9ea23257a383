//go:build unix

package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
)

// TestContainer runs against a stand-in for Docker's API whose only container is a server of our own: it shows what we
// ask of a daemon, not what a daemon does.
func TestContainer(t *testing.T) {
	t.Parallel()
	daemon := &fakeDocker{port: publish(t), removed: make(chan struct{})}
	api := httptest.NewServer(daemon)
	defer api.Close()
	server, err := openAt(t.Context(), api.URL, pgserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	daemon.check(t)
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	endpoint := "unix://" + t.TempDir() + "/docker.sock"
	_, err := openAt(t.Context(), endpoint, pgserver.Config{})
	if err == nil || !strings.Contains(err.Error(), "no Docker daemon answers at "+endpoint) {
		t.Errorf("error without a daemon: %v", err)
	}
}

func TestSilentDaemonIsGivenUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	given := make(chan error, 1)
	go func() {
		_, err := openAt(t.Context(), "tcp://"+silent.Addr().String(), pgserver.Config{})
		given <- err
	}()
	select {
	case err := <-given:
		if err == nil {
			t.Error("a daemon that does not answer is no error")
		}
	case <-time.After(testkit.Soon):
		t.Error("a daemon that does not answer is waited for")
	}
}

// publish forwards a port of localhost to the socket of a server of our own, as Docker does, until the test ends.
func publish(t *testing.T) (port int) {
	t.Helper()
	server, err := pgserver.Start(context.Background(), pgserver.Config{Only: "installed"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg, err := pgx.ParseConfig(server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go forward(client, network, address)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func forward(client net.Conn, network, address string) {
	defer client.Close()
	server, err := net.Dial(network, address)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, client) }()
	_, _ = io.Copy(client, server)
}

type fakeDocker struct {
	port    int
	removed chan struct{} // closed when the container is removed

	mu      sync.Mutex
	created struct {
		Image      string
		Env, Cmd   []string
		HostConfig struct{ AutoRemove, PublishAllPorts bool }
	}
	calls []string
}

func (d *fakeDocker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.calls = append(d.calls, r.Method+" "+r.URL.Path)
	if r.URL.Path == "/containers/create" {
		_ = json.NewDecoder(r.Body).Decode(&d.created)
	}
	d.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/stop"): // answered when the container has ended
		<-d.removed
	case r.URL.Path == "/_ping":
		fmt.Fprint(w, "OK")
	case r.Method == http.MethodDelete:
		close(d.removed)
	case strings.HasSuffix(r.URL.Path, "/start"):
		w.WriteHeader(http.StatusNoContent)
	default:
		fmt.Fprintf(w, `{"Id":"c1","NetworkSettings":{"Ports":{"5432/tcp":[{"HostIp":"127.0.0.1","HostPort":"%d"}]}}}`,
			d.port)
	}
}

func (d *fakeDocker) check(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.created; c.Image != "postgres:18" || !c.HostConfig.AutoRemove || !c.HostConfig.PublishAllPorts {
		t.Errorf("container: %+v", c)
	}
	if !strings.Contains(strings.Join(d.created.Cmd, " "), "-c fsync=off") || len(d.created.Env) == 0 {
		t.Errorf("container: %+v", d.created)
	}
	calls := strings.Join(d.calls, "\n")
	for _, want := range []string{"GET /_ping", "POST /containers/c1/start", "POST /containers/c1/stop",
		"DELETE /containers/c1"} {
		if !strings.Contains(calls, want) {
			t.Errorf("no call of %s in:\n%s", want, calls)
		}
	}
}
