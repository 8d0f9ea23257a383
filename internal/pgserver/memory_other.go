//go:build unix && !linux

package pgserver

// memoryRoot returns a directory in memory with room for a server: there is none that can be relied on.
func memoryRoot() string { return "" }
