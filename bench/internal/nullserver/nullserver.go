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
	"errors"
	"net"

	"github.com/iothub-go/iothub/bench/internal/child"
	"github.com/iothub-go/iothub/bench/internal/selfcert"
)

const childName = "null server"

// hello is what the child tells its parent.
type hello struct {
	Addr string `json:"addr"`
	CA   string `json:"ca"`
}

// Main is [child.Main] of the null server.
func Main() { child.Main(childName, run) }

func run(struct{}) error {
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
	if err := child.Ready(hello{Addr: l.Addr().String(), CA: string(cert.CertPEM)}); err != nil {
		return err
	}
	go func() {
		child.Wait()
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

	process *child.Process
}

// Start starts a server and returns when it listens.
func Start() (*Server, error) {
	var h hello
	p, err := child.Command{Name: childName, Pinned: true}.Start(&h)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: h.Addr, CA: []byte(h.CA), process: p}
	if s.Roots, err = selfcert.Pool(s.CA); err != nil {
		p.Kill()
		return nil, err
	}
	return s, nil
}

// Close ends the server and waits for it.
func (s *Server) Close() error { return s.process.Close() }
