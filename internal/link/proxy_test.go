package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simnet"
)

const (
	proxyUser     = "jane@corp"
	proxyPassword = "pass word/?#"
	proxySecret   = "jane%40corp:pass%20word%2F%3F%23@"
)

// fakeProxy is an in-process proxy. What it is asked for it connects to serve.
type fakeProxy struct {
	serve func(net.Conn) // the target
	auth  bool           // wants user and password
	// answer, if not empty, is all there is to say.
	answer string
	early  string // what the target says first, in one piece with the answer

	mu      sync.Mutex
	targets []string
}

func (p *fakeProxy) reached() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.targets, " ")
}

func (p *fakeProxy) note(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = append(p.targets, target)
}

// http plays an HTTP proxy on c.
func (p *fakeProxy) http(c net.Conn) {
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if p.answer != "" {
		io.WriteString(c, p.answer)
		return
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(proxyUser+":"+proxyPassword))
	if p.auth && req.Header.Get("Proxy-Authorization") != basic {
		io.WriteString(c, "HTTP/1.1 407 Go away\r\nProxy-Authenticate: Basic realm=\"corp\"\r\nContent-Length: 0\r\n\r\n")
		return
	}
	if req.Method != http.MethodConnect || req.Host != req.RequestURI {
		io.WriteString(c, "HTTP/1.1 405 No\r\n\r\n")
		return
	}
	p.note(req.RequestURI)
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"+p.early)
	p.serve(&earlyConn{Conn: c})
}

// socks plays a SOCKS5 proxy on c.
func (p *fakeProxy) socks(c net.Conn) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		return
	}
	methods := make([]byte, head[1])
	io.ReadFull(c, methods)
	if p.auth {
		if !strings.Contains(string(methods), "\x02") {
			c.Write([]byte{5, 0xff})
			return
		}
		c.Write([]byte{5, 2})
		io.ReadFull(c, head)
		user := make([]byte, head[1])
		io.ReadFull(c, user)
		io.ReadFull(c, head[:1])
		password := make([]byte, head[0])
		io.ReadFull(c, password)
		if string(user) != proxyUser || string(password) != proxyPassword {
			c.Write([]byte{1, 1})
			return
		}
		c.Write([]byte{1, 0})
	} else {
		c.Write([]byte{5, 0})
	}
	req := make([]byte, 5)
	io.ReadFull(c, req)
	var host string
	switch req[3] {
	case socksName:
		b := make([]byte, req[4])
		io.ReadFull(c, b)
		host = string(b)
	case socksIPv4, socksIPv6:
		b := make([]byte, map[byte]int{socksIPv4: 3, socksIPv6: 15}[req[3]])
		io.ReadFull(c, b)
		host = net.IP(append(req[4:5:5], b...)).String()
	}
	io.ReadFull(c, head)
	p.note(net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(head)))))
	if p.answer != "" {
		io.WriteString(c, p.answer)
		return
	}
	c.Write(append([]byte{5, 0, 0, 3, 2}, "ab\x00\x01"...))
	p.serve(c)
}

// through dials hub.example through a proxy in virtual time.
func through(t *testing.T, url string, o *iothub.ClientOptions, plan simnet.Plan, proxy func(net.Conn), paths []Path, check func(*Dialer, net.Conn, error, time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(func(int) simnet.Plan { return plan })
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := n.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { proxy(c); c.Close() })
			}
		})
		opts := *o
		var err error
		if opts.Proxy, err = iothub.ParseProxy(url); err != nil {
			t.Fatal(err)
		}
		opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != opts.Proxy.URL().Host {
				t.Errorf("dialled %s", address)
			}
			return n.Dial(ctx, network, address)
		}
		full, err := opts.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDialer("hub.example", nil, full, paths...)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		conn, err := d.Dial(t.Context())
		check(d, conn, err, time.Since(start))
		if conn != nil {
			HardClose(conn)
		}
		n.Close()
		wg.Wait()
	})
}

var mqttPath = []Path{{Port: "8883"}}

func ping(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := WriteAll(conn, [][]byte{[]byte("ab"), []byte("cd")}); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "abcd" {
		t.Errorf("%q, %v", buf, err)
	}
}

// The hub through every kind of proxy, with and without credentials.
func TestProxies(t *testing.T) {
	cert, pool := authority(t)
	for _, c := range []struct {
		url  string
		auth bool
	}{
		{"http://proxy.example:3128", false},
		{"http://" + proxySecret + "proxy.example", true},
		{"https://" + proxySecret + "hub.example", true}, // the certificate at hand is hub.example's
		{"socks5://proxy.example", false},
		{"socks5://" + proxySecret + "proxy.example:1", false},
		{"socks5h://" + proxySecret + "proxy.example", true},
	} {
		t.Run(c.url[:7]+fmt.Sprint(c.auth), func(t *testing.T) {
			p := &fakeProxy{serve: echo(cert), auth: c.auth}
			play := p.http
			switch {
			case strings.HasPrefix(c.url, "socks"):
				play = p.socks
			case strings.HasPrefix(c.url, "https"):
				play = func(c net.Conn) {
					s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
					p.http(s)
				}
			}
			o := &iothub.ClientOptions{TLS: &tls.Config{RootCAs: pool}}
			through(t, c.url, o, simnet.Plan{}, play, mqttPath, func(_ *Dialer, conn net.Conn, err error, _ time.Duration) {
				if err != nil {
					t.Fatal(err)
				}
				ping(t, conn)
				if got := p.reached(); got != "hub.example:8883" {
					t.Errorf("the proxy was asked for %s", got)
				}
			})
		})
	}
}

// What goes wrong with proxies is a typed error that says what to do and never
// shows a password.
func TestProxyTrouble(t *testing.T) {
	cert, pool := authority(t)
	_, other := authority(t)
	target := func(c net.Conn) { echo(cert)(c) }
	plain := func(p *fakeProxy) func(net.Conn) { p.serve = target; return p.http }
	socks := func(p *fakeProxy) func(net.Conn) { p.serve = target; return p.socks }
	for name, c := range map[string]struct {
		url       string
		plan      simnet.Plan
		play      func(net.Conn)
		roots     *x509.CertPool
		code      int
		retryable bool
		want      string
	}{
		"no credentials":     {url: "http://proxy.example", play: plain(&fakeProxy{auth: true}), code: 407, want: "wants a user and a password"},
		"bad credentials":    {url: "http://jane:sesame@proxy.example", play: plain(&fakeProxy{auth: true}), code: 407, want: "does not take the user"},
		"negotiate":          {url: "http://jane:sesame@proxy.example", play: plain(&fakeProxy{answer: "HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM abc\r\n\r\n"}), code: 407, want: "only authentication by Negotiate or NTLM"},
		"forbidden":          {url: "http://proxy.example", play: plain(&fakeProxy{answer: "HTTP/1.1 403 sesame\r\n\r\n"}), code: 403, retryable: true, want: "403 Forbidden"},
		"strange status":     {url: "http://proxy.example", play: plain(&fakeProxy{answer: "HTTP/1.1 799 x\r\n\r\n"}), code: 799, retryable: true, want: "refuses"},
		"no HTTP":            {url: "http://jane:sesame@proxy.example", play: plain(&fakeProxy{answer: "hello\r\n\r\n"}), retryable: true, want: "no HTTP"},
		"endless header":     {url: "http://jane:sesame@proxy.example", play: plain(&fakeProxy{answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10)}), retryable: true, want: "no HTTP"},
		"hangs up":           {url: "http://jane:sesame@proxy.example", play: func(c net.Conn) { http.ReadRequest(bufio.NewReader(c)) }, retryable: true, want: "EOF"},
		"silent":             {url: "http://jane:sesame@proxy.example", play: func(c net.Conn) { io.Copy(io.Discard, c) }, retryable: true, want: "no answer in time"},
		"unreachable":        {url: "http://jane:sesame@proxy.example", plan: simnet.Plan{Refuse: errors.New("no route")}, retryable: true, want: "cannot be reached"},
		"untrusted":          {url: "https://jane:sesame@hub.example", roots: other, play: echo(cert), retryable: true, want: "TLS to the proxy itself"},
		"socks, none":        {url: "socks5://proxy.example", play: socks(&fakeProxy{auth: true}), want: "wants a user"},
		"socks, bad":         {url: "socks5://jane:sesame@proxy.example", play: socks(&fakeProxy{auth: true}), want: "does not take the user"},
		"socks, other":       {url: "socks5://jane:sesame@proxy.example", play: func(c net.Conn) { c.Write([]byte{5, 1}); io.Copy(io.Discard, c) }, want: "neither user and password"},
		"socks, ruleset":     {url: "socks5://jane:sesame@proxy.example", play: socks(&fakeProxy{answer: "\x05\x02\x00\x01\x00"}), code: 2, retryable: true, want: "its rules"},
		"socks, code":        {url: "socks5://jane:sesame@proxy.example", play: socks(&fakeProxy{answer: "\x05\x63\x00\x01\x00"}), code: 99, retryable: true, want: "reply 99"},
		"socks, address":     {url: "socks5://jane:sesame@proxy.example", play: socks(&fakeProxy{answer: "\x05\x00\x00\x07\x00"}), retryable: true, want: "unknown kind"},
		"socks, cut":         {url: "socks5://jane:sesame@proxy.example", play: socks(&fakeProxy{answer: "\x05\x00\x00\x04\x00"}), retryable: true, want: "breaks off"},
		"socks, HTTP":        {url: "socks5://jane:sesame@proxy.example", play: func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 x\r\n\r\n"); io.Copy(io.Discard, c) }, retryable: true, want: "is it an HTTP proxy?"},
		"socks, hangs up":    {url: "socks5://jane:sesame@proxy.example", play: func(c net.Conn) { io.ReadFull(c, make([]byte, 4)) }, retryable: true, want: "does not answer as SOCKS5"},
		"socks, says little": {url: "socks5://jane:sesame@proxy.example", play: func(c net.Conn) { c.Write([]byte{5, 0}); io.ReadFull(c, make([]byte, 4+18)) }, retryable: true, want: "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &iothub.ClientOptions{ConnectTimeout: 5 * time.Second, TLS: &tls.Config{RootCAs: pool}}
			if c.roots != nil {
				o.TLS.RootCAs = c.roots
			}
			through(t, c.url, o, c.plan, c.play, mqttPath, func(_ *Dialer, conn net.Conn, err error, took time.Duration) {
				e, ok := errors.AsType[*iothub.Error](err)
				if conn != nil || !ok || e.Kind != iothub.KindProxy || e.Code != c.code || e.Retryable != c.retryable || e.Action() != iothub.ActionCheckProxy {
					t.Fatalf("%v (%+v)", err, e)
				}
				if s := err.Error(); !strings.Contains(s, c.want) || strings.Contains(s, "sesame") || !strings.Contains(s, ".example:") {
					t.Errorf("%q, want %q in it", s, c.want)
				}
				if took > o.ConnectTimeout {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// SOCKS5 gets addresses as what they are.
func TestSocksAddresses(t *testing.T) {
	for _, addr := range []string{"10.1.2.3:8883", "[2001:db8::1]:443", "hub.example:1"} {
		client, server := net.Pipe()
		p := &fakeProxy{serve: func(net.Conn) {}}
		go p.socks(server)
		x := newProxy(mustURL(t, "socks5://p.example"), nil)
		if err := x.socks(client, addr); err != nil || p.reached() != addr {
			t.Errorf("%s: reached %s, %v", addr, p.reached(), err)
		}
		client.Close()
	}
	for _, addr := range []string{"x", "x:99999", "x:http", strings.Repeat("x", 256) + ":1"} {
		client, server := net.Pipe()
		go (&fakeProxy{serve: func(net.Conn) {}}).socks(server)
		if err := newProxy(mustURL(t, "socks5://p.example"), nil).socks(client, addr); iothub.KindOf(err) != iothub.KindProxy {
			t.Errorf("%.10s: %v", addr, err)
		}
		client.Close()
	}
}

// A peer that speaks first is not cut short by the proxy's answer.
func TestConnectKeepsEarlyBytes(t *testing.T) {
	client, server := net.Pipe()
	go (&fakeProxy{early: "hello", serve: func(net.Conn) {}}).http(server)
	conn, err := newProxy(mustURL(t, "http://p.example"), nil).connect(client, "hub.example:1")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "hello" {
		t.Errorf("%q, %v", buf, err)
	}
	HardClose(conn)
}
