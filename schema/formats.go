package schema

import (
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
)

// formats are the formats that are enforced, each with its check, by the RFC that draft 7 names for it. Where Go knows
// another dialect, Go's counts: regex is an expression of package regexp.
var formats = map[string]func(string) bool{
	"date-time": isDateTime,
	"date":      isDate,
	"time":      isTime,
	"email":     isEmail,
	"idn-email": isEmail,
	"hostname":  isHostname,
	"ipv4":      func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is4() },
	"ipv6": func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err == nil && a.Is6() &&
			a.Zone() == ""
	},
	"uri":                   func(s string) bool { return isReference(s, uriCharacters, true) },
	"uri-reference":         func(s string) bool { return isReference(s, uriCharacters, false) },
	"iri":                   func(s string) bool { return isReference(s, iriCharacters, true) },
	"iri-reference":         func(s string) bool { return isReference(s, iriCharacters, false) },
	"uri-template":          uriTemplate.MatchString,
	"uuid":                  uuid.MatchString,
	"regex":                 func(s string) bool { _, err := syntax.Parse(s, syntax.Perl); return err == nil },
	"json-pointer":          jsonPointer.MatchString,
	"relative-json-pointer": relativePointer.MatchString,
}

var (
	uuid            = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	jsonPointer     = regexp.MustCompile(`^(/([^~/]|~[01])*)*$`)
	relativePointer = regexp.MustCompile(`^(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)$`)
	// uriCharacters and iriCharacters are those of RFC 3986 and 3987; square brackets enclose an IPv6 address.
	uriCharacters = regexp.MustCompile(`^([A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$`)
	iriCharacters = regexp.MustCompile(`^([A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=` +
		`\x{A0}-\x{D7FF}\x{F900}-\x{FDCF}\x{FDF0}-\x{FFEF}\x{E000}-\x{F8FF}\x{10000}-\x{10FFFD}]|%[0-9A-Fa-f]{2})*$`)
	// uriTemplate is RFC 6570: literals, and expressions of variables in braces.
	uriTemplate = regexp.MustCompile(`^([^\x00-\x20"<>\\^{|}` + "`" + `%\x7F]|%[0-9A-Fa-f]{2}|` +
		`\{[+#./;?&=,!@|]?` + templateVariable + `(,` + templateVariable + `)*\})*$`)
	wallClock = regexp.MustCompile(`^([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([Zz]|([+-])([0-9]{2}):([0-9]{2}))$`)
)

const templateVariable = `([A-Za-z0-9_]|%[0-9A-Fa-f]{2})(\.?([A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(:[1-9][0-9]{0,3}|\*)?`

func isDate(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil && len(text) == len(time.DateOnly)
}

// isDateTime is RFC 3339.
func isDateTime(text string) bool {
	return len(text) > 11 && strings.ContainsRune("Tt", rune(text[10])) && isDate(text[:10]) && isTime(text[11:])
}

// isTime is the full-time of RFC 3339. Second 60 is a leap second, which is the last one of a day in UTC.
func isTime(text string) bool {
	parts := wallClock.FindStringSubmatch(text)
	if parts == nil {
		return false
	}
	hour, minute, second := number2(parts[1]), number2(parts[2]), number2(parts[3])
	offsetHour, offsetMinute := number2(parts[7]), number2(parts[8])
	if hour > 23 || minute > 59 || second > 60 || offsetHour > 23 || offsetMinute > 59 {
		return false
	}
	offset := offsetHour*60 + offsetMinute
	if parts[6] == "-" {
		offset = -offset
	}
	const day = 24 * 60
	return second < 60 || (hour*60+minute-offset+day)%day == day-1
}

func number2(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// maxEmail is the length of a line in RFC 5322, in bytes.
const maxEmail = 998

func isEmail(text string) bool {
	if len(text) > maxEmail {
		return false
	}
	address, err := mail.ParseAddress(text)
	if err != nil || address.Name != "" || strings.HasPrefix(text, "<") {
		return false
	}
	domain := text[strings.LastIndex(text, "@")+1:]
	literal, isLiteral := strings.CutPrefix(domain, "[")
	if !isLiteral {
		return !isASCII(domain) || isHostname(domain)
	}
	ip, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(literal, "]"), "IPv6:"))
	return err == nil && ip.Is6() == strings.HasPrefix(literal, "IPv6:")
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r > 127 }) < 0
}

// isHostname is RFC 1123, section 2.1.
func isHostname(text string) bool {
	if len(text) == 0 || len(text) > 253 {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel leaves labels with two hyphens in the third place to punycode, of which only the form is checked.
func isLabel(label string) bool {
	if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	if len(label) >= 4 && label[2:4] == "--" && (!strings.EqualFold(label[:2], "xn") || len(label) == 4) {
		return false
	}
	return strings.IndexFunc(label, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// isReference is RFC 3986 with the characters of a URI or of an IRI.
func isReference(text string, characters *regexp.Regexp, absolute bool) bool {
	if !characters.MatchString(text) {
		return false
	}
	parsed, err := url.Parse(text)
	if err != nil || absolute && parsed.Scheme == "" {
		return false
	}
	beside := strings.Replace(text, parsed.Host, "", 1) // brackets belong to the host alone
	return !strings.ContainsAny(beside, "[]") && strings.Count(beside, "#") <= 1 && isAuthority(parsed, text)
}

// isAuthority: url.Parse takes an IPv6 address without brackets for a host and a port, and a second @ for part of a
// name.
func isAuthority(parsed *url.URL, text string) bool {
	_, after, _ := strings.Cut(text, "//")
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	if strings.Count(after[:end], "@") > 1 && parsed.User != nil {
		return false
	}
	return strings.HasPrefix(parsed.Host, "[") || strings.Count(parsed.Host, ":") <= 1
}
