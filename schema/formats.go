package schema

import (
	"net/mail"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/xeipuuv/gojsonschema"
)

// formats are the formats that are enforced, each with its check. Those of gojsonschema stand where they do what
// their RFC says; the others are ours, because gojsonschema takes a time for a date-time, "Bob <b@c.d>" for an email,
// "::1.2.3.4" for an IPv4 address and refuses upper-case UUIDs.
var formats = map[string]func(string) bool{
	"date-time":             isDateTime,
	"date":                  func(s string) bool { return parses(time.DateOnly, s) },
	"time":                  func(s string) bool { return isDateTime("2000-01-01T" + s) },
	"email":                 isEmail,
	"idn-email":             isEmail,
	"hostname":              theirs(gojsonschema.HostnameFormatChecker{}),
	"ipv4":                  func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is4() },
	"ipv6":                  func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is6() && a.Zone() == "" },
	"uri":                   theirs(gojsonschema.URIFormatChecker{}),
	"uri-reference":         theirs(gojsonschema.URIReferenceFormatChecker{}),
	"iri":                   theirs(gojsonschema.URIFormatChecker{}),
	"iri-reference":         theirs(gojsonschema.URIReferenceFormatChecker{}),
	"uri-template":          theirs(gojsonschema.URITemplateFormatChecker{}),
	"uuid":                  uuid.MatchString,
	"regex":                 theirs(gojsonschema.RegexFormatChecker{}),
	"json-pointer":          theirs(gojsonschema.JSONPointerFormatChecker{}),
	"relative-json-pointer": theirs(gojsonschema.RelativeJSONPointerFormatChecker{}),
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func parses(layout, text string) bool {
	_, err := time.Parse(layout, text)
	return err == nil
}

// isDateTime is RFC 3339; the second 60 of a leap second is allowed.
func isDateTime(text string) bool {
	if len(text) > 19 && text[17:19] == "60" {
		text = text[:17] + "59" + text[19:]
	}
	return parses(time.RFC3339, strings.ToUpper(text))
}

func isEmail(text string) bool {
	address, err := mail.ParseAddress(text)
	return err == nil && address.Name == "" && !strings.HasPrefix(text, "<")
}

func theirs(checker gojsonschema.FormatChecker) func(string) bool {
	return func(text string) bool { return checker.IsFormat(text) }
}

// formatPrefix keeps our checks apart from gojsonschema's own, which other code of the process may use or change.
const formatPrefix = "github.com/strunk-go/strunk/schema:"

type formatChecker func(string) bool

// IsFormat lets everything pass that is no string: format says nothing about other types.
func (check formatChecker) IsFormat(input any) bool {
	text, ok := input.(string)
	return !ok || check(text)
}

func init() {
	for name, check := range formats {
		gojsonschema.FormatCheckers.Add(formatPrefix+name, formatChecker(check))
	}
}
