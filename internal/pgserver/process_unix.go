//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that a server runs as; the zero value is the caller.
type account struct {
	name     string
	uid, gid uint32
}

// serverUser returns whom to run server programs as: PostgreSQL refuses root, so root becomes
// "postgres", else "nobody".
func serverUser() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if a, err := lookUp(name); err == nil && a.uid != 0 {
			return a, nil
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody: create one")
}

func lookUp(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.ParseInt(u.Uid, 10, 64)
	if err != nil {
		return account{}, fmt.Errorf("user %s: %w", name, err)
	}
	gid, err := strconv.ParseInt(u.Gid, 10, 64)
	if err != nil {
		return account{}, fmt.Errorf("user %s: %w", name, err)
	}
	return account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
}

// detach gives a command a session of its own, so that a terminal's signals do not reach it, and the root directory,
// which every user can enter.
func detach(cmd *exec.Cmd) {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// demote detaches a command, has it run as the server's user, and frees it from the caller's PostgreSQL settings.
func demote(cmd *exec.Cmd) error {
	a, err := serverUser()
	if err != nil {
		return err
	}
	detach(cmd)
	cmd.Env = serverEnv(os.Environ())
	if a.name != "" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return nil
}
