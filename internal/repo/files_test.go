package repo_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// skipped are folders that hold nothing of the repository's own.
var skipped = []string{".git", "node_modules", "hub-data", "iothub-data", "testdata"}

// files returns the paths, from the root, of all files for which want is true.
func files(t *testing.T, want func(path string) bool) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skipped, d.Name()):
			return filepath.SkipDir
		case d.Name() == ".git": // a file in a linked working tree
			return nil
		}
		if rel, err := filepath.Rel(root, path); err == nil && d.Type().IsRegular() && want(rel) {
			found = append(found, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no files: the test proves nothing")
	}
	return found
}

func goFile(path string) bool   { return strings.HasSuffix(path, ".go") }
func testFile(path string) bool { return strings.HasSuffix(path, "_test.go") }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// source is a parsed Go file.
type source struct {
	path string
	fset *token.FileSet
	file *ast.File
}

func parse(t *testing.T, path string) *source {
	t.Helper()
	s := &source{path: path, fset: token.NewFileSet()}
	var err error
	if s.file, err = parser.ParseFile(s.fset, filepath.Join(root, path), nil, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *source) line(p token.Pos) int { return s.fset.Position(p).Line }
