package repo_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// functions returns the symbols of a program with the statement in it that are code.
func functions(t *testing.T, statement string) string {
	t.Helper()
	dir := t.TempDir()
	source, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	text := "package main\n\nimport \"" + module + "/device\"\n\nfunc main() {\n\tc, err := " + statement + "\n\tif err == nil {\n\t\tc.Open()\n\t}\n}\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, args := range [][]string{{"build", "-o", bin, source}, {"tool", "nm", bin}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%.2000s", args, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 2 && strings.EqualFold(f[1], "t") {
				code.WriteString(strings.Join(f[2:], " ") + "\n")
			}
		}
	}
	return code.String()
}

// A program pays for registering only when it does: nothing of it is linked otherwise.
func TestRegisteringIsLinkedOnDemand(t *testing.T) {
	for statement, want := range map[string]bool{
		`device.NewClientFromConnectionString("", nil)`: false,
		`device.NewClientFromProvisioning(nil, nil)`:    true,
	} {
		code := functions(t, statement)
		if !strings.Contains(code, module+"/device.(*Client).Open\n") && !strings.Contains(code, module+"/internal/managed.(*Client).Open\n") {
			t.Fatalf("%s: the symbols are not those of the program:\n%.500s", statement, code)
		}
		for _, symbol := range []string{module + "/provisioning.", module + "/internal/setup.(*registrar)"} {
			if got := strings.Contains(code, symbol); got != want {
				t.Errorf("%s: code of %s is linked: %v", statement, symbol, got)
			}
		}
	}
}
