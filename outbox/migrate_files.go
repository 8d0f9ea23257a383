package outbox

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// migrationFiles holds tables, indexes and what else is made once.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// functionFiles holds the functions, and the triggers and views that need them: a file for each topic.
//
//go:embed sql/*.sql
var functionFiles embed.FS

// migration is one numbered step.
type migration struct {
	version int
	// compatibleSince is the oldest version whose library works with a database at this version.
	compatibleSince int
	name            string
	up, down        string
}

// compatibleMark begins the first line of a migration that libraries of an older version can work
// with; that version follows. A migration without it is for libraries of its own version and later
// ones.
const compatibleMark = "-- strunk: compatible since "

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
	return newMigration(version, name, string(up), string(down))
}

func newMigration(version int, name, up, down string) (migration, error) {
	m := migration{version: version, compatibleSince: version, name: name, up: up, down: down}
	if mark, ok := strings.CutPrefix(up, compatibleMark); ok {
		since, _, _ := strings.Cut(mark, "\n")
		n, err := strconv.Atoi(since)
		if err != nil || n < 1 || n > version {
			return migration{}, fmt.Errorf("strunk/outbox: internal: migration %d: %q is no version up to its own",
				version, since)
		}
		m.compatibleSince = n
	}
	return m, nil
}

// functions returns the text of all functions, in the order of their files' names, and what identifies it.
var functions = sync.OnceValues(func() (functionText, error) {
	paths, err := fs.Glob(functionFiles, "sql/*.sql")
	if err != nil {
		return functionText{}, err
	}
	var b strings.Builder
	for _, path := range paths {
		text, err := functionFiles.ReadFile(path)
		if err != nil {
			return functionText{}, err
		}
		b.Write(text)
		b.WriteString("\n")
	}
	sum := sha256.Sum256([]byte(b.String()))
	return functionText{text: b.String(), hash: hex.EncodeToString(sum[:16])}, nil
})

// functionText is the text of the functions and its hash, which the database records.
type functionText struct{ text, hash string }
