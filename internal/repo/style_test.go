package repo_test

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Limits in lines: above the first a file or function is worth a look for a
// second subject, above the second it fails.
const (
	largeFile, hugeFile = 600, 800
	longFunc, hugeFunc  = 80, 120
)

func TestSizes(t *testing.T) {
	for _, path := range files(t, goFile) {
		s := parse(t, path)
		report := func(what string, lines, large, huge int) {
			if lines > huge {
				t.Errorf("%s %s has %d lines, the limit is %d", path, what, lines, huge)
			} else if lines > large {
				t.Logf("%s %s has %d lines", path, what, lines)
			}
		}
		report("(whole file)", s.line(s.file.FileEnd), largeFile, hugeFile)
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				report("func "+f.Name.Name, s.line(f.End())-s.line(f.Pos())+1, longFunc, hugeFunc)
			}
		}
	}
}

// A test that sleeps is slow when it works and fails when the machine is busy.
// What depends on time runs in the virtual time of testing/synctest, where
// waiting is a timer.
func TestNoSleepInTests(t *testing.T) {
	for _, path := range files(t, testFile) {
		s := parse(t, path)
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s:%d: time.Sleep in a test", path, s.line(n.Pos()))
				}
			}
			return true
		})
	}
}

// machinePath finds what only exists on one machine: somebody's home, a work
// folder, a drive.
var machinePath = regexp.MustCompile(`(?:^|[\s"'` + "`" + `(=:])(/(?:home|root|Users|work|workspace|mnt)/[\w.-]+|[A-Z]:\\(?:Users|work)\\)`)

func TestNoMachinePaths(t *testing.T) {
	for _, path := range files(t, func(string) bool { return true }) {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil || info.Size() > 1<<20 {
			continue // gone meanwhile, or no text
		}
		text := read(t, path)
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if m := machinePath.FindStringSubmatch(line); m != nil {
				t.Errorf("%s:%d: the path %s exists on one machine only", path, i+1, m[1])
			}
		}
	}
}

func TestMachinePathExpression(t *testing.T) {
	for text, want := range map[string]bool{
		"see /" + "home/jane/src": true, `"/` + `work/main"`: true, "cd /" + "Users/joe": true, "(/" + "root/.cache)": true,
		"https://example.com/work/x": false, "/devices/work/modules": false, "hub/home/x": false, "/workers/x": false, "/tmp/x": false,
	} {
		if got := machinePath.MatchString(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// Modules say why they are there: DESIGN.md lists the dependencies.
func TestGoVersionIsStatedOnce(t *testing.T) {
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`)
	want := version.FindStringSubmatch(read(t, "go.mod"))
	got := version.FindStringSubmatch(read(t, "bench/go.mod"))
	if want == nil || got == nil || want[1] != got[1] {
		t.Fatalf("go.mod says %v, bench/go.mod %v", want, got)
	}
	if readme := read(t, "README.md"); !strings.Contains(readme, want[1]) {
		t.Errorf("the README does not say that Go %s is needed", want[1])
	}
	if _, err := strconv.ParseFloat(want[1], 64); err != nil {
		t.Error(err)
	}
}
