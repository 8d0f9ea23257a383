package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
	"github.com/strunk-go/strunk/queue"
)

// asProgram makes the test binary be the program.
const asProgram = "QUICKSTART_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	testkit.Main(m)
}

func TestQuickstartSendsTheMail(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asProgram+"=1", "DATABASE_URL="+outboxtest.DSN(pool))
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "sending welcome to user@example.com\n" {
		t.Fatalf("the program ended with %v and printed:\n%s", err, out)
	}
	var status queue.Status
	if err := pool.QueryRow(t.Context(), "SELECT status FROM strunk_outbox").Scan(&status); err != nil {
		t.Fatal(err)
	}
	if status != queue.StatusDelivered {
		t.Errorf("the task is %s after the program ended; want %s", status, queue.StatusDelivered)
	}
}
