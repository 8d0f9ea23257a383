package testkit

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// theServer waits for the end of the PostgreSQL that a package's tests share: it ends with the process.
const theServer = "github.com/strunk-go/strunk/internal/pgserver.(*cluster).guarded.func1"

// slowWrite reads a connection whose server was slow to take a statement, from then on until it is closed: pgx's way to
// keep both sides from waiting for each other. The connection to the shared server is open as long as the process.
const slowWrite = "github.com/jackc/pgx/v5/pgconn/internal/bgreader.(*BGReader).bgRead"

// Main runs a package's tests and ends the process: see LeakFree.
func Main(m *testing.M) { os.Exit(LeakFree{M: m}.Run()) }

// AtEnd has a function called after the tests of the package, for what its examples have in common. It is not for
// concurrent use: examples run one after another.
func AtEnd(end func()) { atEnd = append(atEnd, end) }

var atEnd []func()

// LeakFree runs a package's tests, and has them fail where a goroutine outlives them: whatever a test has started it
// must have ended, and so must what the library has started for it.
type LeakFree struct{ *testing.M }

// Run returns the exit code.
func (l LeakFree) Run() int {
	code := l.M.Run()
	for _, end := range atEnd {
		end()
	}
	if fuzz := flag.Lookup("test.fuzz"); code == 0 && fuzz.Value.String() == "" { // a fuzzer's own are still at work
		if err := goleak.Find(goleak.IgnoreAnyFunction(theServer), goleak.IgnoreAnyFunction(slowWrite)); err != nil {
			fmt.Fprintln(os.Stderr, "after the tests:", err)
			return 1
		}
	}
	return code
}
