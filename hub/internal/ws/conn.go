// Package ws is the server's end of WebSockets that carry a binary protocol. It
// gives what a protocol head expects: a net.Conn, on which a packet may span
// frames and a frame hold many packets.
//
// The opening handshake is that of github.com/coder/websocket. The frames are
// taken off here, because that library's net.Conn ends the connection when the
// deadline of a read passes, while the heads use deadlines to look up from
// reading and go on, and because its buffers would be half of what an idle
// connection costs: here one costs a few hundred bytes beyond TLS, and a busy
// one is decoded in the reader's own buffer.
package ws

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// controlTimeout bounds the writing of a control frame.
const controlTimeout = 5 * time.Second

// chunk is what goes to TLS in one piece: header and payload of a frame as long
// as they fit.
const chunk = 64 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunk); return &b }}

// smallChunks are for what a connection mostly writes: acknowledgements.
var smallChunks = sync.Pool{New: func() any { b := make([]byte, 0, smallChunk); return &b }}

const smallChunk = 512

// Conn is a WebSocket after its handshake. Reads and writes are of the payloads
// of binary messages; each Write is one message. Like other connections it may
// be read by one goroutine and written by others, and read on after a deadline.
type Conn struct {
	under   net.Conn
	ahead   []byte // what came with the handshake; the reader's
	in      decoder
	failure error // why nothing more can be read; the reader's
	noCert  bool  // the client certificate does not count

	mu     sync.Mutex // held while writing
	closed bool       // a close frame was sent: nothing may follow
}

// Read reads payload.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for c.failure == nil {
		n, err := c.fill(p)
		if n > 0 {
			n, c.failure = c.in.feed(p[:n], c.onControl)
			if v := asViolation(c.failure); v != nil {
				c.sayClose(appendClose(nil, v.status, v.text))
			}
			if n > 0 {
				return n, nil // an error comes with the next read
			}
			continue
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, c.failure
}

// fill reads raw bytes.
func (c *Conn) fill(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
			c.ahead = nil
		}
		return n, nil
	}
	return c.under.Read(p)
}

// onControl answers a control frame.
func (c *Conn) onControl(opcode byte, payload []byte) error {
	switch opcode {
	case opPing:
		return c.writeControl(append(appendHeader(nil, opPong, len(payload)), payload...))
	case opClose:
		c.sayClose(appendCloseReply(nil, payload))
	}
	return nil
}

// writeControl writes a frame that nobody above has asked for.
func (c *Conn) writeControl(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if err := c.under.SetWriteDeadline(time.Now().Add(controlTimeout)); err != nil {
		return err
	}
	_, err := c.under.Write(frame)
	return err
}

// sayClose sends a close frame unless one was sent. It is a courtesy: the
// connection ends with or without it.
func (c *Conn) sayClose(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.under.SetWriteDeadline(time.Now().Add(controlTimeout)) == nil {
		_, _ = c.under.Write(frame)
	}
}

// Write writes p as one message.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	pool := &chunks
	if len(p) <= smallChunk-writeHeader {
		pool = &smallChunks
	}
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	frame := appendHeader((*buf)[:0], opBinary, len(p))
	head := len(frame)
	first := min(len(p), cap(frame)-head)
	n, err := c.under.Write(append(frame, p[:first]...))
	n = max(n-head, 0)
	if err != nil || first == len(p) {
		return n, err
	}
	more, err := c.under.Write(p[first:])
	return n + more, err
}

// CloseWrite says goodbye: nothing is written any more.
func (c *Conn) CloseWrite() error {
	c.sayClose(appendClose(nil, statusNormal, ""))
	if half, ok := c.under.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection. The peer is not told on this level, as it is not
// by a socket.
func (c *Conn) Close() error { return c.under.Close() }

// NetConn is the connection at the bottom, below TLS.
func (c *Conn) NetConn() net.Conn {
	if t, ok := c.under.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return c.under
}

// ConnectionState is that of TLS, client certificates included.
func (c *Conn) ConnectionState() tls.ConnectionState {
	t, ok := c.under.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return tls.ConnectionState{}
	}
	state := t.ConnectionState()
	if c.noCert {
		state.PeerCertificates, state.VerifiedChains = nil, nil
	}
	return state
}

// LocalAddr is that of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.under.LocalAddr() }

// RemoteAddr is that of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.under.RemoteAddr() }

// SetDeadline is that of the connection below; so are the others.
func (c *Conn) SetDeadline(t time.Time) error { return c.under.SetDeadline(t) }

// SetReadDeadline bounds reads. One that has run out leaves the connection as
// usable as it was.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.under.SetReadDeadline(t) }

// SetWriteDeadline bounds writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.under.SetWriteDeadline(t) }

var _ io.ReadWriteCloser = (*Conn)(nil)
