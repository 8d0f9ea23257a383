package core

import (
	"runtime/debug"
	"testing"
)

func TestVersionsOfAProgram(t *testing.T) {
	t.Parallel()
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}}
	for _, c := range []struct {
		name, reason     string
		info             debug.BuildInfo
		library, release string
	}{
		{"an application", "the library is one of its modules", debug.BuildInfo{
			Main: debug.Module{Path: "example.com/shop", Version: "v2.0.0"},
			Deps: []*debug.Module{{Path: modulePath, Version: "v1.2.3"}}}, "v1.2.3", "v2.0.0"},
		{"a fork", "what is built in counts", debug.BuildInfo{
			Main: debug.Module{Path: "example.com/shop", Version: "v2.0.0"},
			Deps: []*debug.Module{{Path: modulePath, Version: "v1.2.3",
				Replace: &debug.Module{Path: "example.com/fork", Version: "v1.2.4"}}}}, "v1.2.4", "v2.0.0"},
		{"the program strunk", "it is of the library's module", debug.BuildInfo{
			Main: debug.Module{Path: modulePath, Version: "v1.2.3"}}, "v1.2.3", "v1.2.3"},
		{"a checkout", "only the commit tells builds apart", debug.BuildInfo{
			Main: debug.Module{Path: "example.com/shop", Version: "(devel)"}, Settings: commit},
			unknownVersion, "(devel) 0123456789ab"},
		{"no module", "nothing is recorded", debug.BuildInfo{}, unknownVersion, unknownVersion},
	} {
		if got := libraryVersion(&c.info); got != c.library {
			t.Errorf("%s (%s): the library's version is %q, want %q", c.name, c.reason, got, c.library)
		}
		if got := release(&c.info); got != c.release {
			t.Errorf("%s (%s): the release is %q, want %q", c.name, c.reason, got, c.release)
		}
	}
}
