package outbox

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// maxIdentifier is PostgreSQL's limit for names, in bytes; longer ones are cut, and would clash.
const maxIdentifier = 63

func checkSchemaName(schema string) error {
	if err := core.CheckText(schema); err != nil {
		return fmt.Errorf("strunk/outbox: Config.Schema: %w", err)
	}
	if len(schema) > maxIdentifier {
		return fmt.Errorf("strunk/outbox: Config.Schema: %d bytes; PostgreSQL cuts names over %d bytes", len(schema),
			maxIdentifier)
	}
	if i := strings.IndexAny(schema, `'"%$\\{}`); i >= 0 {
		return fmt.Errorf("strunk/outbox: Config.Schema: %q: has %q, which strunk does not allow in a schema's name",
			schema, schema[i])
	}
	if strings.HasPrefix(schema, "pg_") {
		return fmt.Errorf("strunk/outbox: Config.Schema: %q: PostgreSQL reserves names that begin with pg_", schema)
	}
	return nil
}

// names are the identifiers of one installation, quoted for SQL.
type names struct {
	schema  string // unquoted
	channel string // unquoted
	expand  func(string) string
}

func newNames(schema string) names {
	channel := "strunk:" + schema
	if len(channel) > maxIdentifier {
		sum := sha256.Sum256([]byte(schema))
		channel = "strunk:" + hex.EncodeToString(sum[:16])
	}
	r := strings.NewReplacer(
		"{schema}", quote(schema),
		"{channel}", "'"+channel+"'",
	)
	return names{schema: schema, channel: channel, expand: r.Replace}
}

// quote quotes an identifier for SQL.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
