package schema

import (
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	packagePath = regexp.MustCompile(`[^\[\],*]*/`)
	notInName   = regexp.MustCompile(`[^A-Za-z0-9_]+`)
)

// newName names a definition after its type, in letters that need no escaping: Page[example.com/shop.Order] becomes
// Page_shop_Order. A second type of the same name gets its package, a third a number.
func (g *generator) newName(t reflect.Type) string {
	short := plainName(t.Name())
	long := plainName(path.Base(t.PkgPath()) + "." + t.Name())
	for _, name := range []string{short, long} {
		if !g.isTaken(name) {
			return name
		}
	}
	for i := 2; ; i++ {
		if name := long + "_" + strconv.Itoa(i); !g.isTaken(name) {
			return name
		}
	}
}

func plainName(name string) string {
	name = notInName.ReplaceAllString(packagePath.ReplaceAllString(name, ""), "_")
	if name = strings.Trim(name, "_"); name == "" {
		return "Type"
	}
	return name
}

func (g *generator) isTaken(name string) bool {
	for _, taken := range g.names {
		if taken == name {
			return true
		}
	}
	return false
}

// knownTags are the keys that a jsonschema tag may have, by the type of the schema.
var knownTags = map[string][]string{
	"": {"title", "description", "type", "required", "nullable", "oneof_required", "anyof_required",
		"oneof_type", "anyof_type", "oneof_ref", "anyof_ref"},
	"string": {"minLength", "maxLength", "pattern", "format", "readOnly", "writeOnly", "default", "example", "enum"},
	"integer": {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "default", "example",
		"enum"},
	"number": {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "default", "example",
		"enum"},
	"boolean": {"default"},
	"array":   {"minItems", "maxItems", "uniqueItems", "default", "format", "pattern"},
}

// numericTags are those whose value invopop drops in silence when it is no number.
var numericTags = regexp.MustCompile(`^(min|max|exclusiveM|multipleOf)`)

// checkTag finds the keys that would be dropped in silence. Types are those of the schema, after those of its items;
// of a list of lists, only the outer list takes tags.
func (g *generator) checkTag(tag, where string, types ...string) {
	if len(types) > 2 {
		types = types[len(types)-1:]
	}
	known := slices.Clone(knownTags[""])
	for _, t := range types {
		known = append(known, knownTags[t]...)
	}
	for _, item := range splitTag(tag) {
		if why := tagFault(item, known); why != "" {
			g.fault(where, fmt.Sprintf("jsonschema:%q: %q %s", tag, item, why))
		}
	}
}

func tagFault(item string, known []string) string {
	key, value, valued := strings.Cut(item, "=")
	_, noNumber := strconv.ParseFloat(value, 64)
	switch {
	case item == "":
	case !slices.Contains(known, key):
		return "says nothing about a field of this type: correct or remove it"
	case valued == (key == "required" || key == "nullable"):
		return "has the wrong form: required and nullable stand alone, the others are key=value"
	case numericTags.MatchString(key) && noNumber != nil:
		return "needs a number"
	case key == "uniqueItems" && value != "true":
		return "must be uniqueItems=true, or be left out"
	}
	return ""
}

// splitTag splits at commas that no backslash precedes, as invopop does.
func splitTag(tag string) []string {
	const comma = "\x00"
	parts := strings.Split(strings.ReplaceAll(tag, `\,`, comma), ",")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(part, comma, ",")
	}
	return parts
}
