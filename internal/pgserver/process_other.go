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

// watchdog does not exist here: what a killed process leaves in another server is dropped by the next run there, and
// its container ends after containerLifetime.
type watchdog struct{}

func (*watchdog) dismiss() error { return nil }
func (*watchdog) end() error     { return nil }

func watchDatabases(request, string) (*watchdog, error) { return nil, nil }
func watchContainer(request, string) (*watchdog, error) { return nil, nil }
