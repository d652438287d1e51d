package hub_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

const (
	socketPath = "/$iothub/websocket?iothub-no-client-cert=true"
	subMQTT    = "mqtt"
)

// openSocket does the WebSocket handshake. The path is as it is sent.
func openSocket(t testing.TB, s *hub.Server, path, subprotocol string, cert *tls.Certificate) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, restURL(t, s)+path, &websocket.DialOptions{
		HTTPClient: client(s, cert), Subprotocols: []string{subprotocol},
	})
	if err == nil {
		c.SetReadLimit(-1)
		t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, resp, err
}

// dialSocket connects with a connection string over a WebSocket.
func dialSocket(t testing.TB, s *hub.Server, connectionString string) (*device, *websocket.Conn) {
	t.Helper()
	c, _, err := openSocket(t, s, socketPath, subMQTT, nil)
	if err != nil {
		t.Fatal(err)
	}
	cs, err := iothub.ParseConnectionString(connectionString)
	if err != nil {
		t.Fatal(err)
	}
	d, code := tryConnect(t, websocket.NetConn(context.Background(), c, websocket.MessageBinary), cs)
	if code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	return d, c
}

func TestWebSocket(t *testing.T) {
	s := start(t, &hub.Options{})
	for _, id := range []string{"dev1", "dev1/mod1"} {
		d, c := dialSocket(t, s, create(t, s, id))
		for i := range 10 {
			d.publish(strings.Repeat("x", 25_000*i), uint16(i+1))
			if got := d.puback(); int(got) != i+1 {
				t.Fatalf("PUBACK %d", got)
			}
		}
		d.write(mqtt.AppendEmpty(nil, mqtt.TypeDisconnect))
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("after DISCONNECT: %v", err)
		}
	}
	if all := events(t, s); len(all) != 20 || len(all[9].Body) != 225_000 {
		t.Errorf("%d events", len(all))
	}
}

// The path may be escaped and carry a query; the answer spells the subprotocol
// as the client did.
func TestWebSocketHandshake(t *testing.T) {
	s := start(t, nil)
	for _, test := range []struct {
		path, subprotocol string
		want              int
	}{
		{"/$iothub/websocket", "mqtt", 101},
		{"/%24iothub/websocket", "MQTT", 101},
		{"/%24iothub/websocket?api-version=2021-04-12", "Mqtt", 101},
		{"/$iothub/websocket", "", 400},
		{"/$iothub/websocket", "soap", 400},
		{"/$iothub/other", "mqtt", 404},
	} {
		c, resp, err := openSocket(t, s, test.path, test.subprotocol, nil)
		if resp == nil || resp.StatusCode != test.want {
			t.Errorf("%s %q: %v", test.path, test.subprotocol, err)
		} else if err == nil && c.Subprotocol() != test.subprotocol {
			t.Errorf("%s %q: the answer is %q", test.path, test.subprotocol, c.Subprotocol())
		}
	}
	resp, err := client(s, nil).Get(restURL(t, s) + "/$iothub/websocket")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || len(text) == 0 {
		t.Errorf("a plain GET: %s %s", resp.Status, text)
	}
}

// A packet may span frames, also empty ones, and a frame hold many packets.
func TestWebSocketFragments(t *testing.T) {
	s := start(t, nil)
	d, c := dialSocket(t, s, create(t, s, "dev1"))
	var packets []byte
	for id := range uint16(3) {
		b, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte(d.base), Payload: []byte("body"), QoS: 1, PacketID: id + 1})
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, b...)
	}
	for i, size := range []int{len(packets), 1, 7, 0} {
		var err error
		switch {
		case size > 0: // messages of so many bytes
			for rest := packets; len(rest) > 0 && err == nil; {
				n := min(size, len(rest))
				err = c.Write(t.Context(), websocket.MessageBinary, rest[:n])
				rest = rest[n:]
			}
		default: // one message in fragments
			var w io.WriteCloser
			if w, err = c.Writer(t.Context(), websocket.MessageBinary); err != nil {
				t.Fatal(err)
			}
			for _, b := range packets {
				if _, err = w.Write([]byte{b}); err != nil {
					break
				}
				_, err = w.Write(nil)
			}
			if err == nil {
				err = w.Close()
			}
		}
		if err != nil {
			t.Fatal(i, err)
		}
		for want := range uint16(3) {
			if got := d.puback(); got != want+1 {
				t.Fatalf("%d: PUBACK %d, want %d", i, got, want+1)
			}
		}
	}
}

func TestWebSocketTextIsRefused(t *testing.T) {
	s := start(t, nil)
	for _, early := range []bool{true, false} {
		var c *websocket.Conn
		if early {
			var err error
			if c, _, err = openSocket(t, s, socketPath, subMQTT, nil); err != nil {
				t.Fatal(err)
			}
		} else {
			_, c = dialSocket(t, s, create(t, s, "dev1"))
		}
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
			t.Errorf("early %v: %v", early, err)
		}
	}
}

// will connects with a will and returns the connection.
func connectWithWill(t *testing.T, nc net.Conn, connectionString string) {
	t.Helper()
	cs, err := iothub.ParseConnectionString(connectionString)
	if err != nil {
		t.Fatal(err)
	}
	id := cs.Identity()
	token, err := cs.Credential().Token(t.Context(), id.Resource(cs.HostName), time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
		ClientID: id.String(), KeepAlive: 240, CleanSession: true, Password: []byte(token.Value),
		Username: cs.HostName + "/" + id.String() + "/?api-version=2021-04-12",
		Will:     &mqtt.Will{Topic: "devices/" + id.DeviceID + "/messages/events/", Payload: []byte("gone"), QoS: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, nc: nc, buf: make([]byte, 1024)}
	d.write(packet)
	frame, err := d.next()
	if err != nil {
		t.Fatal(err)
	}
	if _, code, err := mqtt.DecodeConnack(frame); err != nil || code != 0 {
		t.Fatal(code, err)
	}
}

// However a WebSocket ends without DISCONNECT, it is the abrupt end that it is
// over TCP: the will is published.
func TestWebSocketEndsAbruptly(t *testing.T) {
	for name, end := range map[string]func(c *websocket.Conn, nc net.Conn){
		"close frame": func(c *websocket.Conn, _ net.Conn) { _ = c.Close(websocket.StatusNormalClosure, "") },
		"TCP":         func(_ *websocket.Conn, nc net.Conn) { _ = nc.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil)
			cs := create(t, s, "dev1")
			var below net.Conn
			hc := client(s, nil)
			hc.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				var err error
				below, err = (&net.Dialer{}).DialContext(ctx, network, addr)
				return below, err
			}
			c, _, err := websocket.Dial(t.Context(), restURL(t, s)+socketPath, &websocket.DialOptions{HTTPClient: hc, Subprotocols: []string{subMQTT}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			connectWithWill(t, websocket.NetConn(context.Background(), c, websocket.MessageBinary), cs)
			end(c, below)
			for e, err := range s.Events(t.Context(), &hub.EventsOptions{From: "start"}) {
				if err != nil {
					t.Fatal(err)
				}
				if string(e.Body) != "gone" {
					t.Errorf("body %q", e.Body)
				}
				break
			}
		})
	}
}

// The newer connection of an identity wins, whatever the two go over.
func TestWebSocketTakesOver(t *testing.T) {
	s := start(t, nil)
	cs := create(t, s, "dev1")
	first := dial(t, s, cs)
	second, c := dialSocket(t, s, cs)
	first.closed()
	second.publish("x", 1)
	second.puback()
	third := dial(t, s, cs)
	if _, _, err := c.Read(t.Context()); err == nil {
		t.Error("the older one still reads")
	}
	third.publish("x", 1)
	third.puback()
}

// A client certificate of the TLS handshake is a credential here too, and a
// refused CONNECT is answered.
func TestWebSocketClientCertificate(t *testing.T) {
	s := start(t, nil)
	leaf := testkit.Leaf(t, "device", nil)
	sum := sha256.Sum256(leaf.Raw)
	rest(t, s, "PUT", "/devices/dev1?api-version=2021-04-12",
		`{"deviceId":"dev1","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"`+hex.EncodeToString(sum[:])+`"}}}`)
	create(t, s, "dev2")
	cert := leaf.TLS()
	for id, want := range map[string]byte{"dev1": 0, "dev2": 5} {
		c, _, err := openSocket(t, s, socketPath, subMQTT, &cert)
		if err != nil {
			t.Fatal(err)
		}
		packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
			ClientID: id, Username: "localhost/" + id + "/?api-version=2021-04-12", CleanSession: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(t.Context(), websocket.MessageBinary, packet); err != nil {
			t.Fatal(err)
		}
		_, frame, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, code, err := mqtt.DecodeConnack(frame); err != nil || code != want {
			t.Errorf("%s: code %d, %v", id, code, err)
		}
	}
}

// A WebSocket proves nothing: it counts until CONNECT is accepted, and has only
// so much time for it.
func TestWebSocketsUnauthenticatedAreBounded(t *testing.T) {
	s, err := hub.New(&hub.Options{MaxUnauthenticated: 2, HandshakeTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, s)
	if _, err := s.Listen(hub.HTTPS, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	create(t, s, "dev1")
	create(t, s, "dev2")
	start := time.Now()
	var silent []*websocket.Conn
	for range 2 {
		c, _, err := openSocket(t, s, socketPath, subMQTT, nil)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	cs, err := s.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	// This one has to wait for one of them to be thrown out.
	d, _ := dialSocket(t, s, withHost(t, cs, restURL(t, s)))
	if took := time.Since(start); took < time.Second {
		t.Errorf("a third one was let in after %v", took)
	}
	for _, c := range silent {
		if _, _, err := c.Read(t.Context()); err == nil {
			t.Error("got something")
		}
	}
	d.publish("x", 1)
	d.puback()
}

// withHost replaces the host name of a connection string by that of a URL.
func withHost(t *testing.T, connectionString, url string) string {
	t.Helper()
	_, rest, ok := strings.Cut(connectionString, ";")
	if !ok {
		t.Fatal(connectionString)
	}
	return "HostName=" + strings.TrimPrefix(url, "https://") + ";" + rest
}

// Requests on one connection do not get around the bound.
func TestWebSocketAfterARequestNeedsASlot(t *testing.T) {
	s, err := hub.New(&hub.Options{MaxUnauthenticated: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, s)
	addr, err := s.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(nc net.Conn, path, more string) string {
		if _, err := io.WriteString(nc, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n"+more+"\r\n"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := nc.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		status, _, _ := strings.Cut(string(buf[:n]), "\r\n")
		return status
	}
	upgrade := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n"
	config := &tls.Config{RootCAs: s.CertPool(), ServerName: "localhost"}
	var ncs []net.Conn
	for range 2 {
		nc, err := tls.Dial("tcp", addr.String(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if got := ask(nc, "/devices", ""); !strings.Contains(got, "401") {
			t.Fatal(got)
		}
		// The rest of that answer may come by itself.
		ncs = append(ncs, nc)
	}
	if got := ask(ncs[0], "/$iothub/websocket", upgrade); !strings.Contains(got, "101") {
		t.Fatal(got)
	}
	if got := ask(ncs[1], "/$iothub/websocket", upgrade); !strings.Contains(got, "503") {
		t.Fatal(got)
	}
}

// Shutdown lets what was taken in be acknowledged and says goodbye.
func TestWebSocketShutdown(t *testing.T) {
	s, err := hub.New(&hub.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS} {
		if _, err := s.Listen(p, "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	d, c := dialSocket(t, s, create(t, s, "dev1"))
	for i := range 50 {
		d.publish("x", uint16(i+1))
	}
	d.puback()
	shutdown(t, s)
	acks := 1
	for {
		_, frame, err := c.Read(t.Context())
		if err != nil {
			if websocket.CloseStatus(err) != websocket.StatusNormalClosure && !errors.Is(err, io.EOF) {
				t.Errorf("the end: %v", err)
			}
			break
		}
		acks += len(frame) / 4
	}
	if acks > 50 {
		t.Errorf("%d acknowledgements", acks)
	}
	if _, _, err := openSocket(t, s, socketPath, subMQTT, nil); err == nil {
		t.Error("a WebSocket after the end")
	}
}
