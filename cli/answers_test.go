package cli_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// The commands print the documents of testdata/answers, with which the HTTP API answers too. UPDATE=1 writes them.
func TestSharedAnswers(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	if _, err := pool.Exec(t.Context(), "SET LOCAL search_path TO public;"+testkit.Installation(t)); err != nil {
		t.Fatal(err)
	}
	for name, a := range testkit.Answers(t) {
		var out, errs bytes.Buffer
		args := append([]string{"strunk", "--database-url", outboxtest.DSN(pool)}, append(a.Command, "--json")...)
		code := cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		if code != cli.ExitDone {
			t.Fatalf("%s: exit code %d: %s", strings.Join(a.Command, " "), code, errs.String())
		}
		got := testkit.Steady(t, out.String())
		if os.Getenv("UPDATE") != "" {
			a.Answer = got
			testkit.WriteAnswer(t, name, a)
			continue
		}
		if diff := cmp.Diff(a.Answer, got); diff != "" {
			t.Errorf("%s: strunk %s --json (-want +got): %s", name, strings.Join(a.Command, " "), diff)
		}
	}
}
