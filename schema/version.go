package schema

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is the version of a contract: one to four whole numbers with dots between them, such as 1.0 or 1.10.2. The
// zero value comes before all others and stands for payloads that carry no version.
type Version struct {
	text  string
	parts [4]uint32
}

// ParseVersion reads a version. What it refuses is an [ErrInvalidVersion]: an empty text, anything but digits and
// dots, leading zeros, more than four numbers.
func ParseVersion(text string) (Version, error) {
	version := Version{text: text}
	fields := strings.Split(text, ".")
	if len(fields) > len(version.parts) {
		return Version{}, badVersion(text, "has more than four numbers")
	}
	for i, field := range fields {
		number, err := strconv.ParseUint(field, 10, 32)
		if err != nil || strconv.FormatUint(number, 10) != field {
			return Version{}, badVersion(text, quoteClipped(field)+" is no whole number")
		}
		version.parts[i] = uint32(number)
	}
	return version, nil
}

func badVersion(text, why string) error {
	return fmt.Errorf("%w: %s: %s: write numbers with dots between them, such as 1.0", ErrInvalidVersion,
		quoteClipped(text), why)
}

// String returns the text that the version was read from.
func (v Version) String() string { return v.text }

// IsZero reports whether v is the zero value.
func (v Version) IsZero() bool { return v.text == "" }

// Compare orders versions by their numbers, -1, 0 or 1: 1.9 comes before 1.10. A missing number is 0: 1 and 1.0 are
// the same version.
func (v Version) Compare(other Version) int {
	if v.IsZero() || other.IsZero() {
		return cmp.Compare(min(len(v.text), 1), min(len(other.text), 1))
	}
	for i, part := range v.parts {
		if order := cmp.Compare(part, other.parts[i]); order != 0 {
			return order
		}
	}
	return 0
}

// MarshalText writes the version as it was read.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.text), nil }

// UnmarshalText is [ParseVersion]; an empty text is the zero value.
func (v *Version) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*v = Version{}
		return nil
	}
	*v, err = ParseVersion(string(text))
	return err
}
