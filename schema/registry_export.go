package schema

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Export writes every version of every subject into a directory, as [ReadDir] and [CheckDir] read
// it, indented, and returns how many there are. Files of the same names are overwritten, others
// left alone.
func (r *Registry) Export(ctx context.Context, dir string) (files int, err error) {
	subjects, err := r.List(ctx)
	if err != nil {
		return 0, fmt.Errorf("strunk/schema: export: %w", err)
	}
	for _, subject := range subjects {
		n, err := r.exportSubject(ctx, dir, subject.Name)
		files += n
		if err != nil {
			return files, fmt.Errorf("strunk/schema: export: subject %q: %w", subject.Name, err)
		}
	}
	return files, nil
}

func (r *Registry) exportSubject(ctx context.Context, dir, subject string) (files int, err error) {
	versions, err := r.Versions(ctx, subject)
	if err != nil {
		return 0, err
	}
	for _, v := range versions {
		name, err := FileName(v.Subject, v.Version)
		if err != nil {
			return files, err
		}
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(name)), v.Document.String()+"\n"); err != nil {
			return files, err
		}
		files++
	}
	return files, nil
}

func writeFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o666)
}
