// Package nullamqp is an AMQP server over TLS that lets everybody in, attaches
// every link and pours one and the same message into it, encoded beforehand, for
// as long as there is credit: what a benchmark against it measures is the client.
package nullamqp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/iothub-go/iothub/bench/internal/child"
	"github.com/iothub-go/iothub/bench/internal/selfcert"
)

const childName = "null AMQP server"

// config is what the server's process is told.
type config struct {
	Messages map[string][]byte `json:"messages"`
}

// hello is what it tells its parent.
type hello struct {
	Addr string `json:"addr"`
	CA   string `json:"ca"`
}

// Main is [child.Main] of the server.
func Main() { child.Main(childName, run) }

func run(c config) error {
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
	tlsConfig := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true,
	}
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			s := &server{nc: tls.Server(nc, tlsConfig), messages: c.Messages}
			_ = s.serve() // the client sees what went wrong, too
		}()
	}
}

// Server is a running server.
type Server struct {
	// Addr is host:port.
	Addr string
	// Roots verifies the server's certificate.
	Roots *x509.CertPool

	process *child.Process
}

// Start starts a server and returns when it listens. messages are encoded AMQP
// messages by the source address of the links into which they are poured.
func Start(messages map[string][]byte) (*Server, error) {
	for address, m := range messages {
		if len(m) > largest {
			return nil, fmt.Errorf("the message for %s has %d bytes, at most %d fit", address, len(m), largest)
		}
	}
	var h hello
	p, err := child.Command{Name: childName, Config: config{messages}}.Start(&h)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: h.Addr, process: p}
	if s.Roots, err = selfcert.Pool([]byte(h.CA)); err != nil {
		p.Kill()
		return nil, err
	}
	return s, nil
}

// Close ends the server and waits for it.
func (s *Server) Close() error { return s.process.Close() }
