package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

const (
	// maxWindow is IoT Hub's ceiling on 1.5 times the keep-alive, and what a
	// client gets that asks for none (B.6).
	maxWindow = 1767 * time.Second
	// maxGatewayWindow is the same of IoT Edge, whose keep-alive ends at 10 min (G.3).
	maxGatewayWindow = 15 * time.Minute
	// linger is how long a quiet connection keeps its borrowed buffer.
	linger = 200 * time.Millisecond
	// closeTimeout bounds how long a closing connection waits for the client
	// to take the last bytes.
	closeTimeout = time.Second
)

// How connections end other than by an error of the network or the codec.
var (
	errDisconnected = errors.New("the client disconnected")
	errDrained      = fmt.Errorf("the hub is shutting down: %w", ErrClosed)
	errKeepAlive    = errors.New("keep-alive timeout: nothing arrived for 1.5 times the keep-alive (404104)")
	errTokenExpired = errors.New("the token has expired (401003)")
)

// conn is one connection. The reader's goroutine owns what is not marked
// otherwise.
type conn struct {
	front *Front
	nc    net.Conn
	raw   net.Conn // what is below TLS: closing it never blocks

	// Set once the client has proved who it is.
	id      string // client identifier
	base    []byte // telemetry topic, without its last slash
	att     *core.Attachment
	expires time.Time // zero: never
	window  time.Duration
	session *session // guarded by itself
	will    *core.Event
	// registration is there instead of att when the client is a device to be
	// provisioned.
	registration dps.Registration

	in  inbuf
	out outbox // what goes back, guarded by mu

	deliver delivery // guarded by mu

	draining atomic.Bool
	stopped  atomic.Pointer[error] // why it is drained, when the hub goes on

	mu     sync.Mutex
	room   sync.Cond // the reader waits here for acknowledgements to leave
	dead   bool      // the network connection is closed
	reason error     // why, when it was not the peer
	gone   chan struct{}
}

func newConn(f *Front, nc net.Conn) *conn {
	c := &conn{front: f, nc: nc, raw: nc, gone: make(chan struct{})}
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		c.raw = t.NetConn()
	}
	c.room.L = &c.mu
	c.in.init(&f.buffers)
	c.out.init(c)
	return c
}

// Kill closes the connection at once, without a word to the peer, as MQTT 3.1.1
// demands of a server. It never blocks and may be called from anywhere, more
// than once: the first reason counts.
func (c *conn) Kill(reason error) {
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return
	}
	c.dead, c.reason = true, reason
	close(c.gone)
	c.room.Broadcast()
	c.mu.Unlock()
	_ = c.raw.Close() // it is being given up
}

// Drain ends the reading; serve then sees to the rest.
func (c *conn) Drain() {
	c.draining.Store(true)
	// The reader looks at draining after it has set a deadline of its own, so
	// one of the two always takes effect.
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only if it is closed
	c.mu.Lock()
	c.room.Broadcast()
	c.mu.Unlock()
}

// serve runs the connection from CONNECT to its end.
func (c *conn) serve(accepted func()) error {
	defer c.in.release()
	// Proving who it is takes much stack, and a connection that then idles for
	// days does not: a goroutine's stack seldom shrinks by itself.
	proved := make(chan error, 1)
	go func() { proved <- c.connect() }()
	if err := <-proved; err != nil {
		c.Kill(err)
		return c.ended(err)
	}
	if accepted != nil {
		accepted()
	}
	err := c.loop()
	if errors.Is(err, errDisconnected) || errors.Is(err, c.drained()) {
		c.settle()
	}
	if c.will != nil && !errors.Is(err, errDisconnected) {
		c.publishWill()
	}
	if c.att != nil {
		c.stopDelivery()
		c.att.Detach()
	}
	c.Kill(err)
	return c.ended(err)
}

// ended returns why the connection ended: the reason given to kill is the cause,
// the error of the reader only what followed from it.
func (c *conn) ended(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return c.reason
	}
	return err
}

// loop reads and handles packets until the connection ends.
func (c *conn) loop() error {
	for {
		need, err := c.handleAll()
		// What came before a fault is good.
		if refused := c.out.submit(); refused != nil {
			return refused
		}
		if err != nil {
			return err
		}
		if err := c.out.wait(); err != nil {
			return err
		}
		n, err := c.read(c.in.space(need))
		if err != nil {
			return err
		}
		c.in.w += n
		if n < smallBuffer && c.in.w-c.in.r == n {
			// One small piece at a time: a loan is not worth it.
			c.in.shrink()
		}
	}
}

// handleAll handles every whole packet that has arrived and gathers their
// messages, which alias the read buffer, to be submitted together. It returns
// the length of the packet at the front when that is known.
func (c *conn) handleAll() (need int, err error) {
	for {
		src := c.in.unread()
		n, err := mqtt.PacketLen(src, maxPacket)
		if err != nil {
			return 0, err
		}
		if n == 0 || n > len(src) {
			return n, nil
		}
		if err := c.handle(src[:n:n]); err != nil {
			return 0, err
		}
		c.in.r += n
	}
}

// read waits for bytes for as long as the keep-alive and the token allow.
func (c *conn) read(p []byte) (int, error) {
	now := time.Now()
	until, late := now.Add(c.window), errKeepAlive
	if !c.expires.IsZero() && c.expires.Before(until) {
		until, late = c.expires, errTokenExpired
	}
	for {
		if !now.Before(until) {
			return 0, late
		}
		deadline := until
		if c.in.lent() && c.in.r == c.in.w {
			if soon := now.Add(linger); soon.Before(until) {
				deadline = soon
			}
		}
		n, err := c.readUntil(p, deadline)
		if n > 0 {
			return n, nil // an error comes again with the next read
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		now = time.Now()
		// It may have been the loan that ran out.
		c.in.shrink()
		p = c.in.space(0)
	}
}

// readUntil reads once. A timeout leaves a TLS connection usable for reading.
func (c *conn) readUntil(p []byte, deadline time.Time) (int, error) {
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	if c.draining.Load() {
		return 0, c.drained()
	}
	n, err := c.nc.Read(p)
	switch {
	case err == nil || n > 0:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if c.draining.Load() {
			return 0, c.drained()
		}
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the client closed the connection without DISCONNECT: %w", err)
	}
	return 0, err
}

// settle lets the messages that were accepted become durable and their
// acknowledgements go out, and then says goodbye in a way that does not make the
// peer lose them: closing a socket with unread bytes resets it, and a reset
// discards what the peer has not read yet.
func (c *conn) settle() {
	c.out.flush()
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	if !dead {
		head.Linger(c.nc, c.raw, closeTimeout)
	}
}

// publishWill hands the will to the hub. Nobody waits for it. [MQTT-3.1.2-8]
func (c *conn) publishWill() {
	err := c.att.Ingest([]core.Event{*c.will}, func(err error) {
		if err != nil {
			c.front.log.Warn("mqtt: a will was not stored", "client", c.id, "error", err)
		}
	})
	if err != nil {
		c.front.log.Warn("mqtt: a will was not accepted", "client", c.id, "error", err)
	}
}

// logEnd writes the one line about the end of the connection.
func (c *conn) logEnd(err error) {
	level := slog.LevelWarn
	switch {
	case errors.Is(err, errDisconnected), errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
		level = slog.LevelDebug
	case errors.Is(err, io.EOF), errors.Is(err, errKeepAlive), errors.Is(err, errTokenExpired),
		errors.Is(err, &core.Error{Code: core.CodeConnectionForcefullyClosed}),
		errors.Is(err, &core.Error{Code: core.CodeFaultInjection}), isNetwork(err):
		level = slog.LevelInfo
	}
	c.front.log.Log(context.Background(), level, "mqtt: connection closed",
		"client", c.id, "remote", c.raw.RemoteAddr().String(), "reason", err)
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}
