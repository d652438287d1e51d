//go:build cgo && linux && capi_long

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

// A million messages, and memory that stays.
func TestMillion(t *testing.T) {
	p := start(t, compile(t, "c11", "million"), newWorld(t, &hub.Options{}).env...)
	p.finish()
	t.Log(p.stderr.String())
}

// Thousands of files, and memory that stays.
func TestManyUploads(t *testing.T) {
	w := newWorld(t, &hub.Options{})
	w.listenHTTPS(t)
	p := start(t, compile(t, "c11", "uploads"), w.env...)
	p.finish()
	t.Log(p.stderr.String())
}

// Valgrind finds no wrong access in the programs, and nothing that they lose.
// It does not look for values that were never set: Go's runtime scans its stacks
// without asking which words on them were. What it takes for wrong because it cannot
// follow goroutines from stack to stack is in valgrind.supp.
func TestValgrind(t *testing.T) {
	for _, name := range []string{"arguments", "messages", "send", "managed", "upload", "upload_managed", "legacy", "environment", "security", "registration"} {
		t.Run(name, func(t *testing.T) {
			bin := compile(t, "c11", name)
			w := newWorld(t, &hub.Options{})
			w.listenHTTPS(t)
			p := &program{t: t}
			env := slices.Concat(w.env, startDaemon(t, w), secrets(w))
			if name == "registration" {
				env = newFactory(t)
			}
			p.run(exec.CommandContext(t.Context(), "valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full",
				"--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--undef-value-errors=no",
				"--suppressions=testdata/valgrind.supp", bin), env)
			if name == "legacy" {
				w.callLater(t, p)
			}
			p.finish()
		})
	}
}

// A program finds the library by its CMake package, shared and static, and by none
// of a version that it does not have.
func TestCMake(t *testing.T) {
	dir := t.TempDir()
	configure := []string{"-S", "examples", "-B", dir, "-DCMAKE_PREFIX_PATH=" + built}
	must(t, exec.CommandContext(t.Context(), "cmake", configure...))
	must(t, exec.CommandContext(t.Context(), "cmake", "--build", dir))
	for _, name := range []string{"telemetry", "telemetry_static"} {
		runExample(t, exec.CommandContext(t.Context(), filepath.Join(dir, name)))
	}
	lists := "cmake_minimum_required(VERSION 3.16)\nproject(newer C)\nfind_package(iothub_client 1.99 REQUIRED)\n"
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, "CMakeLists.txt"), []byte(lists), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "cmake", "-S", newer, "-B", t.TempDir(), "-DCMAKE_PREFIX_PATH="+built).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "1.15.0") {
		t.Errorf("a version that is not there: %v\n%s", err, out)
	}
}

// A program finds the library by pkg-config, shared and static.
func TestPkgConfig(t *testing.T) {
	for name, ask := range map[string][]string{"shared": nil, "static": {"--static"}} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "pkg-config", append(ask, "--cflags", "--libs", "iothub_client")...)
			cmd.Env = append(os.Environ(), "PKG_CONFIG_PATH="+filepath.Join(built, "lib", "pkgconfig"))
			flags := strings.Fields(must(t, cmd))
			if name == "static" {
				flags = append([]string{"-static-pie"}, flags...)
			}
			bin := filepath.Join(t.TempDir(), "program")
			must(t, exec.CommandContext(t.Context(), "gcc", append([]string{"examples/telemetry.c", "-o", bin}, flags...)...))
			run := exec.CommandContext(t.Context(), bin)
			if name == "shared" {
				run.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(built, "lib"))
			}
			runExample(t, run)
		})
	}
}

func must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}
