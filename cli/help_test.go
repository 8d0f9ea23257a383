package cli_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/cli"
)

// Several runs in one process do not see each other: urfave/cli's own command help would grow with each.
func TestRunsShareNothing(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, command := range []string{"help help", "schema help", "completion fish", "--version", "help stats"} {
		all.Go(func() {
			for range 3 {
				var out bytes.Buffer
				code := cli.Run(t.Context(), append([]string{"strunk"}, strings.Fields(command)...),
					cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out})
				if code != cli.ExitDone || out.Len() == 0 || out.Len() > 1<<20 {
					t.Errorf("strunk %s: exit code %d, %d bytes", command, code, out.Len())
				}
			}
		})
	}
	all.Wait()
}
