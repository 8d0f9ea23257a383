package schema

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestParseVersionRefuses(t *testing.T) {
	for _, text := range []string{"", " ", "v1", "1.", ".1", "1..2", "01", "1.00", "-1", "+1", "1.2.3.4.5",
		"1.0-beta", "4294967296", "1,0", "1.x", "１", "1 ", "1.0\n"} {
		if version, err := ParseVersion(text); !errors.Is(err, ErrInvalidVersion) {
			t.Errorf("%q: got %v, %v", text, version, err)
		}
	}
}

func TestVersionsAreOrdered(t *testing.T) {
	order := []string{"0", "0.9", "1", "1.0.1", "1.1", "1.9", "1.10", "1.10.0.1", "2", "10", "4294967295"}
	versions := []Version{{}}
	for _, text := range order {
		version, err := ParseVersion(text)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	if !slices.IsSortedFunc(versions, Version.Compare) {
		t.Errorf("not in order: %v", versions)
	}
	for i := 1; i < len(versions); i++ {
		if versions[i-1].Compare(versions[i]) != -1 || versions[i].Compare(versions[i-1]) != 1 {
			t.Errorf("%v and %v", versions[i-1], versions[i])
		}
	}
	if a, b := must(ParseVersion("1")), must(ParseVersion("1.0.0")); a.Compare(b) != 0 {
		t.Error("1 is not 1.0.0")
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestVersionAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}`).Draw(t, "version")
		version, err := ParseVersion(text)
		if err != nil || version.String() != text {
			t.Fatalf("%q: %v, %v", text, version, err)
		}
		var again Version
		written, _ := version.MarshalText()
		if err := again.UnmarshalText(written); err != nil || again != version {
			t.Fatalf("%q: %v, %v", text, again, err)
		}
	})
}
