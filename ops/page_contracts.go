package ops

import (
	"encoding/json"
	"errors"
)

// contractsShown is what the view of all contracts shows.
type contractsShown struct {
	Subjects []subjectRow
	// Next is the subject to go on after; empty on the last page.
	Next string
}

// subjectRow is a subject with its newest version.
type subjectRow struct {
	SchemaSubject
	Latest string
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
	v := contractsShown{Subjects: subjectRows(all)}
	if n := len(all); n == contractsPerPage {
		v.Next = all[n-1].Subject
	}
	return v, err
}

func subjectRows(all []SchemaSubject) (rows []subjectRow) {
	for _, s := range all {
		row := subjectRow{SchemaSubject: s}
		if n := len(s.Versions); n > 0 {
			row.Latest = s.Versions[n-1]
		}
		rows = append(rows, row)
	}
	return rows
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
