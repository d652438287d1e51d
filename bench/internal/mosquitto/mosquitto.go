// Package mosquitto runs the MQTT broker of that name as a peer, if it is
// installed.
package mosquitto

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"time"

	"github.com/iothub-go/iothub/bench/internal/selfcert"
)

// ErrNotInstalled is why the peer is left out.
var ErrNotInstalled = errors.New("mosquitto is not installed")

// configuration takes everybody, keeps nothing and bounds nothing.
const configuration = `listener %d 127.0.0.1
certfile %s
keyfile %s
user %s
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_type error
log_type warning
log_dest stderr
`

// Server is a running mosquitto. It is for one goroutine.
type Server struct {
	// Addr is host:port, of MQTT over TLS.
	Addr string
	// Roots verifies the server's certificate.
	Roots *x509.CertPool

	cmd *exec.Cmd
	dir string
}

// Start starts mosquitto with a folder of its own below dir, or below that for
// temporary files when dir is empty, and returns when it listens.
func Start(dir string) (*Server, error) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		// Debian puts it where only root looks.
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, ErrNotInstalled
		}
	}
	s := &Server{}
	if s.dir, err = os.MkdirTemp(dir, "bench-mosquitto-"); err != nil {
		return nil, err
	}
	if err := s.start(path); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("mosquitto: %w", err)
	}
	return s, nil
}

func (s *Server) start(path string) error {
	cert, err := selfcert.New()
	if err != nil {
		return err
	}
	if s.Roots, err = selfcert.Pool(cert.CertPEM); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(s.dir, name) }
	text := fmt.Sprintf(configuration, port, file("cert.pem"), file("key.pem"), me.Username)
	for name, data := range map[string][]byte{
		"cert.pem": cert.CertPEM, "key.pem": cert.KeyPEM, "mosquitto.conf": []byte(text),
	} {
		if err := os.WriteFile(file(name), data, 0o600); err != nil {
			return err
		}
	}
	s.Addr = fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(path, "-c", file("mosquitto.conf"))
	var said bytes.Buffer // warnings that matter only if it does not start
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	if err := waitFor(s.Addr); err != nil {
		s.kill()
		return fmt.Errorf("%w: %s", err, said.Bytes())
	}
	return nil
}

// PID is the process's number.
func (s *Server) PID() int { return s.cmd.Process.Pid }

func (s *Server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // "killed" is no news
		s.cmd = nil
	}
}

// Close ends the process and removes its folder.
func (s *Server) Close() error {
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

// waitFor returns when somebody listens there.
func waitFor(address string) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("nobody listens on %s", address)
}
