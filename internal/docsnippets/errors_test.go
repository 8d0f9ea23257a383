package docsnippets_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// errorRow is a row of docs/errors.md: its first cell names an error of the API.
var errorRow = regexp.MustCompile("(?m)^\\| `([a-z]+\\.[A-Za-z]+)` \\|")

func TestErrorsTableIsComplete(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, match := range errorRow.FindAllStringSubmatch(text(t, "docs/errors.md"), -1) {
		listed = append(listed, match[1])
	}
	declared := declaredErrors(t)
	for _, name := range declared {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/errors.md does not list %s", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(declared, name) {
			t.Errorf("docs/errors.md lists %s, which no package declares", name)
		}
	}
}

// declaredErrors returns the exported Err variables and the exported error types of all public packages.
func declaredErrors(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (slices.Contains([]string{"internal", "examples", "bench", "testdata", "docs"},
				d.Name()) || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			names = append(names, errorsOf(t, path)...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func errorsOf(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if file.Name.Name == "main" {
		return nil
	}
	for _, decl := range file.Decls {
		for _, name := range errorNames(decl) {
			if ast.IsExported(name) {
				names = append(names, file.Name.Name+"."+name)
			}
		}
	}
	return names
}

// errorNames returns what a declaration adds to the errors: variables called Err…, and the receiver
// of an Error method.
func errorNames(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && d.Name.Name == "Error" && len(d.Type.Params.List) == 0 {
			names = append(names, receiver(d.Recv.List[0].Type))
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR {
				for _, name := range v.Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
