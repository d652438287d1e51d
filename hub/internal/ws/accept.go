package ws

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

// Accept does the opening handshake for a request that asks for one of the
// protocols, in whatever case, and returns the connection and the protocol as
// spelt in protocols. The answer to the client spells it as the client did.
//
// When it fails it has answered the request, and the error says why.
func Accept(w http.ResponseWriter, r *http.Request, protocols ...string) (*Conn, string, error) {
	protocol, err := check(r, protocols)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, "", err
	}
	h := &hijacker{ResponseWriter: w}
	shaken, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols: protocols,
		// Pages of any origin may connect, as they may to IoT Hub: the protocol
		// carries credentials that no browser adds by itself. It does add
		// certificates, so those do not count then.
		InsecureSkipVerify: true,
	})
	if err != nil {
		if h.conn != nil {
			_ = h.conn.Close() // nobody will use it
		}
		return nil, "", err
	}
	_ = shaken.CloseNow() // it holds nothing but a stub
	return &Conn{under: h.conn, ahead: h.ahead, noCert: !sameOrigin(r)}, protocol, nil
}

// check finds what is wrong with a request, for IoT Hub answers 400 to all of it.
func check(r *http.Request, protocols []string) (protocol string, err error) {
	if r.Method != http.MethodGet || !hasToken(r.Header, "Connection", "Upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return "", errors.New("this path is for WebSocket handshakes")
	}
	offered := tokens(r.Header, "Sec-WebSocket-Protocol")
	for _, p := range protocols {
		if slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, p) }) {
			return p, nil
		}
	}
	return "", fmt.Errorf("Sec-WebSocket-Protocol is %q, this hub has %q", strings.Join(offered, ", "), strings.Join(protocols, ", "))
}

func tokens(h http.Header, key string) (list []string) {
	for _, value := range h[textproto.CanonicalMIMEHeaderKey(key)] {
		for token := range strings.SplitSeq(value, ",") {
			if token = strings.TrimSpace(token); token != "" {
				list = append(list, token)
			}
		}
	}
	return list
}

func hasToken(h http.Header, key, want string) bool {
	return slices.ContainsFunc(tokens(h, key), func(t string) bool { return strings.EqualFold(t, want) })
}

// sameOrigin reports whether no page of somebody else's is behind the request.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// hijacker lets the library answer the request and keeps the connection to
// itself.
type hijacker struct {
	http.ResponseWriter
	conn  net.Conn
	ahead []byte
}

// Hijack takes the connection over from the HTTP server and gives the library a
// stub in its place.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = conn
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n) // it is there
		h.ahead = slices.Clone(early)
	}
	return stub{}, bufio.NewReadWriter(bufio.NewReaderSize(stub{}, 16), bufio.NewWriterSize(stub{}, 16)), nil
}

// stub is a connection on which nothing happens.
type stub struct{ net.Conn }

func (stub) Read([]byte) (int, error)    { return 0, net.ErrClosed }
func (stub) Write(p []byte) (int, error) { return len(p), nil }
func (stub) Close() error                { return nil }
