package ops

import (
	"fmt"
	"strconv"
)

// orNull is a parameter that chooses by s, or NULL where s is empty: any.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// parseID reads an id as lists page on.
func parseID(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no id: %w", s, ErrInvalid)
	}
	return n, nil
}
