package core

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// A name is taken where PostgreSQL can store it and an index can hold it, and any text can be made storable.
func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"emails", strings.Repeat("n", MaxNameBytes), strings.Repeat("é", MaxNameBytes/2+1)} {
		f.Add(name, 10)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		storable := utf8.ValidString(s) && !strings.Contains(s, "\x00")
		if got, want := CheckName(s) == nil, storable && s != "" && len(s) <= MaxNameBytes; got != want {
			t.Fatalf("%q is taken as a name: %v; want %v", s, got, want)
		}
		limit &= 0xfff
		clean := CleanText(s, limit)
		if CheckText(clean) != nil || len(strings.TrimSuffix(clean, " … (cut)")) > max(limit, len(s)) {
			t.Fatalf("%q cleaned to %d bytes is %q", s, limit, clean)
		}
		if storable && len(s) <= limit && clean != s {
			t.Fatalf("%q is storable, and became %q", s, clean)
		}
	})
}

// A payload is taken where none of its strings, keys included, has a NUL.
func FuzzCheckJSON(f *testing.F) {
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !json.Valid(doc) {
			return
		}
		want := utf8.Valid(doc) && !hasNUL(doc)
		if got := CheckJSON(doc, len(doc)); (got == nil) != want {
			t.Fatalf("%s is taken: %v; want %v", doc, got, want)
		}
		if CheckJSON(doc, len(doc)-1) == nil {
			t.Fatalf("%s is longer than allowed and was taken", doc)
		}
	})
}

func hasNUL(doc []byte) bool {
	for d := json.NewDecoder(bytes.NewReader(doc)); ; {
		d.UseNumber()
		token, err := d.Token()
		if err != nil { // the end
			return false
		}
		if s, ok := token.(string); ok && strings.Contains(s, "\x00") {
			return true
		}
	}
}
