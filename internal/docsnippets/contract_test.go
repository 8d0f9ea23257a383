package docsnippets_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

var (
	// A row of docs/sql.md: a function with its arguments, what it returns, and who may call it; a view or table with
	// its columns, and who may read it.
	functionRow = regexp.MustCompile("(?m)^\\| `(strunk_\\w+)\\(([^`]*)\\)` \\| `([^`]*)` \\| ([a-z, ]+) \\|")
	relationRow = regexp.MustCompile("(?m)^\\| `(strunk_\\w+)` \\| `([^`]*)` \\| ([a-z, ]+) \\|$")
	// Arguments in brackets, which have a default; the brackets of an array's type have nothing in them.
	optionalArguments = regexp.MustCompile(`\[([^\]].*)\]$`)
	// A function that a document calls.
	called = regexp.MustCompile(`(?m)(?:SELECT|PERFORM|FROM|,|\()\s*(strunk_\w+)\(`)
)

var allRoles = []string{outbox.RoleProducer, outbox.RoleWorker, outbox.RoleSubscriber, outbox.RoleReader,
	outbox.RoleOperator}

// contract is a database with the roles of Grants, to hold docs/sql.md to.
type contract struct {
	t      *testing.T
	pool   *pgxpool.Pool
	prefix string
}

func newContract(t *testing.T) *contract {
	t.Helper()
	c := &contract{t, outboxtest.New(t, outboxtest.SearchPath("public")), fmt.Sprintf("strunk_test_%x", rand.Uint64())}
	text, err := outbox.Grants(outbox.GrantsConfig{RolePrefix: c.prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, role := range slices.Backward(allRoles) {
			name := pgx.Identifier{c.prefix + "_" + role}.Sanitize()
			if _, err := c.pool.Exec(context.Background(), "DROP OWNED BY "+name+"; DROP ROLE "+name); err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := c.pool.Exec(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	return c
}

// strings returns what a query finds, as one list of texts; args are $1 and so on.
func (c *contract) strings(query string, args ...any) []string {
	c.t.Helper()
	rows, err := c.pool.Query(c.t.Context(), query, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

// mayRole names the roles that hold a privilege, in the order of allRoles.
func (c *contract) mayRole(check, object, privilege string) string {
	c.t.Helper()
	return strings.Join(c.strings(`SELECT r FROM unnest($1::text[]) WITH ORDINALITY AS u (r, n)
		WHERE `+check+`($2 || '_' || r, $3, $4) ORDER BY n`, allRoles, c.prefix, object, privilege), ", ")
}

func TestSQLContractIsThatOfTheDatabase(t *testing.T) {
	t.Parallel()
	page, c := text(t, "docs/sql.md"), newContract(t)
	t.Run("functions", func(t *testing.T) {
		rows := functionRow.FindAllStringSubmatch(page, -1)
		if len(rows) < 14 {
			t.Errorf("the page lists %d functions: has the form of the table changed?", len(rows))
		}
		for _, row := range rows {
			for _, document := range documentTypes(row[2]) {
				c.checkFunction(row[1], strings.ReplaceAll(row[2], "document", document), row[3], row[4])
			}
		}
	})
	t.Run("relations", func(t *testing.T) {
		rows := relationRow.FindAllStringSubmatch(page, -1)
		if len(rows) < 13 {
			t.Errorf("the page lists %d views and tables: has the form of the tables changed?", len(rows))
		}
		for _, row := range rows {
			c.checkRelation(row[1], row[2], row[3])
		}
	})
}

// documentTypes are the types that a function takes its documents in; one without documents is there once.
func documentTypes(arguments string) []string {
	if !strings.Contains(arguments, "document") {
		return []string{""}
	}
	return []string{"text", "json", "jsonb"}
}

func (c *contract) checkFunction(name, arguments, returns, roles string) {
	c.t.Helper()
	optional := ""
	if group := optionalArguments.FindStringSubmatch(arguments); group != nil {
		optional = group[1]
	}
	listed := optionalArguments.ReplaceAllString(arguments, "$1")
	found := c.strings(`SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.proname = $1
		AND replace(regexp_replace(pg_get_function_arguments(p.oid), ' DEFAULT [^,]*', '', 'g'),
			'timestamp with time zone', 'timestamptz') = $2
		AND replace(pg_get_function_result(p.oid), 'timestamp with time zone', 'timestamptz') = $3
		AND p.pronargdefaults >= $4`, name, listed, returns, len(strings.FieldsFunc(optional, isComma)))
	if len(found) != 1 {
		c.t.Errorf("docs/sql.md: the database has no %s(%s) that returns %s with these defaults; it has %v", name,
			listed, returns, c.strings(`SELECT pg_get_function_arguments(oid) || ' returns ' ||
				pg_get_function_result(oid) FROM pg_proc WHERE proname = $1`, name))
		return
	}
	if may := c.mayRole("has_function_privilege", found[0], "EXECUTE"); may != roles {
		c.t.Errorf("docs/sql.md: %s may be called by %s, and %s are listed", found[0], may, roles)
	}
}

func isComma(r rune) bool { return r == ',' }

func (c *contract) checkRelation(name, columns, roles string) {
	c.t.Helper()
	has := c.strings(`SELECT attname || ' ' || replace(format_type(atttypid, atttypmod), 'timestamp with time zone',
		'timestamptz') FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, name)
	for column := range strings.SplitSeq(columns, ", ") {
		if !slices.Contains(has, column) {
			c.t.Errorf("docs/sql.md: %s has no column %s; it has %v", name, column, has)
		}
	}
	if may := c.mayRole("has_table_privilege", name, "SELECT"); may != roles {
		c.t.Errorf("docs/sql.md: %s may be read by %s, and %s are listed", name, may, roles)
	}
}

// Documents call no function that is not in the contract.
func TestDocumentsKeepToTheSQLContract(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, row := range functionRow.FindAllStringSubmatch(text(t, "docs/sql.md"), -1) {
		listed[row[1]] = true
	}
	for _, block := range blocks(t, "sql") {
		for _, call := range called.FindAllStringSubmatch(block.Text(), -1) {
			if !listed[call[1]] {
				t.Errorf("%s, block at line %d: %s is not in docs/sql.md", block.File, block.Line, call[1])
			}
		}
	}
}
