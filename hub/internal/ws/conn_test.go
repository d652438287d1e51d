package ws

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// serve runs a server that hands accepted connections out, and returns the URL
// of it.
func serve(t *testing.T) (url string, conns <-chan *Conn) {
	t.Helper()
	ch := make(chan *Conn, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, _, err := Accept(w, r, "mqtt"); err == nil {
			ch <- c
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, ch
}

func dial(t *testing.T, url string, header http.Header) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{"MQTT"}, HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if c.Subprotocol() != "MQTT" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	c.SetReadLimit(-1)
	return c
}

func pair(t *testing.T) (client *websocket.Conn, server *Conn) {
	t.Helper()
	url, conns := serve(t)
	client = dial(t, url, nil)
	server = <-conns
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

func TestBothWays(t *testing.T) {
	client, server := pair(t)
	for _, n := range []int{0, 1, 125, 126, 502, 503, 512, 65525, 65526, 65535, 65536, 300_000} {
		want := bytes.Repeat([]byte("ab\x00"), n/3+1)[:n]
		go func() {
			if err := client.Write(context.Background(), websocket.MessageBinary, want); err != nil {
				t.Error(err)
			}
		}()
		got := make([]byte, n)
		if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("to the server, %d bytes: %v", n, err)
		}
		go func() {
			if m, err := server.Write(want); err != nil || m != n {
				t.Error(m, err)
			}
		}()
		typ, got, err := client.Read(t.Context())
		if err != nil || typ != websocket.MessageBinary || !bytes.Equal(got, want) {
			t.Fatalf("to the client, %d bytes: %v, %d bytes, %v", n, typ, len(got), err)
		}
	}
}

// The library's own net.Conn does not survive the deadline of a read, which is
// why the frames are taken off here. It may pass anywhere within a frame.
func TestReadsGoOnAfterADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		server := &Conn{under: there}
		want := strings.Repeat("payload", 50)
		input := append(clientFrame(0x89, nil), clientFrame(0x82, []byte(want))...)
		go func() { _, _ = io.Copy(io.Discard, here) }() // the pong
		go func() {
			for i := range input {
				<-time.After(time.Minute)
				if _, err := here.Write(input[i : i+1]); err != nil {
					t.Error(err)
				}
			}
		}()
		var got []byte
		deadlines := 0
		for buf := make([]byte, 10); len(got) < len(want); {
			_ = server.SetReadDeadline(time.Now().Add(50 * time.Second))
			n, err := server.Read(buf)
			got = append(got, buf[:n]...)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				deadlines++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != want || deadlines < len(input) {
			t.Errorf("%q after %d deadlines", got, deadlines)
		}
	})
}

func TestPingIsAnswered(t *testing.T) {
	client, server := pair(t)
	go func() { _, _ = io.Copy(io.Discard, server) }()
	client.CloseRead(t.Context())
	if err := client.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseHandshake(t *testing.T) {
	t.Run("client first", func(t *testing.T) {
		client, server := pair(t)
		done := make(chan error, 1)
		go func() { done <- client.Close(websocket.StatusGoingAway, "bye") }()
		if n, err := server.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after the end: %v", err)
		}
		_ = server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("server first", func(t *testing.T) {
		client, server := pair(t)
		if err := server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Error(err)
		}
	})
	t.Run("text", func(t *testing.T) {
		client, server := pair(t)
		if err := client.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := server.Read(make([]byte, 10)); asViolation(err) == nil {
				t.Error(err)
			}
		}
		if _, _, err := client.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
			t.Error(err)
		}
	})
}

func TestAcceptRefuses(t *testing.T) {
	url, _ := serve(t)
	good := http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Protocol": {"soap, mqtt"},
	}
	for name, test := range map[string]struct {
		method string
		header string
		value  []string
		want   int
	}{
		"nothing wrong":           {"GET", "X-Nothing", nil, 101},
		"plain GET":               {"GET", "Upgrade", nil, 400},
		"no Connection":           {"GET", "Connection", nil, 400},
		"POST":                    {"POST", "X-Nothing", nil, 400},
		"no subprotocol":          {"GET", "Sec-Websocket-Protocol", nil, 400},
		"unsupported subprotocol": {"GET", "Sec-Websocket-Protocol", []string{"AMQPWSB10"}, 400},
		"no key":                  {"GET", "Sec-Websocket-Key", nil, 400},
		"wrong version":           {"GET", "Sec-Websocket-Version", []string{"8"}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = good.Clone()
			r.Header[test.header] = test.value
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("%s", resp.Status)
			}
			if resp.StatusCode == 101 && resp.Header.Get("Sec-Websocket-Protocol") != "mqtt" {
				t.Errorf("subprotocol %q", resp.Header.Get("Sec-Websocket-Protocol"))
			}
		})
	}
}

// What a client sends right behind its handshake is not lost.
func TestEarlyBytes(t *testing.T) {
	url, conns := serve(t)
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	request := "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if _, err := nc.Write(append([]byte(request), clientFrame(0x82, []byte("early"))...)); err != nil {
		t.Fatal(err)
	}
	server := <-conns
	defer server.Close()
	got := make([]byte, 5)
	for i := range got {
		if _, err := server.Read(got[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "early" {
		t.Errorf("%q", got)
	}
}

// certConn is a connection whose client has shown a certificate.
type certConn struct{ net.Conn }

func (certConn) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
}

// A certificate counts unless a page of another origin is behind the request.
func TestCertificates(t *testing.T) {
	for origin, want := range map[string]bool{"": true, "https://hub.test": true, "https://evil.test": false, "null": false, "://": false} {
		r := httptest.NewRequest("GET", "https://hub.test/", nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		c := &Conn{under: certConn{}, noCert: !sameOrigin(r)}
		if got := len(c.ConnectionState().PeerCertificates) > 0; got != want {
			t.Errorf("origin %q: %v", origin, got)
		}
	}
	if (&Conn{under: stub{}}).ConnectionState().PeerCertificates != nil {
		t.Error("certificates without TLS")
	}
}

// A client that does not read can hold up the answer to its ping only so long.
func TestPingOfADeafClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		server := &Conn{under: there}
		go func() { _, _ = here.Write(clientFrame(0x89, []byte("x"))) }()
		start := time.Now()
		if _, err := server.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != controlTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// That was the end of it.
		if _, err := server.Read(make([]byte, 100)); err == nil {
			t.Error("it went on")
		}
	})
}
