package ops

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
)

// The files of others that the page embeds are those of npm, each with its licence, and no other is there.
func TestThirdPartyFilesAreThoseOfNPM(t *testing.T) {
	t.Parallel()
	const folder = "page/thirdparty"
	doc, err := pageFiles.ReadFile(folder + "/versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	listed := []string{folder + "/versions.txt"}
	for lines := bufio.NewScanner(bytes.NewReader(doc)); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) != 4 {
			t.Fatalf("versions.txt: %q has not four fields", lines.Text())
		}
		file := path.Join(folder, fields[1])
		content, err := pageFiles.ReadFile(file)
		if sum := fmt.Sprintf("%x", sha256.Sum256(content)); err != nil || sum != fields[0] {
			t.Errorf("%s has the SHA-256 %s (%v); versions.txt says %s", file, sum, err, fields[0])
		}
		if _, err := fs.Stat(pageFiles, path.Dir(file)+"/LICENSE"); err != nil {
			t.Errorf("%s has no licence beside it: %v", file, err)
		}
		listed = append(listed, file)
	}
	_ = fs.WalkDir(pageFiles, folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !slices.Contains(listed, file) {
			t.Errorf("%s is not in versions.txt (%v)", file, err)
		}
		return nil
	})
}
