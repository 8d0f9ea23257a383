package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/strunk-go/strunk/outbox"
)

// The kinds of SchemaChange.
const (
	SchemaAdded   = "added"
	SchemaRemoved = "removed"
	SchemaChanged = "changed"
)

// SchemaChange is a place where two versions of a contract differ.
type SchemaChange struct {
	// Path is a JSON Pointer (RFC 6901) into the document.
	Path string `json:"path"`
	// Change is SchemaAdded, SchemaRemoved or SchemaChanged.
	Change string `json:"change"`
	// Old is missing where something was added, New where it was removed.
	Old json.RawMessage `json:"old,omitempty"`
	New json.RawMessage `json:"new,omitempty"`
}

// SchemaDifference is how two versions of a contract differ.
type SchemaDifference struct {
	Subject string `json:"subject"`
	Old     string `json:"old"`
	New     string `json:"new"`
	// Changes are in the order of their paths: members by name, elements by place. Truncated says that there are more
	// than MaxLimit.
	Changes   []SchemaChange `json:"changes"`
	Truncated bool           `json:"truncated"`
}

// SchemaDiff returns how the version newer of a subject differs from older; where older is empty, from the version
// before. It compares documents, not what they accept: schema.Check says whether they are compatible. Errors:
// [ErrNotFound], [ErrInvalid].
func SchemaDiff(ctx context.Context, box *outbox.Box, subject, older, newer string) (d SchemaDifference, err error) {
	if older != "" {
		err = checkSchema(subject, older)
	}
	var to, from SchemaVersion
	if err == nil {
		to, err = Schema(ctx, box, subject, newer)
	}
	switch {
	case err != nil:
	case older == "":
		from, err = oneSchema(ctx, box, sqlSchemaBefore, subject, to.Version)
		if errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("version %s of subject %q is the first: %w", to.Version, subject, ErrNotFound)
		}
	default:
		from, err = oneSchema(ctx, box, sqlSchemaVersion, subject, older)
	}
	if err != nil {
		return d, wrap("schema diff", err)
	}
	d = SchemaDifference{Subject: subject, Old: from.Version, New: to.Version}
	d.Changes, err = documentChanges(from.Document, to.Document)
	if len(d.Changes) > MaxLimit {
		d.Changes, d.Truncated = d.Changes[:MaxLimit], true
	}
	return d, wrap("schema diff", err)
}

func documentChanges(from, to json.RawMessage) (changes []SchemaChange, err error) {
	old, err := decodeExactly(from)
	if err != nil {
		return nil, err
	}
	now, err := decodeExactly(to)
	if err != nil {
		return nil, err
	}
	d := differ{changes: []SchemaChange{}}
	d.compare("", old, now)
	return d.changes, nil
}

// decodeExactly keeps numbers as they are written.
func decodeExactly(doc json.RawMessage) (v any, err error) {
	in := json.NewDecoder(bytes.NewReader(doc))
	in.UseNumber()
	return v, in.Decode(&v)
}

// differ collects how two documents differ, and stops soon after MaxLimit changes.
type differ struct{ changes []SchemaChange }

func (d *differ) add(path, change string, old, now any) {
	c := SchemaChange{Path: path, Change: change}
	if change != SchemaAdded {
		c.Old = encoded(old)
	}
	if change != SchemaRemoved {
		c.New = encoded(now)
	}
	d.changes = append(d.changes, c)
}

// encoded cannot fail: v came from a document. Markup is left as it is, for people to read.
func encoded(v any) json.RawMessage {
	var doc bytes.Buffer
	out := json.NewEncoder(&doc)
	out.SetEscapeHTML(false)
	_ = out.Encode(v)
	return bytes.TrimSpace(doc.Bytes())
}

func (d *differ) compare(path string, old, now any) {
	if len(d.changes) > MaxLimit || reflect.DeepEqual(old, now) {
		return
	}
	switch before := old.(type) {
	case map[string]any:
		if after, ok := now.(map[string]any); ok {
			d.members(path, before, after)
			return
		}
	case []any:
		if after, ok := now.([]any); ok && !scalars(before) && !scalars(after) {
			d.elements(path, before, after)
			return
		}
	}
	d.add(path, SchemaChanged, old, now)
}

func (d *differ) members(path string, old, now map[string]any) {
	names := slices.Collect(maps.Keys(old))
	for name := range now {
		if _, both := old[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		before, was := old[name]
		after, is := now[name]
		at := path + "/" + escapePointer.Replace(name)
		switch {
		case was && is:
			d.compare(at, before, after)
		case was:
			d.add(at, SchemaRemoved, before, nil)
		default:
			d.add(at, SchemaAdded, nil, after)
		}
	}
}

func (d *differ) elements(path string, old, now []any) {
	for i := range max(len(old), len(now)) {
		at := path + "/" + strconv.Itoa(i)
		switch {
		case i >= len(now):
			d.add(at, SchemaRemoved, old[i], nil)
		case i >= len(old):
			d.add(at, SchemaAdded, nil, now[i])
		default:
			d.compare(at, old[i], now[i])
		}
	}
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

// scalars reports whether a list holds no lists and objects: such as required and enum, which are read as a whole.
func scalars(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool {
		switch v.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}
