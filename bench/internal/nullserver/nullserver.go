// Package nullserver is a TLS MQTT server that answers CONNECT, PINGREQ and
// SUBSCRIBE and acknowledges every PUBLISH, and does nothing else: what a
// benchmark against it measures is the client.
//
// It runs in a child process, the benchmark's own binary started again, pinned
// to one CPU where the platform can.
package nullserver

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/iothub-go/iothub/bench/internal/selfcert"
)

const (
	modeVariable   = "IOTHUB_BENCH_NULLSERVER"
	pinnedVariable = "IOTHUB_BENCH_NULLSERVER_PINNED"
)

// hello is what the child tells its parent.
type hello struct {
	Addr string `json:"addr"`
	CA   string `json:"ca"`
}

// Main runs the server and exits if the process was started by [Start];
// otherwise it returns at once. Call it first in main.
func Main() {
	if os.Getenv(modeVariable) == "" {
		return
	}
	pin()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "null server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run() error {
	runtime.GOMAXPROCS(1)
	cert, err := selfcert.New()
	if err != nil {
		return err
	}
	pair, err := cert.TLS()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(hello{Addr: l.Addr().String(), CA: string(cert.CertPEM)})
	if err != nil {
		return err
	}
	go func() {
		// The parent holds the other end: its end, however it comes, is ours.
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Close()
	}()
	err = serve(l, &tls.Config{
		Certificates:                []tls.Certificate{pair},
		MinVersion:                  tls.VersionTLS12,
		DynamicRecordSizingDisabled: true,
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Server is a running null server.
type Server struct {
	// Addr is host:port.
	Addr string
	// Roots verifies the server's certificate.
	Roots *x509.CertPool
	// CA is the same certificate as PEM.
	CA []byte

	cmd   *exec.Cmd
	stdin io.Closer
}

// Start starts a server and returns when it listens.
func Start() (*Server, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), modeVariable+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Server{cmd: cmd, stdin: stdin}
	stop := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	var h hello
	if err := json.NewDecoder(stdout).Decode(&h); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("null server did not start: %w", err)
	}
	s.Addr, s.CA = h.Addr, []byte(h.CA)
	if s.Roots, err = selfcert.Pool(s.CA); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the server and waits for it.
func (s *Server) Close() error {
	_ = s.stdin.Close()
	kill := time.AfterFunc(2*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	return s.cmd.Wait()
}
