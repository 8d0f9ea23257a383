//go:build !unix

package pgserver

import (
	"os"
	"os/exec"
)

// account is the user that a server runs as: the caller.
type account struct{ name string }

func serverUser() (account, error) { return account{}, nil }

func demote(cmd *exec.Cmd) error {
	cmd.Env = serverEnv(os.Environ())
	return nil
}

// Watchdog does not exist here: what a killed process leaves in another server is dropped by the next run there, and
// its container ends when its life is over.
type Watchdog struct{}

// Dismiss does nothing here.
func (*Watchdog) Dismiss() error { return nil }

// End does nothing here.
func (*Watchdog) End() error { return nil }

func watchDatabases(request, string) (*Watchdog, error) { return nil, nil }

// WatchContainer does nothing here.
func WatchContainer(string) (*Watchdog, error) { return nil, nil }
