package core

import (
	"runtime/debug"
	"strings"
)

// modulePath is this module's.
const modulePath = "github.com/strunk-go/strunk"

// unknownVersion stands where the binary does not say.
const unknownVersion = "unknown"

// LibraryVersion is the version of this module in the running program, as the go command has recorded it: "v1.2.3",
// or of a program that was built within a checkout "(devel)" and, where it is known, the commit.
func LibraryVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknownVersion
	}
	return libraryVersion(info)
}

// Release is the version of the running program's own module, with its commit where it has no version.
func Release() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknownVersion
	}
	return release(info)
}

func libraryVersion(info *debug.BuildInfo) string {
	if strings.HasPrefix(info.Main.Path+"/", modulePath+"/") {
		return release(info)
	}
	for _, m := range info.Deps {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil && m.Replace.Version != "" {
			return m.Replace.Version
		}
		return m.Version
	}
	return unknownVersion
}

func release(info *debug.BuildInfo) string {
	version, commit := info.Main.Version, ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value[:min(len(s.Value), 12)]
		}
	}
	switch {
	case version == "":
		return unknownVersion
	case version == "(devel)" && commit != "":
		return version + " " + commit
	}
	return version
}
