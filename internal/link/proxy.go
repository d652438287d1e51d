package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
)

// maxProxyHeader bounds what a proxy may answer to CONNECT, in bytes.
const maxProxyHeader = 64 << 10

// proxy opens connections through an HTTP or SOCKS5 proxy.
type proxy struct {
	url *url.URL    // with its port
	tls *tls.Config // of the connection to the proxy; nil for plain TCP
}

// newProxy returns the proxy that u names. base is the user's TLS
// configuration, which becomes the proxy's.
func newProxy(u *url.URL, base *tls.Config) *proxy {
	p := &proxy{url: u}
	if u.Scheme == "https" {
		// Everything else that the user set, the verification of the peer
		// first of all, holds for the proxy, too.
		base.ServerName = u.Hostname()
		base.Certificates, base.GetClientCertificate = nil, nil
		base.NextProtos = []string{"http/1.1"}
		p.tls = base
	}
	return p
}

// dial opens a connection to addr through the proxy, which open reaches.
func (p *proxy) dial(ctx context.Context, open func(context.Context, string, string) (net.Conn, error), addr string) (net.Conn, error) {
	conn, err := open(ctx, "tcp", p.url.Host)
	if err != nil {
		return nil, p.trouble(0, true, "cannot be reached: %w", err)
	}
	if p.tls != nil {
		t := tls.Client(conn, p.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, p.trouble(0, true, "TLS to the proxy itself: %w", err)
		}
		conn = t
	}
	// Whoever ends ctx ends what waits for the proxy.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if p.url.Scheme == "socks5" {
		err = p.socks(conn, addr)
	} else {
		conn, err = p.connect(conn, addr)
	}
	if !stop() {
		err = p.trouble(0, true, "no answer in time: %w", ctx.Err())
	}
	if err != nil {
		HardClose(conn)
		return nil, err
	}
	return conn, nil
}

// trouble is an error of the proxy: its address, never its credentials.
func (p *proxy) trouble(code int, retryable bool, format string, args ...any) error {
	return &iothub.Error{Op: "connect", Kind: iothub.KindProxy, Code: code, Retryable: retryable,
		Err: fmt.Errorf("proxy %s: "+format, append([]any{p.url.Host}, args...)...)}
}

// connect asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6). The
// connection it returns is the one to use and to close.
func (p *proxy) connect(conn net.Conn, addr string) (net.Conn, error) {
	var req strings.Builder
	fmt.Fprintf(&req, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", addr, addr)
	if u := p.url.User; u != nil {
		password, _ := u.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(u.Username() + ":" + password))
		req.WriteString("Proxy-Authorization: Basic " + basic + "\r\n")
	}
	req.WriteString("\r\n")
	if _, err := io.WriteString(conn, req.String()); err != nil {
		return conn, p.trouble(0, true, "%w", err)
	}
	limit := &io.LimitedReader{R: conn, N: maxProxyHeader}
	br := bufio.NewReader(limit)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return conn, p.trouble(0, true, "its answer to CONNECT is no HTTP: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return conn, p.refused(resp)
	}
	if br.Buffered() > 0 {
		// What the peer said already; few protocols let it speak first.
		early, _ := br.Peek(br.Buffered())
		return &earlyConn{Conn: conn, early: early}, nil
	}
	return conn, nil
}

func (p *proxy) refused(resp *http.Response) error {
	if resp.StatusCode != http.StatusProxyAuthRequired {
		return p.trouble(resp.StatusCode, true, "it refuses the connection: %s", statusText(resp))
	}
	advice := "it wants a user and a password: put them into the proxy's URL"
	if p.url.User != nil {
		advice = "it does not take the user and the password in the proxy's URL"
	}
	var schemes []string
	basic := false
	for _, h := range resp.Header.Values("Proxy-Authenticate") {
		scheme, _, _ := strings.Cut(strings.TrimSpace(h), " ")
		basic = basic || strings.EqualFold(scheme, "Basic")
		schemes = append(schemes, scheme)
	}
	if len(schemes) > 0 && !basic {
		advice = "it takes only authentication by " + strings.Join(schemes, " or ") + "; this library speaks Basic"
	}
	return p.trouble(resp.StatusCode, false, "credentials: %s (%s)", advice, statusText(resp))
}

// statusText returns the status in the standard's words: the peer's own could
// be anything.
func statusText(resp *http.Response) string {
	return strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode))
}

// earlyConn is a connection of which some bytes have been read already.
type earlyConn struct {
	net.Conn
	early []byte
}

func (c *earlyConn) NetConn() net.Conn { return c.Conn }

// Read returns the early bytes first.
func (c *earlyConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// SOCKS5 (RFC 1928).
const (
	socksVersion  = 5
	socksNoAuth   = 0
	socksPassword = 2
	socksConnect  = 1
	socksIPv4     = 1
	socksName     = 3
	socksIPv6     = 4
)

// socksErrors are the meanings of reply codes 1 to 8.
var socksErrors = [...]string{"", "it failed", "its rules do not allow the connection", "the network cannot be reached",
	"the host cannot be reached", "the host refused the connection", "time ran out", "it does not do CONNECT",
	"it does not take this kind of address"}

// socks asks a SOCKS5 proxy for a connection to addr, a name of which it looks
// up itself.
func (p *proxy) socks(conn net.Conn, addr string) error {
	if err := p.socksAuth(conn); err != nil {
		return err
	}
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return p.trouble(0, false, "%w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || len(host) > 255 {
		return p.trouble(0, false, "%s is no address for SOCKS5", addr)
	}
	req := []byte{socksVersion, socksConnect, 0}
	switch ip, err := netip.ParseAddr(host); {
	case err != nil:
		req = append(append(req, socksName, byte(len(host))), host...)
	case ip.Is4():
		req = append(append(req, socksIPv4), ip.AsSlice()...)
	default:
		req = append(append(req, socksIPv6), ip.AsSlice()...)
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint16(req, uint16(port))); err != nil {
		return p.trouble(0, true, "%w", err)
	}
	return p.socksReply(conn)
}

// socksAuth agrees on a method and authenticates (RFC 1929).
func (p *proxy) socksAuth(conn net.Conn) error {
	hello := []byte{socksVersion, 1, socksNoAuth}
	if p.url.User != nil {
		hello = []byte{socksVersion, 2, socksNoAuth, socksPassword}
	}
	if _, err := conn.Write(hello); err != nil {
		return p.trouble(0, true, "%w", err)
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return p.trouble(0, true, "it does not answer as SOCKS5: %w", err)
	}
	switch {
	case answer[0] != socksVersion:
		return p.trouble(0, true, "it does not speak SOCKS5: is it an HTTP proxy?")
	case answer[1] == socksNoAuth:
		return nil
	case answer[1] != socksPassword || p.url.User == nil:
		advice := "it wants a user and a password: put them into the proxy's URL"
		if p.url.User != nil {
			advice = "it takes neither user and password nor none"
		}
		return p.trouble(0, false, "credentials: %s", advice)
	}
	user := p.url.User.Username()
	password, _ := p.url.User.Password()
	auth := append([]byte{1, byte(len(user))}, user...)
	auth = append(append(auth, byte(len(password))), password...)
	if _, err := conn.Write(auth); err != nil {
		return p.trouble(0, true, "%w", err)
	}
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return p.trouble(0, true, "no answer to user and password: %w", err)
	}
	if answer[1] != 0 {
		return p.trouble(0, false, "credentials: it does not take the user and the password in the proxy's URL")
	}
	return nil
}

func (p *proxy) socksReply(conn net.Conn) error {
	var head [5]byte // version, reply, reserved, kind of address, its first byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return p.trouble(0, true, "no answer to CONNECT: %w", err)
	}
	if code := head[1]; head[0] != socksVersion || code != 0 {
		why := "it does not speak SOCKS5"
		if head[0] == socksVersion {
			why = fmt.Sprintf("reply %d", code)
			if int(code) < len(socksErrors) {
				why = socksErrors[code]
			}
		}
		return p.trouble(int(code), true, "%s", why)
	}
	rest := 2 // the port
	switch head[3] {
	case socksIPv4:
		rest += 4 - 1
	case socksIPv6:
		rest += 16 - 1
	case socksName:
		rest += int(head[4])
	default:
		return p.trouble(0, true, "%w", errors.New("its answer has an address of an unknown kind"))
	}
	if _, err := io.CopyN(io.Discard, conn, int64(rest)); err != nil {
		return p.trouble(0, true, "its answer breaks off: %w", err)
	}
	return nil
}
