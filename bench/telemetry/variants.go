package main

import (
	"crypto/tls"
	"net"
)

// The variants of the ceiling ask what a client could do below its own loop.
// They run only by name: --impl ceiling,ceiling-coalesced and so on.
func init() {
	for _, v := range []variant{
		{name: "fixed-records", dynamicOff: true},
		{name: "coalesced", coalesce: true},
		{name: "coalesced-fixed-records", coalesce: true, dynamicOff: true},
		{name: "coalesced-256k", coalesce: true, write: 256 << 10},
		{name: "write-16k", write: 16 << 10},
		{name: "write-256k", write: 256 << 10},
		{name: "tls12-aes128", cipher: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		{name: "tls12-aes256", cipher: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		{name: "tls12-chacha20", cipher: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
		{name: "sndbuf-64k", sndbuf: 64 << 10},
		{name: "sndbuf-256k", sndbuf: 256 << 10},
		{name: "sndbuf-1m", sndbuf: 1 << 20},
		{name: "sndbuf-4m", sndbuf: 4 << 20},
		{name: "coalesced-sndbuf-1m", coalesce: true, sndbuf: 1 << 20},
	} {
		register(implementation{name: "ceiling-" + v.name, open: v.open, extra: true})
	}
}

// variant is the ceiling with something changed; zero is the ceiling.
type variant struct {
	name       string
	dynamicOff bool   // tls.Config.DynamicRecordSizingDisabled
	coalesce   bool   // the records of one Write in one system call
	write      int    // bytes a Write
	sndbuf     int    // SO_SNDBUF
	cipher     uint16 // TLS 1.2 with this suite
}

func (v variant) open(t target) (sender, error) {
	conn, err := net.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	if v.sndbuf != 0 {
		if err := conn.(*net.TCPConn).SetWriteBuffer(v.sndbuf); err != nil {
			return nil, err
		}
	}
	config := t.tls()
	config.DynamicRecordSizingDisabled = v.dynamicOff
	if v.cipher != 0 {
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		config.CipherSuites = []uint16{v.cipher}
	}
	size := ceilingWrite
	if v.write != 0 {
		size = v.write
	}
	if !v.coalesce {
		return newCeiling(t, tls.Client(conn, config), size)
	}
	below := &coalescer{Conn: conn}
	secure := tls.Client(below, config)
	if err := secure.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	below.on = true
	return newCeiling(t, &coalesced{Conn: secure, below: below}, size)
}

// coalescer holds back what is written to it until it is flushed.
type coalescer struct {
	net.Conn
	on  bool
	buf []byte
}

func (c *coalescer) Write(p []byte) (int, error) {
	if !c.on {
		return c.Conn.Write(p)
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

func (c *coalescer) flush() error {
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// coalesced flushes once after each Write.
type coalesced struct {
	*tls.Conn
	below *coalescer
}

func (c *coalesced) Write(p []byte) (int, error) {
	if _, err := c.Conn.Write(p); err != nil {
		return 0, err
	}
	return len(p), c.below.flush()
}
