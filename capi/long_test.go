//go:build cgo && linux && capi_long

package main

import (
	"os/exec"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

// A million messages, and memory that stays.
func TestMillion(t *testing.T) {
	p := start(t, compile(t, "c11", "million"), newWorld(t, &hub.Options{}).env...)
	p.finish()
	t.Log(p.stderr.String())
}

// Valgrind finds no wrong access in the programs, and nothing that they lose.
// It does not look for values that were never set: Go's runtime scans its stacks
// without asking which words on them were. What it takes for wrong because it cannot
// follow goroutines from stack to stack is in valgrind.supp.
func TestValgrind(t *testing.T) {
	for _, name := range []string{"arguments", "messages", "send", "managed", "upload", "upload_managed", "legacy"} {
		t.Run(name, func(t *testing.T) {
			bin := compile(t, "c11", name)
			w := newWorld(t, &hub.Options{})
			w.listenHTTPS(t)
			p := &program{t: t}
			p.run(exec.CommandContext(t.Context(), "valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full",
				"--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--undef-value-errors=no",
				"--suppressions=testdata/valgrind.supp", bin),
				w.env)
			if name == "legacy" {
				w.callLater(t, p)
			}
			p.finish()
		})
	}
}
