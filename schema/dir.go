package schema

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

// A directory of schemas has a folder for each subject and in it a file for each version: order/1.0.json. It is
// committed beside the code, so that a change of a contract shows in review and is checked without a database.

// FileName returns where a version of a subject is kept, with slashes. Characters that a file name can't have are
// escaped as in a URL.
func FileName(subject, version string) (string, error) {
	if subject == "" || strings.Trim(subject, ".") == "" {
		return "", fmt.Errorf("%w: %s is no name of a subject: give it letters", ErrInvalid,
			quoteClipped(subject))
	}
	if _, err := ParseVersion(version); err != nil {
		return "", err
	}
	return path.Join(url.PathEscape(subject), version+".json"), nil
}

// ReadDir reads a directory of schemas: the revisions of each subject, oldest first. Files that don't end in .json
// and those that begin with a dot are left alone. Its error has every file that is out of place; the documents
// themselves are not compiled.
func ReadDir(fsys fs.FS) (map[string][]Revision, error) {
	found := map[string][]Revision{}
	var errs []error
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if hidden := strings.HasPrefix(base, ".") && name != "."; hidden && entry.IsDir() {
			return fs.SkipDir
		} else if hidden || entry.IsDir() || path.Ext(name) != ".json" {
			return nil
		}
		subject, revision, err := readFile(fsys, name)
		errs = append(errs, err)
		if err == nil {
			found[subject] = append(found[subject], revision)
		}
		return nil
	})
	errs = append(errs, err)
	for _, subject := range sortedKeys(found) {
		sorted, err := sortDistinct(subject, found[subject])
		found[subject] = sorted
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}

func readFile(fsys fs.FS, name string) (string, Revision, error) {
	folder, file := path.Split(name)
	subject, err := url.PathUnescape(strings.TrimSuffix(folder, "/"))
	version := strings.TrimSuffix(file, ".json")
	if wanted, bad := FileName(subject, version); err != nil || bad != nil || wanted != name {
		return "", Revision{}, fmt.Errorf("%w: %s: call it SUBJECT/VERSION.json, such as order/1.0.json",
			ErrInvalidDir, name)
	}
	document, err := fs.ReadFile(fsys, name)
	return subject, Revision{version, document}, err
}

// sortDistinct refuses 1.json beside 1.0.json, which are one version.
func sortDistinct(subject string, revisions []Revision) ([]Revision, error) {
	sorted, err := sortRevisions(revisions)
	for i := 1; i < len(sorted) && err == nil; i++ {
		a, _ := ParseVersion(sorted[i-1].Version)
		b, _ := ParseVersion(sorted[i].Version)
		if a.Compare(b) == 0 {
			err = fmt.Errorf("%w: %s: %s and %s are one version: remove one", ErrInvalidDir, subject, a, b)
		}
	}
	return sorted, err
}

// CheckDir compiles every document of a directory of schemas and compares each version with those before it, as they
// would be if they were registered one after the other. It needs no database. Its error joins everything found, each
// with its file.
func CheckDir(fsys fs.FS, mode Mode, options ...CheckOption) error {
	subjects, err := ReadDir(fsys)
	errs := []error{err}
	for _, subject := range sortedKeys(subjects) {
		revisions := subjects[subject]
		for i, next := range revisions {
			name, _ := FileName(subject, next.Version)
			if err := CheckHistory(compiling(revisions[:i]), next, mode, options...); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// compiling leaves out the documents that don't compile: they have been reported.
func compiling(revisions []Revision) []Revision {
	return slices.DeleteFunc(slices.Clone(revisions), func(r Revision) bool {
		_, err := Compile(r.Document)
		return err != nil
	})
}
