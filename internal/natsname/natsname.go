// Package natsname holds what the modules for NATS share about subjects.
package natsname

import "strings"

// Token makes a text one token of a subject, or a part of a consumer's name: every byte other than
// letters, digits, "-" and "_" is escaped as %XX.
func Token(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// Covers reports whether all subjects that match the pattern inner match outer, too.
func Covers(outer, inner string) bool {
	out, in := strings.Split(outer, "."), strings.Split(inner, ".")
	for i, o := range out {
		switch {
		case o == ">":
			return i < len(in)
		case i >= len(in), in[i] == ">", o != "*" && o != in[i]:
			return false
		}
	}
	return len(out) == len(in)
}
