package repo_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// publicFolder reports whether programs outside may import the package there.
func publicFolder(dir string) bool {
	parts := strings.Split(dir, "/")
	return !slices.Contains(parts, "internal") && parts[0] != "bench" && parts[0] != "examples" && parts[0] != "cmd" && parts[0] != "conformance"
}

// Every package says what it is for, and every exported identifier of a public
// one, fields and methods included, has a comment.
func TestEverythingPublicIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, p := range files(t, func(p string) bool { return goFile(p) && !testFile(p) }) {
		s := parse(t, p)
		dir := path.Dir(p)
		documented[dir] = documented[dir] || s.file.Doc != nil
		if publicFolder(dir) && s.file.Name.Name != "main" {
			for _, what := range s.undocumented() {
				t.Errorf("%s: %s has no comment", p, what)
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no comment", dir)
		}
	}
}

func (s *source) undocumented() (missing []string) {
	note := func(p token.Pos, format string, args ...any) {
		missing = append(missing, fmt.Sprintf("line %d: ", s.line(p))+fmt.Sprintf(format, args...))
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
				note(d.Pos(), "func %s", d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				s.undocumentedSpec(d, spec, note)
			}
		}
	}
	return missing
}

func (s *source) undocumentedSpec(d *ast.GenDecl, spec ast.Spec, note func(token.Pos, string, ...any)) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if !spec.Name.IsExported() {
			return
		}
		if spec.Doc == nil && d.Doc == nil {
			note(spec.Pos(), "type %s", spec.Name.Name)
		}
		switch typ := spec.Type.(type) {
		case *ast.StructType:
			s.undocumentedFields(spec.Name.Name, typ.Fields, note)
		case *ast.InterfaceType:
			s.undocumentedFields(spec.Name.Name, typ.Methods, note)
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			// The comment of a group stands for its members.
			if name.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
				note(name.Pos(), "%s %s", d.Tok, name.Name)
			}
		}
	}
}

// undocumentedFields lets one comment stand for the fields that follow it
// without a blank line.
func (s *source) undocumentedFields(owner string, fields *ast.FieldList, note func(token.Pos, string, ...any)) {
	covered := -1 // the line up to which the last comment holds
	for _, f := range fields.List {
		own := f.Doc != nil || f.Comment != nil
		if own || s.line(f.Pos()) == covered+1 {
			covered = s.line(f.End())
			continue
		}
		for _, name := range f.Names {
			if name.IsExported() {
				note(name.Pos(), "%s.%s", owner, name.Name)
			}
		}
	}
}

func receiver(d *ast.FuncDecl) string {
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
