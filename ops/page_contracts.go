package ops

import (
	"encoding/json"
	"errors"
	"fmt"
)

// contractsShown is what the view of all contracts shows.
type contractsShown struct {
	Subjects []SchemaSubject
	// Next is the subject to go on after; empty on the last page.
	Next string
}

// contractShown is what the view of one subject shows: two versions and how they differ.
type contractShown struct {
	Subject  string
	Versions []SchemaVersion
	// From and To are the versions that are compared; From is empty where To is the first.
	From, To   string
	Difference SchemaDifference
	// Changes are the first of the difference; More says that there are others.
	Changes  []changeRow
	More     bool
	Document json.RawMessage
	// Registered is To.
	Registered SchemaVersion
	Uses       SchemaUses
}

// contractsPerPage is how many subjects a page has.
const contractsPerPage = 50

func contractsView(c *call) (any, error) {
	all, err := Schemas(c.ctx, c.box, Page{After: c.query.Get("after"), Limit: contractsPerPage})
	v := contractsShown{Subjects: all}
	if n := len(all); n == contractsPerPage {
		v.Next = all[n-1].Subject
	}
	return v, err
}

func contractView(c *call) (any, error) {
	v := contractShown{Subject: c.query.Get("subject"), From: c.query.Get("from"), To: c.query.Get("to")}
	var err error
	if v.Versions, err = SchemaVersions(c.ctx, c.box, v.Subject, Page{Limit: MaxLimit}); err != nil {
		return nil, err
	}
	if v.Registered, err = Schema(c.ctx, c.box, v.Subject, v.To); err != nil {
		return nil, err
	}
	v.To, v.Document = v.Registered.Version, indented(v.Registered.Document)
	v.Difference, err = SchemaDiff(c.ctx, c.box, v.Subject, v.From, v.To)
	if v.From == "" && errors.Is(err, ErrNotFound) { // the first version differs from nothing
		err = nil
	}
	if err != nil {
		return nil, err
	}
	v.From, v.Changes = v.Difference.Old, changeRows(v.Difference.Changes)
	v.More = len(v.Difference.Changes) > len(v.Changes)
	v.Uses, err = ReadSchemaUses(c.ctx, c.box, v.Subject)
	return v, err
}

// CLI is the command that says how the versions differ.
func (v contractShown) CLI() string {
	if v.From == "" {
		return ""
	}
	return command([]string{"schema", "diff", v.Subject, v.From, v.To})
}

// Latest is the newest version of a subject.
func (s SchemaSubject) Latest() string {
	if n := len(s.Versions); n > 0 {
		return s.Versions[n-1]
	}
	return ""
}

// Name names a version that may be missing.
func (u SchemaUse) Name() string {
	if u.Version == "" {
		return "without a version"
	}
	return fmt.Sprintf("of version %s", u.Version)
}
