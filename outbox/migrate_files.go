package outbox

import (
	"embed"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one numbered step.
type migration struct {
	version  int
	name     string
	up, down string
}

// onlineMark begins a migration that runs outside a transaction, statement by statement: see splitOnline.
const onlineMark = "-- strunk: no-transaction\n"

func online(text string) bool { return strings.HasPrefix(text, onlineMark) }

// migrations returns the embedded migrations in order, which is 1, 2, 3 without a gap.
func migrations() ([]migration, error) {
	ups, err := fs.Glob(migrationFiles, "migrations/*.up.sql")
	if err != nil {
		return nil, err
	}
	sort.Strings(ups)
	all := make([]migration, 0, len(ups))
	for i, path := range ups {
		m, err := readMigration(path)
		if err != nil {
			return nil, err
		}
		if m.version != i+1 {
			return nil, fmt.Errorf("strunk/outbox: internal: migration %s is not number %d", path, i+1)
		}
		all = append(all, m)
	}
	return all, nil
}

func readMigration(path string) (migration, error) {
	base := strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".up.sql")
	number, name, _ := strings.Cut(base, "_")
	version, err := strconv.Atoi(number)
	if err != nil {
		return migration{}, fmt.Errorf("strunk/outbox: internal: migration %s has no number", path)
	}
	up, err := migrationFiles.ReadFile(path)
	if err != nil {
		return migration{}, err
	}
	down, err := migrationFiles.ReadFile(strings.TrimSuffix(path, ".up.sql") + ".down.sql")
	if err != nil {
		return migration{}, err
	}
	return migration{version: version, name: name, up: string(up), down: string(down)}, nil
}
