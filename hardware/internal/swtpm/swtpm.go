// Package swtpm runs a TPM in software, which the Debian package of that name has.
package swtpm

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TPM is a TPM in software, with a state of its own.
type TPM struct {
	// Path is the Unix socket on which it takes commands.
	Path string

	t        testing.TB
	dir      string
	listener *os.File // kept open, so that a client may dial at any time
	process  *exec.Cmd
}

// New starts one that ends with the test.
func New(t testing.TB) *TPM {
	t.Helper()
	dir, err := os.MkdirTemp("", "tpm") // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &TPM{Path: filepath.Join(dir, "tpm"), t: t, dir: dir}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if s.listener, err = l.File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.listener.Close() })
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// Start starts it again after Kill, with the state it had, as a TPM starts with its
// machine.
func (s *TPM) Start() {
	s.t.Helper()
	s.process = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.dir,
		"--server", "type=unixio,fd=3", "--flags", "not-need-init,startup-clear")
	s.process.ExtraFiles = []*os.File{s.listener}
	s.process.Stderr = s.t.Output()
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("%v: apt-get install swtpm", err)
	}
}

// Kill ends it as a power failure does. Once more does nothing.
func (s *TPM) Kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}
