package ops

import "fmt"

// The answers of lists of contracts.
type (
	// SchemaList is a page of subjects.
	SchemaList struct {
		Schemas []SchemaSubject `json:"schemas"`
		Next    string          `json:"next,omitempty"`
	}
	// SchemaVersionList is a page of the versions of a subject.
	SchemaVersionList struct {
		Versions []SchemaVersion `json:"versions"`
		Next     string          `json:"next,omitempty"`
	}
)

// latest is the name of a subject's newest version in paths.
const latest = "latest"

func schemaReadings() []operation {
	return []operation{
		reading("list_schemas", "/v1/schemas", "Subjects that have contracts, by name", listSchemas, after, upTo),
		reading("list_schema_versions", "/v1/schemas/{subject}",
			"Versions of a subject, oldest first, without documents", listSchemaVersions,
			parameter{"after", "string", "the last version of the page before"}, upTo),
		reading("get_schema", "/v1/schemas/{subject}/{version}", "One version of a subject; latest is the newest",
			func(c *call) (v SchemaVersion, err error) {
				subject, version, err := c.schema()
				if err != nil {
					return v, err
				}
				return Schema(c.ctx, c.box, subject, version)
			}),
		reading("diff_schema", "/v1/schemas/{subject}/{version}/diff", "How a version differs from another one",
			func(c *call) (d SchemaDifference, err error) {
				subject, version, err := c.schema()
				if err != nil {
					return d, err
				}
				return SchemaDiff(c.ctx, c.box, subject, c.query.Get("old"), version)
			}, parameter{"old", "string", "the version to compare with; the one before where it is missing"}),
	}
}

// schema returns the subject and the version in the path; an empty version is the newest.
func (c *call) schema() (subject, version string, err error) {
	subject, err = c.name("subject")
	switch version = c.r.PathValue("version"); version {
	case latest:
		version = ""
	case "":
		err = fmt.Errorf("there is no version: %w", ErrInvalid)
	}
	return subject, version, err
}

func listSchemas(c *call) (list SchemaList, err error) {
	page, err := c.page()
	if err == nil {
		list.Schemas, err = Schemas(c.ctx, c.box, page)
	}
	if n := len(list.Schemas); n > 0 && n == page.Limit {
		list.Next = list.Schemas[n-1].Subject
	}
	return list, err
}

func listSchemaVersions(c *call) (list SchemaVersionList, err error) {
	subject, err := c.name("subject")
	if err != nil {
		return list, err
	}
	page, err := c.page()
	if err == nil {
		list.Versions, err = SchemaVersions(c.ctx, c.box, subject, page)
	}
	if n := len(list.Versions); n > 0 && n == page.Limit {
		list.Next = list.Versions[n-1].Version
	}
	return list, err
}
