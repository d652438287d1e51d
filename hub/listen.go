package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Protocol is what a listener speaks.
type Protocol string

// The protocols.
const (
	// MQTT is MQTT 3.1.1 over TLS; its port is 8883.
	MQTT Protocol = "MQTT"
	// HTTPS is the REST API, and MQTT and AMQP over WebSockets at
	// /$iothub/websocket; its port is 443.
	HTTPS Protocol = "HTTPS"
	// AMQP is AMQP 1.0 over TLS; its port is 5671.
	AMQP Protocol = "AMQP"
	// AMQPPlain is AMQP 1.0 without TLS, for Event Hubs clients that are told to
	// use a development emulator; its port is 5672. Tokens and messages are in the
	// clear: listen on a loopback address.
	AMQPPlain Protocol = "AMQPPlain"
)

// Port is the standard port of the protocol, the one that Azure's clients have
// built in; 0 for an unknown protocol.
func (p Protocol) Port() int {
	switch p {
	case MQTT:
		return 8883
	case HTTPS:
		return 443
	case AMQP:
		return 5671
	case AMQPPlain:
		return 5672
	}
	return 0
}

// maxAcceptPause bounds the pause after an accept that failed.
const maxAcceptPause = time.Second

// Listen binds a TCP address, for example "127.0.0.1:8883" or ":0", and serves
// it in the background until Shutdown. It returns the address bound.
func (s *Server) Listen(p Protocol, addr string) (net.Addr, error) {
	if p.Port() == 0 {
		return nil, fmt.Errorf("hub: unknown protocol %q", p)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(s.ctx, "tcp", addr)
	if s.isClosed() {
		if err == nil {
			_ = l.Close()
		}
		return nil, ErrServerClosed
	}
	if err != nil {
		return nil, fmt.Errorf("hub: %s: %w", p, err)
	}
	if err := s.add(p, l); err != nil {
		return nil, err
	}
	go func() {
		defer s.remove(l)
		if err := s.accept(p, l); !errors.Is(err, ErrServerClosed) {
			s.log.Error("a listener has ended", "protocol", p, "address", l.Addr().String(), "error", err)
		}
	}()
	return l.Addr(), nil
}

// Serve accepts connections from l, which carries plain TCP or the like: the
// server adds TLS. It returns ErrServerClosed after Shutdown, and otherwise only
// when l has been closed. l is closed in the end.
func (s *Server) Serve(p Protocol, l net.Listener) error {
	if p.Port() == 0 {
		_ = l.Close()
		return fmt.Errorf("hub: unknown protocol %q", p)
	}
	if err := s.add(p, l); err != nil {
		return err
	}
	defer s.remove(l)
	return s.accept(p, l)
}

// add registers a listener and counts its accept loop.
func (s *Server) add(p Protocol, l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		_ = l.Close()
		return ErrServerClosed
	}
	s.listeners[l] = p
	if s.addrs[p] == nil {
		s.addrs[p] = l.Addr()
	}
	s.wg.Add(1)
	return nil
}

func (s *Server) remove(l net.Listener) {
	_ = l.Close() // most often it is already
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	s.wg.Done()
}

func (s *Server) accept(p Protocol, l net.Listener) error {
	s.log.Info("listening", "protocol", p, "address", l.Addr().String())
	g := &gateListener{Listener: l, server: s, protocol: p}
	if p == HTTPS {
		_ = s.http.Serve(tls.NewListener(g, s.tls.https)) // g says better why
		return g.end()
	}
	for {
		nc, err := g.Accept()
		if err != nil {
			return g.end()
		}
		s.wg.Add(1) // from within a counted loop
		switch p {
		case AMQPPlain:
			go s.serveAMQP(nc)
		case AMQP:
			go s.handshake(nc, s.amqp.ServeConn)
		default:
			go s.handshake(nc, s.mqtt.ServeConn)
		}
	}
}

// serveConn is how a protocol head takes a connection.
type serveConn func(ctx context.Context, nc net.Conn, accepted func()) error

// handshake does the TLS handshake of a connection and hands it over. It runs on a
// goroutine of its own, since it needs much stack, and a connection that then
// idles for days does not.
func (s *Server) handshake(nc net.Conn, serve serveConn) {
	defer s.wg.Done()
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.HandshakeTimeout)
	defer cancel()
	t := tls.Server(nc, s.tls.mqtt)
	if err := t.HandshakeContext(ctx); err != nil {
		s.logHandshake(nc, err)
		_ = nc.Close()
		return
	}
	s.wg.Go(func() {
		// The front says in the log why it ended, and closes it.
		_ = serve(context.Background(), t, func() { leave(t) })
	})
}

// serveAMQP serves a connection without TLS. wg is counted.
func (s *Server) serveAMQP(nc net.Conn) {
	defer s.wg.Done()
	_ = s.amqp.ServeConn(context.Background(), nc, func() { leave(nc) }) // says in the log why it ended
}

// logHandshake writes why a handshake failed, with advice where the cause is a
// common one.
func (s *Server) logHandshake(nc net.Conn, err error) {
	level, advice := slog.LevelInfo, ""
	var notTLS tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.Is(err, io.EOF), s.isClosed():
		level = slog.LevelDebug // port scans and health checks
	case errors.As(err, &notTLS):
		advice = "the client does not speak TLS"
	case errors.As(err, &alert), isRemoteAlert(err):
		advice = "does the client trust the CA of this hub (ca.pem), and is the name it dialled among the host names?"
	}
	attrs := []any{"remote", nc.RemoteAddr().String(), "error", err}
	if advice != "" {
		attrs = append(attrs, "advice", advice)
	}
	s.log.Log(context.Background(), level, "TLS handshake failed", attrs...)
}

func isRemoteAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// gateListener admits connections while fewer than the bound are unproved, and
// keeps accepting when the system is out of something for a while.
type gateListener struct {
	net.Listener
	server   *Server
	protocol Protocol

	mu  sync.Mutex
	err error
}

// Accept waits for a connection and a slot for it. An error is the end of the
// listener.
func (g *gateListener) Accept() (net.Conn, error) {
	s := g.server
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, maxAcceptPause) {
		nc, err := g.Listener.Accept()
		switch {
		case err == nil:
			// It waits here, with at most one per listener; the others do in
			// the backlog of the system.
			select {
			case s.slots <- struct{}{}:
				return &gateConn{Conn: nc, slots: s.slots}, nil
			case <-s.ctx.Done():
				_ = nc.Close() // nothing was promised to it
				return nil, g.ended(ErrServerClosed)
			}
		case s.isClosed():
			return nil, g.ended(ErrServerClosed)
		case errors.Is(err, net.ErrClosed):
			return nil, g.ended(err)
		}
		// Out of file descriptors, a connection gone before it was accepted: no
		// reason to stop serving.
		s.log.Warn("accept failed", "protocol", g.protocol, "error", err, "retry", pause)
		if !s.pause(pause) {
			return nil, g.ended(ErrServerClosed)
		}
	}
}

// Close closes the listener. The server and net/http both do; that is no error.
func (g *gateListener) Close() error {
	if err := g.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// pause waits and reports whether the server is still open.
func (s *Server) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (g *gateListener) ended(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	return err
}

// end is why the accept loop has ended.
func (g *gateListener) end() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil || g.server.isClosed() {
		return ErrServerClosed
	}
	return g.err
}

// gateConn holds a slot until it leaves or closes.
type gateConn struct {
	net.Conn
	slots chan struct{}
	left  atomic.Bool
}

func (c *gateConn) leave() {
	if c.left.CompareAndSwap(false, true) {
		<-c.slots
	}
}

// enter takes a slot again when it had left, if there is one.
func (c *gateConn) enter() bool {
	if !c.left.Load() {
		return true
	}
	select {
	case c.slots <- struct{}{}:
		c.left.Store(false)
		return true
	default:
		return false
	}
}

// Close closes the connection and gives its slot back.
func (c *gateConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite half-closes the connection where it can be.
func (c *gateConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// leave gives back the slot of the connection below nc.
func leave(nc net.Conn) {
	if g := gateOf(nc); g != nil {
		g.leave()
	}
}

// enter sees to it that the connection below nc has a slot, and reports whether
// it could.
func enter(nc net.Conn) bool {
	g := gateOf(nc)
	return g == nil || g.enter()
}

func gateOf(nc net.Conn) *gateConn {
	for {
		switch c := nc.(type) {
		case *gateConn:
			return c
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}
