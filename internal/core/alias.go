package core

import (
	"errors"
	"fmt"
	"slices"
)

// CheckAliases returns what is wrong with the previous names of something called name, which is own
// ("the queue's own name"); each error names its alias by clip.
func CheckAliases(name, own string, aliases []string, clip func(string) string) (errs []error) {
	for i, alias := range aliases {
		err := CheckName(alias)
		switch {
		case err != nil:
			err = fmt.Errorf("the name %w", err)
		case alias == name:
			err = fmt.Errorf("it is %s", own)
		case slices.Contains(aliases[:i], alias):
			err = errors.New("it is there twice")
		default:
			continue
		}
		errs = append(errs, fmt.Errorf("%q: %w", clip(alias), err))
	}
	return errs
}
