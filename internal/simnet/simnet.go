// Package simnet is a network for tests: connections in memory whose latency,
// rate and faults are chosen by the byte, made to run in the virtual time of
// testing/synctest (everything in it blocks on condition variables and timers
// only).
package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Fault is what happens to one direction of a connection.
type Fault uint8

// The faults.
const (
	None  Fault = iota
	Reset       // both ends get ECONNRESET
	Hole        // bytes of this direction vanish, and nobody is told
	EOF         // both directions end cleanly, as when a peer exits
)

// Direction describes one direction of a connection.
type Direction struct {
	Latency time.Duration
	Rate    int // bytes a second; 0 is unlimited
	Fault   Fault
	After   int // bytes that pass before the fault
}

// Plan describes one connection.
type Plan struct {
	Refuse    error         // Dial fails with it
	DialDelay time.Duration // before Dial returns, either way
	Silent    bool          // Dial waits until its context ends
	Up, Down  Direction     // to the server, to the client
}

// Window is how many bytes a direction holds before Write blocks.
const Window = 64 << 10

// Network connects clients with one server.
type Network struct {
	// Plan returns the plan of the n-th dial, from 0; nil is all perfect.
	Plan func(n int) Plan

	mu      sync.Mutex
	dials   int
	pipes   []*pipe // of every connection so far
	accept  chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

// New returns a network. plan may be nil.
func New(plan func(n int) Plan) *Network {
	return &Network{Plan: plan, accept: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial has the signature of ClientOptions.Dial and DialTLS.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	number := n.dials
	n.dials++
	n.mu.Unlock()
	var p Plan
	if n.Plan != nil {
		p = n.Plan(number)
	}
	if p.Silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if p.DialDelay > 0 {
		t := time.NewTimer(p.DialDelay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if p.Refuse != nil {
		return nil, &net.OpError{Op: "dial", Net: "sim", Err: p.Refuse}
	}
	client, server := Pair(p.Up, p.Down)
	n.mu.Lock()
	n.pipes = append(n.pipes, client.(*conn).in, client.(*conn).out)
	n.mu.Unlock()
	select {
	case n.accept <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.closed:
		return nil, &net.OpError{Op: "dial", Net: "sim", Err: syscall.ECONNREFUSED}
	}
}

// BlackHole makes every connection there is a hole in both directions, from now
// on: what is written vanishes, and nobody is told.
func (n *Network) BlackHole() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pipes {
		p.mu.Lock()
		p.d.Fault, p.broken = Hole, true
		p.mu.Unlock()
	}
	n.pipes = nil
}

// Dials returns the number of dials so far.
func (n *Network) Dials() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

// Accept implements net.Listener.
func (n *Network) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: dials are refused from now on.
func (n *Network) Close() error {
	n.closing.Do(func() { close(n.closed) })
	return nil
}

// Addr implements net.Listener.
func (n *Network) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "sim" }
func (addr) String() string  { return "sim" }

// Pair returns the two ends of a connection.
func Pair(up, down Direction) (client, server net.Conn) {
	u, d := newPipe(up), newPipe(down)
	u.reverse, d.reverse = d, u
	return &conn{in: d, out: u}, &conn{in: u, out: d}
}

// pipe is one direction.
type pipe struct {
	d       Direction
	reverse *pipe

	mu       sync.Mutex
	changed  sync.Cond
	arriving []chunk
	size     int       // bytes in arriving
	passed   int       // bytes accepted so far
	free     time.Time // when the line has sent what it has
	err      error     // for the reader, once arriving is empty (at once for a reset)
	werr     error     // for the writer
	broken   bool      // the fault has happened
	rdl, wdl deadline
}

type chunk struct {
	at time.Time
	b  []byte
}

func newPipe(d Direction) *pipe {
	p := &pipe{d: d}
	p.changed.L = &p.mu
	return p
}

// wakeAt wakes all who wait on p at t.
func (p *pipe) wakeAt(t time.Time) {
	time.AfterFunc(time.Until(t), func() {
		p.mu.Lock()
		p.changed.Broadcast()
		p.mu.Unlock()
	})
}

func (p *pipe) write(b []byte) (n int, err error) {
	for len(b) > 0 {
		k, fault, err := p.accept(b)
		n += k
		b = b[k:]
		if err != nil {
			return n, err
		}
		switch fault {
		case Reset:
			p.fail(syscall.ECONNRESET, true)
			p.reverse.fail(syscall.ECONNRESET, true)
			return n, syscall.ECONNRESET
		case EOF:
			p.fail(io.EOF, false)
			p.reverse.fail(io.EOF, false)
			return n, syscall.EPIPE
		}
	}
	return n, nil
}

// accept takes as much of b as the window and the fault let it.
func (p *pipe) accept(b []byte) (n int, fault Fault, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.werr == nil && !p.wdl.passed() && p.size >= Window {
		p.changed.Wait()
	}
	if p.werr != nil {
		return 0, None, p.werr
	}
	if p.wdl.passed() {
		return 0, None, os.ErrDeadlineExceeded
	}
	n = min(len(b), Window-p.size)
	if p.d.Fault != None && !p.broken && p.passed+n >= p.d.After {
		n = max(p.d.After-p.passed, 0)
		p.broken = true
		if p.d.Fault != Hole {
			fault = p.d.Fault
		}
	} else if p.broken {
		p.size += n // a hole: accepted until the window is full, never delivered
		return n, None, nil
	}
	p.passed += n
	if n == 0 {
		return 0, fault, nil
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	if p.d.Rate > 0 {
		p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.d.Rate))
	}
	at := p.free.Add(p.d.Latency)
	p.arriving = append(p.arriving, chunk{at, append([]byte(nil), b[:n]...)})
	p.size += n
	if at.After(now) {
		p.wakeAt(at)
	} else {
		p.changed.Broadcast()
	}
	return n, fault, nil
}

// fail ends the direction with err: at once, or after what is under way.
func (p *pipe) fail(err error, now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || now {
		p.err = err
	}
	if p.werr == nil {
		p.werr = syscall.EPIPE
		if errors.Is(err, syscall.ECONNRESET) {
			p.werr = err
		}
	}
	if now {
		p.arriving, p.size = nil, 0
	}
	p.changed.Broadcast()
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.rdl.passed() {
			return 0, os.ErrDeadlineExceeded
		}
		if len(p.arriving) > 0 && !time.Now().Before(p.arriving[0].at) {
			n := copy(b, p.arriving[0].b)
			p.arriving[0].b = p.arriving[0].b[n:]
			if len(p.arriving[0].b) == 0 {
				p.arriving = p.arriving[1:]
			}
			p.size -= n
			p.changed.Broadcast()
			return n, nil
		}
		if p.err != nil && len(p.arriving) == 0 {
			return 0, p.err
		}
		p.changed.Wait()
	}
}

// deadline is a time after which an operation fails.
type deadline struct{ t time.Time }

func (d deadline) passed() bool { return !d.t.IsZero() && !time.Now().Before(d.t) }

func (p *pipe) setDeadline(d *deadline, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.t = t
	p.changed.Broadcast()
	if !t.IsZero() && time.Now().Before(t) {
		p.wakeAt(t)
	}
}

// conn is one end.
type conn struct{ in, out *pipe }

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close ends both directions: what was written arrives, then EOF, unless the
// direction has a hole, in which nobody hears of it.
func (c *conn) Close() error {
	c.out.mu.Lock()
	lost := c.out.broken && c.out.d.Fault == Hole
	c.out.mu.Unlock()
	if !lost {
		c.out.fail(io.EOF, false)
	}
	c.in.fail(net.ErrClosed, true)
	c.out.mu.Lock()
	c.out.werr = net.ErrClosed
	c.out.changed.Broadcast()
	c.out.mu.Unlock()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return addr{} }
func (c *conn) RemoteAddr() net.Addr { return addr{} }

func (c *conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.rdl, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.wdl, t)
	return nil
}
