package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/iothub-go/iothub"
)

// Dialer opens secure connections to one host.
type Dialer struct {
	addr    string
	timeout time.Duration
	tls     *tls.Config
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	dialTLS func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewDialer returns a dialer for peer, a host name with or without a port, as
// o says. cert is the client certificate, nil for none.
func NewDialer(peer, defaultPort string, cert *tls.Certificate, o *iothub.ClientOptions) (*Dialer, error) {
	host, port := peer, defaultPort
	if h, p, err := net.SplitHostPort(peer); err == nil {
		host, port = h, p
	}
	if host == "" {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument, Err: fmt.Errorf("host name %q has no host", peer)}
	}
	cfg := &tls.Config{}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	// Full records from the start: the client writes in batches, so small
	// first records would save no latency and cost throughput.
	cfg.DynamicRecordSizingDisabled = true
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if cfg.ClientSessionCache == nil {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	d := &Dialer{addr: net.JoinHostPort(host, port), timeout: o.ConnectTimeout, tls: cfg, dial: o.Dial, dialTLS: o.DialTLS}
	if d.dial == nil {
		d.dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	return d, nil
}

// Dial opens a connection within the connect timeout. Errors are
// *iothub.Error of kind KindNetwork or KindTLS.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if d.dialTLS != nil {
		conn, err := d.dialTLS(ctx, "tcp", d.addr)
		return conn, networkError(err)
	}
	raw, err := d.dial(ctx, "tcp", d.addr)
	if err != nil {
		return nil, networkError(err)
	}
	conn := newBatchConn(raw, d.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, d.handshakeError(err)
	}
	return conn, nil
}

func networkError(err error) error {
	if err == nil {
		return nil
	}
	return &iothub.Error{Op: "connect", Kind: iothub.KindNetwork, Retryable: true, Err: err}
}

// handshakeError says what to do about the usual first-contact failures.
func (d *Dialer) handshakeError(err error) error {
	e := &iothub.Error{Op: "connect", Kind: iothub.KindTLS, Retryable: true, Err: err}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		e.Err = fmt.Errorf("%w: %s has a certificate of an authority this machine does not know; for a local hub put its ca.pem into ClientOptions.TLS.RootCAs", err, d.addr)
	} else if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		e.Err = fmt.Errorf("%w: %s does not speak TLS; is the port right?", err, d.addr)
	}
	return e
}

// Host returns host without a port.
func Host(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}
