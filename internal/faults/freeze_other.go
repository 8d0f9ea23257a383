//go:build !unix

package faults

import "errors"

// Freeze is not to be had here: it returns errors.ErrUnsupported.
func (c *Child) Freeze() error { return errors.ErrUnsupported }

// Wake is not to be had here: it returns errors.ErrUnsupported.
func (c *Child) Wake() error { return errors.ErrUnsupported }
