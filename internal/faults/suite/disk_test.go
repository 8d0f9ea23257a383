package suite

import (
	"os"
	"os/exec"
	"testing"
)

// diskSize is room for a server, its copies and what rounds leave.
const diskSize = "1g"

// mountDisk mounts a small file system in memory and returns its directory, or nothing where that is not possible. It
// goes with the test, however that ends.
func mountDisk(t *testing.T) string {
	dir, err := os.MkdirTemp("", "strunk-disk-")
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=1777,size="+diskSize, "tmpfs", dir).Run(); err != nil {
		_ = os.Remove(dir)
		return ""
	}
	guard := exec.Command("/bin/sh", "-c", `trap '' HUP INT QUIT TERM
		read -r end
		umount -l "$1"
		rmdir "$1"`, "sh", dir)
	in, err := guard.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = guard.Wait() // a server may still be ending: the file system is gone when it has
	})
	return dir
}
