//go:build !unix

package faults

import "errors"

// Freeze is not to be had here: it returns errors.ErrUnsupported.
func (c *Child) Freeze() error { return errors.ErrUnsupported }

// Wake is not to be had here: it returns errors.ErrUnsupported.
func (c *Child) Wake() error { return errors.ErrUnsupported }

// FreezeProcess is not to be had here: it returns errors.ErrUnsupported.
func FreezeProcess(int) error { return errors.ErrUnsupported }

// WakeProcess is not to be had here: it returns errors.ErrUnsupported.
func WakeProcess(int) error { return errors.ErrUnsupported }
