package core

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxNameBytes bounds the names of queues, entity types, subscribers and consumers.
	MaxNameBytes = 200
	// MaxKeyBytes bounds dedup keys, entity ids and message ids: they stand in B-tree indexes.
	MaxKeyBytes = 500
)

var errEmpty = errors.New("must not be empty")

// CheckName returns why s cannot name a queue, an entity type or a subscriber.
func CheckName(s string) error { return checkText(s, MaxNameBytes) }

// CheckKey returns why s cannot be a dedup key, an entity id or a message id.
func CheckKey(s string) error { return checkText(s, MaxKeyBytes) }

func checkText(s string, limit int) error {
	switch {
	case s == "":
		return errEmpty
	case len(s) > limit:
		return fmt.Errorf("has %d bytes, more than %d", len(s), limit)
	}
	return CheckText(s)
}

// CheckText returns why PostgreSQL would refuse s as text: a NUL or invalid UTF-8.
func CheckText(s string) error {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return fmt.Errorf("has a NUL at byte %d, which PostgreSQL cannot store", i)
	}
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8, which PostgreSQL cannot store")
	}
	return nil
}

// CheckJSON returns why a document that is known to be valid JSON cannot be stored or read back: too long, an escaped
// NUL, or invalid UTF-8.
func CheckJSON(doc []byte, limit int) error {
	if len(doc) > limit {
		return fmt.Errorf("has %d bytes, more than %d; keep large data in a table of its own and pass its key",
			len(doc), limit)
	}
	if i := escapedNUL(doc); i >= 0 {
		return fmt.Errorf("has a NUL (\\u0000) at byte %d, which PostgreSQL cannot store in text", i)
	}
	if !utf8.Valid(doc) {
		return errors.New("is not valid UTF-8, which PostgreSQL cannot store")
	}
	return nil
}

// escapedNUL finds \u0000 that is not itself escaped.
func escapedNUL(doc []byte) int {
	for from := 0; ; {
		i := bytes.Index(doc[from:], []byte(`\u0000`))
		if i < 0 {
			return -1
		}
		i += from
		slashes := 0
		for i-slashes > 0 && doc[i-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
		from = i + 1
	}
}

// CleanText makes any string storable: NULs and invalid UTF-8 are replaced, and what is over limit bytes is cut with a
// mark. For error texts, which we did not write.
func CleanText(s string, limit int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "�"), "�")
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + " … (cut)"
}

// PlainStack leaves the arguments out of a stack: a payload that is passed by value is among them, word by word.
func PlainStack(stack string) string {
	lines := strings.Split(stack, "\n")
	for i, line := range lines {
		if at := strings.LastIndexByte(line, '('); at >= 0 && strings.HasSuffix(line, ")") &&
			!strings.HasPrefix(line, "\t") {
			lines[i] = line[:at] + "(…)"
		}
	}
	return strings.Join(lines, "\n")
}
