//go:build !unix

package cli

import "os"

// columnsOf returns 0: a terminal does not say here how many columns it has.
func columnsOf(*os.File) int { return 0 }
