package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// errNotInstalled is why a peer is left out.
var errNotInstalled = errors.New("not installed")

// server is a running server, a child process with a folder of its own.
type server struct {
	title   string
	devices []string // connection strings, as many as --devices asks for at most
	roots   *x509.CertPool
	// sync says that a message is on disk before it is acknowledged.
	sync bool
	// events calls visit with the payload of every event kept, from the first
	// one on, until visit returns false or ctx ends; nil where nothing is kept.
	events func(ctx context.Context, visit func(payload []byte) bool) error

	cmd    *exec.Cmd
	killed bool
	dir    string
}

func (s *server) name() string { return s.title }
func (s *server) synced() bool { return s.sync }

// kill ends the process at once and without notice: nothing it acknowledged
// may need a goodbye.
func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil && !s.killed {
		s.killed = true
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // "killed" is no news
	}
}

// close ends the process and removes its folder.
func (s *server) close() error {
	s.kill()
	return os.RemoveAll(s.dir)
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// waitPort returns when somebody listens on the port.
func waitPort(port int) error {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("nobody listens on %s", address)
}
