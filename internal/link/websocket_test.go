package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simnet"
)

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func wsPath(port string) Path {
	return Path{Port: port, WebSocket: &WebSocket{Path: "/$iothub/websocket", Subprotocol: "mqtt"}}
}

// wsServer serves handle, with the requests it saw, on n until n is closed.
type wsServer struct {
	handle http.HandlerFunc
	http   http.Server

	mu       sync.Mutex
	requests []string
}

func (s *wsServer) serve(l net.Listener) {
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Host+" "+r.RequestURI+" "+r.Header.Get("Sec-WebSocket-Protocol"))
		s.mu.Unlock()
		s.handle(w, r)
	})
	s.http.Serve(l)
}

// wsEcho echoes and counts messages.
type wsEcho struct {
	mu       sync.Mutex
	messages [][]byte
}

func (e *wsEcho) handle(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for {
		_, b, err := c.Read(context.Background())
		if err != nil {
			return
		}
		e.mu.Lock()
		e.messages = append(e.messages, b)
		e.mu.Unlock()
		if c.Write(context.Background(), websocket.MessageBinary, b) != nil {
			return
		}
	}
}

// overWebSocket dials hub.example in virtual time; network dials for it.
func overWebSocket(t *testing.T, o *iothub.ClientOptions, handle http.HandlerFunc, paths []Path, check func(*testing.T, *wsServer, *Dialer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, s := simnet.New(nil), &wsServer{handle: handle}
		go s.serve(n)
		opts := *o
		if opts.DialTLS == nil {
			opts.DialTLS = n.Dial
		} else {
			choose := opts.DialTLS
			opts.DialTLS = func(ctx context.Context, network, address string) (net.Conn, error) {
				if c, err := choose(ctx, network, address); c != nil || err != nil {
					return c, err
				}
				return n.Dial(ctx, network, address)
			}
		}
		full, err := opts.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDialer("hub.example", nil, full, paths...)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, d)
		s.http.Close()
		n.Close()
	})
}

// Bytes of every shape pass, one binary message for each batch.
func TestWebSocket(t *testing.T) {
	e := &wsEcho{}
	overWebSocket(t, &iothub.ClientOptions{}, e.handle, []Path{wsPath("443")}, func(t *testing.T, s *wsServer, d *Dialer) {
		conn, err := d.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := "hub.example /$iothub/websocket mqtt"; s.requests[0] != want {
			t.Errorf("the request was %s, want %s", s.requests[0], want)
		}
		out := make([]byte, 300<<10)
		for i := range out {
			out[i] = byte(i * 11 >> 2)
		}
		for _, pieces := range [][][]byte{
			{out[:1]}, {out[:1], out[1:1], out[1:20]}, {out[:60_000], out[60_000:60_010]}, {out}, {out[:10], out[10:200_000], out[200_000:]},
		} {
			want := bytes.Join(pieces, nil)
			e.mu.Lock()
			e.messages = nil
			e.mu.Unlock()
			in := make([]byte, len(want))
			read := make(chan error)
			go func() { _, err := io.ReadFull(conn, in); read <- err }()
			if n, err := WriteAll(conn, pieces); n != len(want) || err != nil {
				t.Errorf("wrote %d of %d: %v", n, len(want), err)
			}
			if err := <-read; err != nil || !bytes.Equal(in, want) {
				t.Errorf("the echo of %d bytes differs, or %v", len(want), err)
			}
			most := (len(want) + maxMessage - 1) / maxMessage
			if e.mu.Lock(); len(e.messages) > most {
				t.Errorf("%d bytes in %d pieces went as %d messages, want %d", len(want), len(pieces), len(e.messages), most)
			}
			e.mu.Unlock()
		}
		if n, err := WriteAll(conn, nil); n != 0 || err != nil {
			t.Errorf("wrote nothing: %d, %v", n, err)
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the deadline has no effect")
		}
		HardClose(conn)
		if _, err := conn.Write([]byte("x")); err == nil {
			t.Error("a closed connection takes bytes")
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The peer's goodbye is the end of the stream; what is not binary is an error.
func TestWebSocketEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*websocket.Conn)
		want string
		eof  bool
	}{
		"normal": {func(c *websocket.Conn) { c.Close(websocket.StatusNormalClosure, "") }, "EOF", true},
		"away":   {func(c *websocket.Conn) { c.Close(websocket.StatusGoingAway, "maintenance") }, `1001 "maintenance"`, true},
		"broken": {func(c *websocket.Conn) { c.CloseNow() }, "EOF", true},
		"text":   {func(c *websocket.Conn) { c.Write(context.Background(), websocket.MessageText, []byte("hi")) }, "not binary", false},
	} {
		t.Run(name, func(t *testing.T) {
			handle := func(w http.ResponseWriter, r *http.Request) {
				ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
				if err != nil {
					return
				}
				ws.Write(context.Background(), websocket.MessageBinary, nil)
				c.end(ws)
				ws.CloseNow()
			}
			overWebSocket(t, &iothub.ClientOptions{}, handle, []Path{wsPath("443")}, func(t *testing.T, _ *wsServer, d *Dialer) {
				conn, err := d.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, io.EOF) != c.eof {
					t.Errorf("%v", err)
				}
				HardClose(conn)
			})
		})
	}
}

// What a server can answer that is no MQTT over WebSocket.
func TestWebSocketRefused(t *testing.T) {
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		kind   iothub.Kind
		after  time.Duration
		want   string
	}{
		"not found":    {status(404), iothub.KindProtocol, 0, "404 Not Found: is this an IoT Hub host?"},
		"redirect":     {status(302, "Location", "https://login.example/"), iothub.KindProtocol, 0, "302 Found"},
		"throttled":    {status(429, "Retry-After", "30"), iothub.KindThrottled, 30 * time.Second, "429"},
		"unavailable":  {status(503, "Retry-After", "tomorrow"), iothub.KindUnavailable, 0, "503"},
		"broken":       {status(500), iothub.KindServer, 0, "500"},
		"hangs up":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, iothub.KindNetwork, 0, "handshake"},
		"silent":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, iothub.KindNetwork, 0, "no answer"},
		"other accept": {status(101, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Accept", "x"), iothub.KindProtocol, 0, "Accept"},
		"no subprotocol": {func(w http.ResponseWriter, r *http.Request) {
			if ws, err := websocket.Accept(w, r, nil); err == nil {
				ws.CloseRead(context.Background())
			}
		}, iothub.KindProtocol, 0, `"mqtt"`},
	} {
		t.Run(name, func(t *testing.T) {
			overWebSocket(t, &iothub.ClientOptions{ConnectTimeout: 5 * time.Second}, c.handle, []Path{wsPath("444")}, func(t *testing.T, _ *wsServer, d *Dialer) {
				conn, err := d.Dial(t.Context())
				if conn != nil || iothub.KindOf(err) != c.kind || iothub.RetryAfter(err) != c.after || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v (kind %v, after %v)", err, iothub.KindOf(err), iothub.RetryAfter(err))
				}
				if !iothub.Retryable(err) {
					t.Errorf("not retryable: %v", err)
				}
			})
		})
	}
}

// Port 8883 is closed in one of the usual ways: the WebSocket way is taken, and
// first the next time.
func TestFallback(t *testing.T) {
	for name, refuse := range map[string]func(context.Context) (net.Conn, error){
		"refused": func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED },
		"dropped": func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
		"proxy": func(context.Context) (net.Conn, error) {
			return nil, &iothub.Error{Kind: iothub.KindProxy, Code: 403, Retryable: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var dialled []string
			o := &iothub.ClientOptions{DialTLS: func(ctx context.Context, _, address string) (net.Conn, error) {
				dialled = append(dialled, address)
				if strings.HasSuffix(address, ":8883") {
					return refuse(ctx)
				}
				return nil, nil
			}}
			e := &wsEcho{}
			overWebSocket(t, o, e.handle, []Path{{Port: "8883"}, wsPath("443")}, func(t *testing.T, _ *wsServer, d *Dialer) {
				for range 2 {
					start := time.Now()
					conn, err := d.Dial(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took > iothub.DefaultConnectTimeout/2 {
						t.Errorf("took %v", took)
					}
					ping(t, conn)
					HardClose(conn)
				}
				if got := strings.Join(dialled, " "); got != "hub.example:8883 hub.example:443 hub.example:443" {
					t.Errorf("dialled %s", got)
				}
			})
		})
	}
}

// Both ways fail: the error has both reasons, within the time for one connect.
func TestFallbackFails(t *testing.T) {
	o := &iothub.ClientOptions{ConnectTimeout: 10 * time.Second, DialTLS: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	overWebSocket(t, o, nil, []Path{{Port: "8883"}, wsPath("443")}, func(t *testing.T, _ *wsServer, d *Dialer) {
		start := time.Now()
		_, err := d.Dial(t.Context())
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil || iothub.KindOf(err) != iothub.KindNetwork || !iothub.Retryable(err) || !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "port 8883: ") || !strings.Contains(err.Error(), "port 443 (WebSocket): ") {
			t.Errorf("%v", err)
		}
	})
}

// What is no fault of the port is not tried elsewhere.
func TestNoFallback(t *testing.T) {
	cert, _ := authority(t)
	_, other := authority(t)
	o := &iothub.ClientOptions{TLS: &tls.Config{RootCAs: other}}
	dials := 0
	for name, c := range map[string]struct {
		o    iothub.ClientOptions
		kind iothub.Kind
	}{
		"certificate": {*o, iothub.KindTLS},
		"proxy credentials": {iothub.ClientOptions{DialTLS: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, &iothub.Error{Kind: iothub.KindProxy, Code: 407}
		}}, iothub.KindProxy},
	} {
		t.Run(name, func(t *testing.T) {
			dials = 0
			synctest.Test(t, func(t *testing.T) {
				n := simnet.New(nil)
				go func() {
					for {
						c, err := n.Accept()
						if err != nil {
							return
						}
						go func() { echo(cert)(c); c.Close() }()
					}
				}()
				opts := c.o
				opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					dials++
					return n.Dial(ctx, network, address)
				}
				full, err := opts.WithDefaults()
				if err != nil {
					t.Fatal(err)
				}
				d, err := NewDialer("hub.example", nil, full, Path{Port: "8883"}, wsPath("443"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.Dial(t.Context()); iothub.KindOf(err) != c.kind || dials != 1 {
					t.Errorf("%d dials, %v", dials, err)
				}
				n.Close()
			})
		})
	}
}
