package amqpfront

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
	"sync"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// How connections end other than by an error of the network or the codec.
var (
	errClosedByPeer = errors.New("the client closed the connection")
	errDrained      = fmt.Errorf("the hub is shutting down: %w", ErrClosed)
	errIdle         = errors.New("nothing arrived for twice the idle time-out")
	errUnproved     = errors.New("the client has not proved in time who it is")
	errSlow         = errors.New("the client does not read what it is sent")
	errTokenExpired = errors.New("the token has expired (401003)")
)

const smallBuffer = 2 << 10

// conn is one connection. The reader's goroutine owns what is not marked
// otherwise.
type conn struct {
	front    *Front
	nc       net.Conn
	raw      net.Conn // what is below TLS: closing it never blocks
	accepted func()
	started  time.Time

	in   []byte // in[r:w] is unread
	r, w int

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	wg     sync.WaitGroup // links and the writer

	mu        sync.Mutex // guards what follows
	out       output
	dead      bool
	reason    error // why, when it was not the peer
	closing   bool  // only the peer's Close is waited for
	closeSent bool
	opened    bool // Open was answered
	maxFrame  int  // the peer's
	beat      *time.Timer
	expiry    *time.Timer
	proved    bool
	who       string // for the log
	grants    map[string]*grant
	sessions  map[uint16]*session
	links     int      // those included whose goroutine has not ended yet
	held      int      // bytes of deliveries that are not settled
	calls     []func() // to be made when mu is free
}

func newConn(f *Front, nc net.Conn, accepted func()) *conn {
	c := &conn{
		front: f, nc: nc, raw: nc, accepted: accepted, started: time.Now(),
		in: make([]byte, smallBuffer), maxFrame: amqp.MinMaxFrameSize,
		grants: make(map[string]*grant), sessions: make(map[uint16]*session),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.out.waiting = make(map[*link]struct{})
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		c.raw = t.NetConn()
	}
	return c
}

func (c *conn) certificates() []*x509.Certificate {
	if t, ok := c.nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return t.ConnectionState().PeerCertificates
	}
	return nil
}

// Kill closes the connection at once. It never blocks and may be called from
// anywhere, more than once: the first reason counts.
func (c *conn) Kill(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killLocked(reason)
}

func (c *conn) killLocked(reason error) {
	if c.dead {
		return
	}
	c.dead, c.reason = true, reason
	c.cancel()
	_ = c.raw.Close() // it is being given up
}

// Drain tells the client that the hub goes, and waits for it to close.
func (c *conn) Drain() {
	c.closeWith(&amqp.Error{Condition: amqp.ErrCondConnectionForced, Description: "the hub is shutting down"}, errDrained)
}

// closeWith closes the connection with an error and leaves it to the reader to
// wait for the answer.
func (c *conn) closeWith(e *amqp.Error, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(e, reason)
}

func (c *conn) closeLocked(e *amqp.Error, reason error) {
	if c.dead || c.closing {
		return
	}
	c.closing = true
	if c.reason == nil {
		c.reason = reason
	}
	if c.opened {
		c.frameLocked(amqp.FrameAMQP, 0, &amqp.Close{Error: e})
		c.closeSent = true
		c.flushLocked()
	}
	c.cancel()
	// The reader looks at closing after it has set a deadline of its own, so one
	// of the two always takes effect.
	_ = c.nc.SetReadDeadline(time.Now().Add(closeTimeout)) // fails only if it is closed
}

// serve runs the connection from the protocol header to its end.
func (c *conn) serve() error {
	err := c.run()
	c.mu.Lock()
	if !c.dead && !c.closing {
		if e := closeError(err); e != nil {
			c.closeLocked(e, err)
		}
	}
	for _, s := range c.sessions {
		s.dropLocked()
	}
	calls := c.takeCallsLocked()
	c.stopTimersLocked()
	c.mu.Unlock()
	run(calls)
	_ = c.nc.SetWriteDeadline(time.Now().Add(closeTimeout)) // fails only if it is closed
	c.settleOutput()
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	if !dead {
		head.Linger(c.nc, c.raw, closeTimeout)
	}
	c.Kill(err)
	c.wg.Wait()
	return c.ended(err)
}

func (c *conn) stopTimersLocked() {
	if c.beat != nil {
		c.beat.Stop()
	}
	if c.expiry != nil {
		c.expiry.Stop()
	}
}

func (c *conn) takeCallsLocked() []func() {
	calls := c.calls
	c.calls = nil
	return calls
}

func run(calls []func()) {
	for _, f := range calls {
		f()
	}
}

// ended returns why the connection ended: the first reason given is the cause, the
// error of the reader only what followed from it.
func (c *conn) ended(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return c.reason
	}
	return err
}

// closeError gives what a client is told about the end of its connection; nil is
// nothing, because there is nobody to tell.
func closeError(err error) *amqp.Error {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, amqp.ErrMalformed):
		return &amqp.Error{Condition: amqp.ErrCondDecode, Description: err.Error()}
	case errors.Is(err, amqp.ErrTooLarge):
		return &amqp.Error{Condition: amqp.ErrCondFraming, Description: err.Error()}
	case errors.Is(err, errUnproved):
		return &amqp.Error{Condition: amqp.ErrCondUnauthorized, Description: err.Error()}
	case errors.Is(err, errIdle):
		return &amqp.Error{Condition: amqp.ErrCondResourceLimit, Description: err.Error()}
	}
	return nil
}

// run reads and handles frames until the connection ends.
func (c *conn) run() error {
	if err := c.start(); err != nil {
		return err
	}
	for {
		frame, err := c.readFrame()
		if err != nil {
			return err
		}
		if err := c.handle(frame); err != nil {
			return err
		}
	}
}

// readFrame returns the next frame, which is good until the next call.
func (c *conn) readFrame() ([]byte, error) {
	for {
		src := c.in[c.r:c.w]
		n, err := amqp.FrameLen(src, maxFrame)
		if err != nil {
			return nil, err
		}
		if n > 0 && n <= len(src) {
			c.r += n
			return src[:n:n], nil
		}
		if err := c.fill(n); err != nil {
			return nil, err
		}
	}
}

// fill reads once, into a buffer that has room for need bytes in a row.
func (c *conn) fill(need int) error {
	switch {
	case need > len(c.in):
		// Frames come in rows: the next one likely needs the room as well.
		larger := make([]byte, max(need, min(2*len(c.in), maxFrame)))
		c.w = copy(larger, c.in[c.r:c.w])
		c.in, c.r = larger, 0
	case c.r == c.w:
		c.r, c.w = 0, 0
		if len(c.in) > 4*smallBuffer && need == 0 && !c.more() {
			c.in = make([]byte, smallBuffer)
		}
	case c.r > 0:
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	n, err := c.read(c.in[c.w:])
	c.w += n
	if n > 0 {
		return nil // an error comes again with the next read
	}
	return err
}

// more reports whether the client is in the middle of something, so that a large
// buffer is worth keeping.
func (c *conn) more() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held > 0
}

// read waits for bytes for as long as the client may be silent.
func (c *conn) read(p []byte) (int, error) {
	c.mu.Lock()
	proved, closing := c.proved, c.closing
	c.mu.Unlock()
	deadline, late := time.Now().Add(idleGrace), errIdle
	if !proved {
		deadline, late = c.started.Add(c.front.cfg.ConnectTimeout), errUnproved
	}
	if !closing {
		if err := c.nc.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		c.mu.Lock()
		closing = c.closing
		c.mu.Unlock()
		if closing {
			_ = c.nc.SetReadDeadline(time.Now().Add(closeTimeout)) // see closeLocked
		}
	}
	n, err := c.nc.Read(p)
	switch {
	case err == nil || n > 0:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, late
	case errors.Is(err, io.EOF):
		return 0, fmt.Errorf("the client closed the connection without Close: %w", err)
	}
	return 0, err
}

// logEnd writes the one line about the end of the connection.
func (c *conn) logEnd(err error) {
	level := slog.LevelWarn
	_, network := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, errClosedByPeer), errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
		level = slog.LevelDebug
	case errors.Is(err, io.EOF), errors.Is(err, errIdle), errors.Is(err, errTokenExpired), network:
		level = slog.LevelInfo
	}
	c.front.log.Log(context.Background(), level, "amqp: connection closed",
		"client", c.who, "remote", c.raw.RemoteAddr().String(), "reason", err)
}

// handle handles one frame.
func (c *conn) handle(frame []byte) error {
	t, channel, body, err := amqp.DecodeFrame(frame)
	if err != nil {
		return err
	}
	if t != amqp.FrameAMQP {
		return &amqp.Error{Condition: amqp.ErrCondFraming, Description: fmt.Sprintf("a frame of type %d where AMQP is spoken", t)}
	}
	if len(body) == 0 {
		return nil // a sign of life
	}
	code, err := amqp.PeekCode(body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	if code == amqp.CodeClose {
		return c.closedByPeer(body)
	}
	if closing {
		return nil // crossed with our Close
	}
	if code == amqp.CodeAttach {
		return c.handleAttach(channel, body)
	}
	c.mu.Lock()
	err = c.performativeLocked(code, channel, body)
	c.flushLocked()
	calls := c.takeCallsLocked()
	c.mu.Unlock()
	run(calls)
	return err
}

// closedByPeer answers Close.
func (c *conn) closedByPeer(body []byte) error {
	var p amqp.Close
	if err := p.Decode(body); err != nil {
		return err
	}
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		c.frameLocked(amqp.FrameAMQP, 0, &amqp.Close{})
		c.closeSent = true
		c.flushLocked()
	}
	c.mu.Unlock()
	if p.Error != nil {
		return fmt.Errorf("%w: %w", errClosedByPeer, p.Error)
	}
	return errClosedByPeer
}

// now is the hub's time, by which tokens count.
func (c *conn) now() time.Time { return c.front.hub.Now() }

// addGrant remembers what a client has proved itself with.
func (c *conn) addGrant(name string, g *grant) error {
	c.mu.Lock()
	if c.grants[name] == nil && len(c.grants) >= maxGrants {
		c.mu.Unlock()
		return &core.Error{Status: 403, Code: 403005, Name: "IotHubMaxCbsTokenExceeded",
			Message: fmt.Sprintf("the connection has %d tokens already", maxGrants)}
	}
	c.grants[name] = g
	if c.who == "" {
		c.who = g.who
	}
	first := !c.proved
	c.proved = true
	c.watchLocked()
	c.mu.Unlock()
	if first && c.accepted != nil {
		c.accepted()
	}
	return nil
}
