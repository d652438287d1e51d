package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
)

// Path is one way to the hub.
type Path struct {
	Port      string
	WebSocket *WebSocket // nil is TLS alone
}

// String says which path it is.
func (p Path) String() string {
	if p.WebSocket != nil {
		return "port " + p.Port + " (WebSocket)"
	}
	return "port " + p.Port
}

// Dialer opens secure connections to one host. It serves one client, which has
// one dial under way at a time.
type Dialer struct {
	host    string
	timeout time.Duration
	tls     *tls.Config
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	dialTLS func(ctx context.Context, network, address string) (net.Conn, error)
	proxy   *proxy // nil for none
	log     *slog.Logger
	paths   []Path
	worked  atomic.Int32 // index of the path that worked last
	roots   Roots        // nil for those of tls
}

// Roots returns the authorities to trust for host, as of now.
type Roots func(ctx context.Context, host string) (*x509.CertPool, error)

// NewDialer returns a dialer for host, a name without a port, as o says, that
// tries paths in order. cert is the client certificate, nil for none.
func NewDialer(host string, cert *tls.Certificate, o *iothub.ClientOptions, paths ...Path) (*Dialer, error) {
	if host == "" {
		return nil, &iothub.Error{Op: "options", Kind: iothub.KindInvalidArgument, Err: errors.New("the host name has no host")}
	}
	cfg := &tls.Config{}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	d := &Dialer{host: host, timeout: o.ConnectTimeout, tls: cfg, dial: o.Dial, dialTLS: o.DialTLS, log: o.Logger, paths: paths}
	if u := o.Proxy.URL(); u != nil {
		d.proxy = newProxy(u, cfg.Clone()) // before what is for the hub only
	}
	// Full records from the start: the client writes in batches, so small
	// first records would save no latency and cost throughput.
	cfg.DynamicRecordSizingDisabled = true
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if cfg.ClientSessionCache == nil || cert != nil {
		// A session that is resumed keeps the certificate it began with, so
		// one that comes from elsewhere may bring back a replaced one.
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	if d.dial == nil {
		d.dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	return d, nil
}

// SetRoots makes the dialer ask before each TLS handshake whom to trust, and fail
// with the error of the one it asks. Nil changes nothing. It is called before Dial.
func (d *Dialer) SetRoots(roots Roots) { d.roots = roots }

// Dial opens a connection within the connect timeout: by the path that worked
// last, or else by the first of the others that works. The next path is tried
// when one fails for a reason that may be its own: the network, a firewall, a
// proxy that does not let this port through. Errors are *iothub.Error.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	first := int(d.worked.Load())
	var failed []error
	for i := range d.paths {
		n := (first + i) % len(d.paths)
		conn, err := d.share(ctx, d.paths[n], len(d.paths)-i)
		if err == nil {
			d.worked.Store(int32(n))
			return conn, nil
		}
		if len(d.paths) == 1 || ctx.Err() != nil && i == 0 {
			return nil, err
		}
		failed = append(failed, fmt.Errorf("%v: %w", d.paths[n], err))
		if !othersMayWork(err) {
			break
		}
		if d.log != nil && i+1 < len(d.paths) {
			d.log.Info("trying the other way to the hub", "failed", d.paths[n].String(), "error", err)
		}
	}
	last := failed[len(failed)-1]
	e := &iothub.Error{Op: "connect", Kind: iothub.KindOf(last), Retryable: iothub.Retryable(last), Err: last}
	if len(failed) > 1 {
		e.Err = fmt.Errorf("%w; %w", failed[0], last)
	}
	return nil, e
}

// share tries one path within its share of the time that is left for ways.
func (d *Dialer) share(ctx context.Context, p Path, ways int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && ways > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(ways))
		defer cancel()
	}
	conn, err := d.secure(ctx, p)
	if err != nil || p.WebSocket == nil {
		return conn, err
	}
	return p.WebSocket.dial(ctx, conn, d.host, p.Port)
}

// othersMayWork reports whether err may be due to the path rather than to the
// hub or to what this side presents.
func othersMayWork(err error) bool {
	e, ok := errors.AsType[*iothub.Error](err)
	switch {
	case !ok:
		return false
	case e.Kind == iothub.KindProxy:
		return e.Retryable // not when the proxy wants other credentials
	}
	return e.Kind == iothub.KindNetwork || e.Kind == iothub.KindUnavailable
}

// secure opens a TLS connection.
func (d *Dialer) secure(ctx context.Context, p Path) (net.Conn, error) {
	addr := net.JoinHostPort(d.host, p.Port)
	if d.dialTLS != nil {
		conn, err := d.dialTLS(ctx, "tcp", addr)
		return conn, networkError(err)
	}
	cfg, err := d.config(ctx, p)
	if err != nil {
		return nil, networkError(err)
	}
	raw, err := d.raw(ctx, addr)
	if err != nil {
		return nil, networkError(err)
	}
	conn := newBatchConn(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		HardClose(raw)
		return nil, handshakeError(err, addr)
	}
	return conn, nil
}

// config returns the TLS configuration of a path.
func (d *Dialer) config(ctx context.Context, p Path) (*tls.Config, error) {
	cfg := d.tls
	if d.roots == nil && p.WebSocket == nil {
		return cfg, nil
	}
	cfg = cfg.Clone()
	if p.WebSocket != nil {
		cfg.NextProtos = []string{"http/1.1"}
	}
	if d.roots != nil {
		roots, err := d.roots(ctx, d.host)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = roots
	}
	return cfg, nil
}

// raw opens the connection that TLS runs on.
func (d *Dialer) raw(ctx context.Context, addr string) (net.Conn, error) {
	if d.proxy == nil {
		return d.dial(ctx, "tcp", addr)
	}
	return d.proxy.dial(ctx, d.dial, addr)
}

// networkError makes err an *iothub.Error, of kind KindNetwork unless it has
// one already.
func networkError(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*iothub.Error](err); ok {
		return e
	}
	return &iothub.Error{Op: "connect", Kind: iothub.KindNetwork, Retryable: true, Err: err}
}

// handshakeError says what to do about the usual first-contact failures.
func handshakeError(err error, addr string) error {
	e := &iothub.Error{Op: "connect", Kind: iothub.KindTLS, Retryable: true, Err: err}
	_, alert := errors.AsType[tls.AlertError](err)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		e.Err = fmt.Errorf("%w: %s has a certificate of an authority this machine does not know; for a local hub put its ca.pem into ClientOptions.TLS.RootCAs", err, addr)
	} else if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		e.Err = fmt.Errorf("%w: %s does not speak TLS; is the port right?", err, addr)
	} else if c, ok := errors.AsType[x509.CertificateInvalidError](err); ok && c.Reason == x509.Expired {
		e.Err = fmt.Errorf("%w: is the clock of this machine right?", err)
	} else if !alert && brokenLink(err) {
		e.Kind = iothub.KindNetwork
		e.Err = fmt.Errorf("the connection to %s broke during the TLS handshake: %w", addr, err)
	}
	return e
}

// brokenLink reports whether err came from the network rather than from what
// the peer said.
func brokenLink(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "read" || op.Op == "write")
}

// Host returns host without a port.
func Host(host string) string {
	h, _ := SplitHost(host)
	return h
}

// SplitHost splits a host name that may have a port; without one port is empty.
func SplitHost(host string) (name, port string) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		return h, p
	}
	return host, ""
}
