package nullserver

import (
	"crypto/tls"
	"net"
)

const (
	rawSize = 256 << 10 // one read of the socket
	inSize  = 1 << 20   // deciphered bytes waiting for a scan
)

// serve accepts until the listener is closed.
func serve(l net.Listener, config *tls.Config) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go handle(c, config)
	}
}

// handle answers one connection: everything that one read of the socket
// brought is deciphered, scanned and acknowledged in one write.
func handle(c net.Conn, config *tls.Config) {
	defer c.Close()
	raw := &rawConn{Conn: c, buf: make([]byte, rawSize)}
	conn := tls.Server(raw, config)
	in := make([]byte, inSize)
	acks := make([]byte, 0, 64<<10)
	filled := 0
	for {
		n, err := conn.Read(in[filled:])
		filled += n
		if err != nil {
			return
		}
		if raw.hasRecord() && filled < len(in) {
			continue
		}
		var used int
		acks, used, err = scan(in[:filled], acks[:0])
		if len(acks) > 0 {
			if _, err := conn.Write(acks); err != nil {
				return
			}
		}
		if err != nil || used == 0 && filled == len(in) {
			return
		}
		filled = copy(in, in[used:filled])
	}
}

// rawConn reads the socket in large pieces, which crypto/tls does not: it
// would take one or two system calls a record. It hands out no byte beyond the
// record it is at, so that hasRecord knows what crypto/tls has not seen.
type rawConn struct {
	net.Conn
	buf  []byte
	r, w int
	left int // bytes of the current record that are not handed out
}

func (c *rawConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		if err := c.fill(headerSize); err != nil {
			return 0, err
		}
		c.left = c.recordSize()
	} else if err := c.fill(1); err != nil {
		return 0, err
	}
	n := copy(p[:min(len(p), c.left)], c.buf[c.r:c.w])
	c.r += n
	c.left -= n
	return n, nil
}

const headerSize = 5 // of a TLS record

func (c *rawConn) recordSize() int {
	return headerSize + int(c.buf[c.r+3])<<8 + int(c.buf[c.r+4])
}

// fill waits until at least n bytes are buffered.
func (c *rawConn) fill(n int) error {
	for c.w-c.r < n {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		}
		m, err := c.Conn.Read(c.buf[c.w:])
		c.w += m
		if m == 0 {
			return err
		}
	}
	return nil
}

// hasRecord reports whether the next read of a TLS record takes no system
// call.
func (c *rawConn) hasRecord() bool {
	return c.left == 0 && c.w-c.r >= headerSize && c.w-c.r >= c.recordSize()
}
