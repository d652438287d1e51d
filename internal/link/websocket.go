package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/iothub-go/iothub"
)

// WebSocket is what a protocol is carried in where only HTTPS gets through.
type WebSocket struct {
	Path        string // such as "/$iothub/websocket"
	Subprotocol string // such as "mqtt"
}

// dial makes conn, which is secure already, a WebSocket connection to host. It
// takes conn over.
func (w *WebSocket) dial(ctx context.Context, conn net.Conn, host, port string) (net.Conn, error) {
	address := host
	if port != "443" {
		address = net.JoinHostPort(host, port)
	}
	u := url.URL{Scheme: "wss", Host: address, Path: w.Path}
	client := &http.Client{
		Transport: &http.Transport{
			// The environment is not asked for a proxy, and there is no
			// other connection than this one.
			DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return conn, nil },
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{w.Subprotocol},
	})
	if err != nil {
		HardClose(conn)
		return nil, handshakeRefused(ctx, err, resp, &u)
	}
	c := &wsConn{Conn: conn, ws: ws}
	if ws.Subprotocol() == "" {
		c.hardClose()
		return nil, &iothub.Error{Op: "connect", Kind: iothub.KindProtocol, Retryable: true,
			Err: fmt.Errorf("%s speaks WebSocket but not the subprotocol %q: is this an IoT Hub host?", u.Host, w.Subprotocol)}
	}
	// The engine bounds packets, which need not be whole messages.
	ws.SetReadLimit(-1)
	return c, nil
}

// handshakeRefused says what became of the handshake.
func handshakeRefused(ctx context.Context, err error, resp *http.Response, u *url.URL) error {
	e := &iothub.Error{Op: "connect", Kind: iothub.KindNetwork, Retryable: true, Err: err}
	switch {
	case resp == nil && ctx.Err() != nil:
		e.Err = fmt.Errorf("no answer to the WebSocket handshake from %s: %w", u.Host, ctx.Err())
	case resp == nil:
		e.Err = fmt.Errorf("the WebSocket handshake with %s: %w", u.Host, err)
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500:
		e.Kind, e.Code = iothub.KindOfStatus(resp.StatusCode), resp.StatusCode
		e.Err = fmt.Errorf("%s answered the WebSocket handshake with %s", u.Host, statusText(resp))
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && n <= 3600 {
			e.RetryAfter = time.Duration(n) * time.Second
		}
	case resp.StatusCode == http.StatusSwitchingProtocols:
		e.Kind = iothub.KindProtocol
	default:
		e.Kind, e.Code = iothub.KindProtocol, resp.StatusCode
		e.Err = fmt.Errorf("%s answered the WebSocket handshake with %s: is this an IoT Hub host?", u.Host, statusText(resp))
	}
	return e
}

// maxMessage bounds a WebSocket message that is written. Packets may be cut
// anywhere: the messages have no meaning of their own [MQTT-6.0.0-4].
const maxMessage = flushSize

// wsConn is a stream over the binary messages of a WebSocket connection. Its
// deadlines and addresses are those of the connection below.
type wsConn struct {
	net.Conn
	ws  *websocket.Conn
	msg io.Reader // what is left of a message; nil between two; the reader's
}

func (c *wsConn) NetConn() net.Conn { return c.Conn }

// Read returns what has arrived, across the bounds of messages.
func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.msg == nil {
			kind, r, err := c.ws.Reader(context.Background())
			if err != nil {
				return 0, closeError(err)
			}
			if kind != websocket.MessageBinary {
				return 0, errors.New("the hub sent a WebSocket message that is not binary")
			}
			c.msg = r
		}
		n, err := c.msg.Read(p)
		if errors.Is(err, io.EOF) {
			c.msg, err = nil, nil
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, closeError(err)
		}
	}
}

// closeError makes the peer's goodbye an io.EOF that says why.
func closeError(err error) error {
	ce, ok := errors.AsType[websocket.CloseError](err)
	switch {
	case !ok:
		return err
	case ce.Code == websocket.StatusNormalClosure, ce.Code == websocket.StatusNoStatusRcvd:
		return io.EOF
	}
	return fmt.Errorf("%w: WebSocket status %d %q", io.EOF, int(ce.Code), ce.Reason)
}

// Write writes p as one message.
func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeBatch writes pieces in as few messages, and as few system calls, as
// their sizes allow. On error the connection is of no use any more.
func (c *wsConn) writeBatch(pieces [][]byte) (n int, err error) {
	if b, ok := c.Conn.(*batchConn); ok {
		// Frames reach TLS 4 KiB at a time.
		b.below.hold()
		defer func() {
			if e := b.below.release(); err == nil {
				err = e
			}
		}()
	}
	buf := buffers.Get().(*[]byte)
	defer func() {
		*buf = (*buf)[:0]
		buffers.Put(buf)
	}()
	send := func(p []byte) {
		if err == nil && len(p) > 0 {
			var k int
			k, err = c.Write(p)
			n += k
		}
	}
	for _, p := range pieces {
		for len(p) > 0 {
			k := min(len(p), maxMessage-len(*buf))
			if k == maxMessage {
				send(p[:k]) // no need to gather what is enough by itself
			} else if *buf = append(*buf, p[:k]...); len(*buf) == maxMessage {
				send(*buf)
				*buf = (*buf)[:0]
			}
			p = p[k:]
		}
	}
	send(*buf)
	return n, err
}

// Close closes the connection without the WebSocket closing handshake, which
// could wait on a link that is dead.
func (c *wsConn) Close() error {
	c.hardClose()
	return nil
}

func (c *wsConn) hardClose() {
	HardClose(c.Conn)
	_ = c.ws.CloseNow() // everything in it has failed by now
}
