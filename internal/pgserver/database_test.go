//go:build unix

package pgserver

import (
	"database/sql"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
)

func TestNewDatabase(t *testing.T) {
	t.Parallel()
	server := needServer(t)
	template, _, err := server.NewDatabase(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	exec1(t, template, "CREATE TABLE copied AS SELECT 7 AS n")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dsn, drop, err := server.NewDatabase(t.Context(), databaseOf(t, template))
			if err != nil {
				t.Error(err)
				return
			}
			if got := query[int](t, dsn, "SELECT n FROM copied"); got != 7 { // its connection stays open
				t.Errorf("n is %d, want 7", got)
			}
			for range 2 {
				if err := drop(); err != nil {
					t.Error(err)
				}
			}
			if exists(t, server, databaseOf(t, dsn)) {
				t.Errorf("database %s is still there", dsn)
			}
		})
	}
	wg.Wait()
	if _, _, err := server.NewDatabase(t.Context(), "no such template"); err == nil ||
		!strings.Contains(err.Error(), "no such template") {
		t.Errorf("error of a missing template: %v", err)
	}
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, dsn, want string }{
		{"URL", "postgres://u:p@h:1/a?sslmode=disable", "postgres://u:p@h:1/new?sslmode=disable"},
		{"URL without a database", "postgresql://h", "postgresql://h/new"},
		{"database as a parameter", "postgres://h/?dbname=a&x=1%202", "postgres://h/new?x=1%202"},
		{"password with escapes", "postgres://u:p%40%2F@h/a", "postgres://u:p%40%2F@h/new"},
		{"keywords", "host=h dbname=a", "host=h dbname=a dbname='new'"},
	} {
		if got, err := WithDatabase(row.dsn, "new"); err != nil || got != row.want {
			t.Errorf("%s: %s, %v; want %s", row.name, got, err, row.want)
		}
	}
	if _, err := WithDatabase("postgres://u:secret@[::1", "new"); err == nil ||
		strings.Contains(err.Error(), "secret") {
		t.Errorf("error of a bad URL: %v; want one without the password", err)
	}
}

func TestWithSearchPath(t *testing.T) {
	t.Parallel()
	server := needServer(t)
	keywords := "host='" + server.backend.(*cluster).dir + "' port=5432 user=postgres dbname=postgres sslmode=disable"
	for _, row := range []struct{ name, dsn, path, want string }{
		{"empty", server.DSN(), "", ""},
		{"two schemas", server.DSN(), "a, public", "a, public"},
		{"quotes", server.DSN(), `"$user", "b\c"`, `"$user", "b\c"`},
		{"keywords", keywords, "a, public", "a, public"},
		{"beside other options", server.DSN() + "&options=-c%20work_mem%3D7MB", "a", "a"},
	} {
		dsn, err := WithSearchPath(row.dsn, row.path)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		for _, driver := range []string{"pgx", "postgres"} {
			if got := show(t, driver, dsn, "search_path"); got != row.want {
				t.Errorf("%s, driver %s: search_path is %q, want %q", row.name, driver, got, row.want)
			}
			if got := show(t, driver, dsn, "work_mem"); strings.Contains(row.dsn, "work_mem") != (got == "7MB") {
				t.Errorf("%s, driver %s: work_mem is %s", row.name, driver, got)
			}
		}
	}
}

func show(t *testing.T, driver, dsn, setting string) string {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var value string
	if err := db.QueryRowContext(t.Context(), "SELECT current_setting($1)", setting).Scan(&value); err != nil {
		t.Errorf("driver %s: %v", driver, err)
	}
	return value
}
