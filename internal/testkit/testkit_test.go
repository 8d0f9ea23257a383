package testkit

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// spy is a testing.TB that only takes down how it was ended.
type spy struct {
	testing.TB
	failed, skipped string
}

func (s *spy) Helper() {}

func (s *spy) Fatalf(format string, args ...any) {
	s.failed = fmt.Sprintf(format, args...)
	panic(s)
}

func (s *spy) Skipf(format string, args ...any) {
	s.skipped = fmt.Sprintf(format, args...)
	panic(s)
}

// watch runs a function with a spy.
func watch(t *testing.T, f func(testing.TB)) *spy {
	s := &spy{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(s) {
				panic(r)
			}
		}()
		f(s)
	}()
	return s
}

func TestMissingProgram(t *testing.T) {
	look := func(tb testing.TB) { Program(tb, "no-such-program", "/no/such/place") }
	t.Setenv(RequireAllEnv, "")
	want := "left out: no-such-program is not installed"
	if s := watch(t, look); s.failed != "" || s.skipped != want {
		t.Errorf("a newcomer's machine: failed %q, skipped %q; want skipped %q", s.failed, s.skipped, want)
	}
	t.Setenv(RequireAllEnv, "1")
	if s := watch(t, look); s.skipped != "" || !strings.Contains(s.failed, "no-such-program is not installed") {
		t.Errorf("CI: failed %q, skipped %q; want a failure", s.failed, s.skipped)
	}
}

func TestProgramOfAUsualPlace(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := Program(t, "no-such-program", "/no/such/place", self); got != self {
		t.Errorf("Program returned %q; want %q", got, self)
	}
}

func TestEventually(t *testing.T) {
	t.Parallel()
	calls := 0
	Eventually(t, "the third call", func() bool { calls++; return calls == 3 })
	if calls != 3 {
		t.Errorf("%d calls; want 3", calls)
	}
	calls = 0
	goesOn := func() (string, bool) { calls++; return fmt.Sprint("step ", calls), calls == 20 }
	eventually(t, patience{soon: 1, atMost: time.Hour}, "20 steps, each later than soon", goesOn)
	for state, check := range map[string]func() (string, bool){
		"yellow": func() (string, bool) { return "yellow", false },
		"step":   func() (string, bool) { calls++; return fmt.Sprint("step ", calls), false },
	} {
		s := watch(t, func(tb testing.TB) {
			eventually(tb, patience{soon: time.Millisecond, atMost: 2 * time.Millisecond}, "the sun is blue", check)
		})
		if !strings.Contains(s.failed, "the sun is blue") || !strings.Contains(s.failed, state) {
			t.Errorf("it said %q", s.failed)
		}
	}
}
