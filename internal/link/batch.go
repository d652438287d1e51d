package link

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

// flushSize is how much ciphertext goes to the kernel in one call. TLS makes
// records of 16 KiB and writes each by itself; gathering some of them saves
// most of the system calls of a busy connection.
const (
	flushSize  = 64 << 10
	recordSize = 16 << 10
	bufferSize = flushSize + recordSize + 1<<10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, bufferSize); return &b }}

// batchConn is a TLS connection that can write many pieces in few system
// calls. Everything else is the TLS connection's.
type batchConn struct {
	*tls.Conn
	below *gather
}

// newBatchConn returns a client connection over raw, not yet shaken hands.
func newBatchConn(raw net.Conn, cfg *tls.Config) *batchConn {
	g := &gather{Conn: raw}
	return &batchConn{Conn: tls.Client(g, cfg), below: g}
}

// writeBatch writes pieces in order. On error n is what TLS took, not what the
// network did; the connection is of no use then anyway.
func (c *batchConn) writeBatch(pieces [][]byte) (n int, err error) {
	if len(pieces) == 1 && len(pieces[0]) <= recordSize {
		return c.Conn.Write(pieces[0])
	}
	c.below.hold()
	for _, p := range pieces {
		var k int
		k, err = c.Conn.Write(p)
		n += k
		if err != nil {
			break
		}
	}
	if e := c.below.release(); err == nil {
		err = e
	}
	return n, err
}

// gather is what TLS writes to. While held it keeps records together.
type gather struct {
	net.Conn

	mu  sync.Mutex // TLS may answer a key update while a batch is held
	buf *[]byte    // nil when not held
}

func (g *gather) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf == nil {
		return g.Conn.Write(p)
	}
	*g.buf = append(*g.buf, p...)
	if len(*g.buf) >= flushSize {
		return len(p), g.flush()
	}
	return len(p), nil
}

// NetConn returns what is below, for HardClose.
func (g *gather) NetConn() net.Conn { return g.Conn }

func (g *gather) hold() {
	g.mu.Lock()
	g.buf = buffers.Get().(*[]byte)
	g.mu.Unlock()
}

func (g *gather) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.flush()
	buffers.Put(g.buf)
	g.buf = nil
	return err
}

func (g *gather) flush() error {
	if len(*g.buf) == 0 {
		return nil
	}
	_, err := g.Conn.Write(*g.buf)
	*g.buf = (*g.buf)[:0]
	return err
}

// WriteAll writes pieces in order and returns how many bytes went.
func WriteAll(conn net.Conn, pieces [][]byte) (n int, err error) {
	if c, ok := conn.(interface{ writeBatch([][]byte) (int, error) }); ok {
		return c.writeBatch(pieces)
	}
	for _, b := range pieces {
		k, err := conn.Write(b)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// maxDiscard bounds what Linger reads.
const maxDiscard = 16 << 20

// Linger closes a connection on which goodbye was said. It half-closes it and drops what
// still arrives until the peer has closed its side, or the deadline has passed: closing a
// socket with unread bytes resets it, and a reset discards what the peer has not read yet,
// such as the goodbye and what went before it.
func Linger(conn net.Conn, deadline time.Time) {
	defer HardClose(conn)
	raw := conn
	for c, ok := raw.(layered); ok; c, ok = raw.(layered) {
		raw = c.NetConn()
	}
	if raw.SetReadDeadline(deadline) != nil {
		return
	}
	if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, raw, maxDiscard) // however it ends
}

// layered is a connection that runs on another, as a [tls.Conn] does.
type layered interface{ NetConn() net.Conn }

// HardClose closes the socket under conn at once: no close alert is sent, which
// could wait on a link that is dead.
func HardClose(conn net.Conn) {
	switch c := conn.(type) {
	case *wsConn:
		c.hardClose()
	case layered:
		HardClose(c.NetConn())
	default:
		conn.Close()
	}
}
