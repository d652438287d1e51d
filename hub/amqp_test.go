package hub_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"
	"github.com/coder/websocket"

	"github.com/iothub-go/iothub/hub"
)

// Back ends reach the hub over AMQP with TLS, without, and over both WebSockets.
func TestAMQPTransports(t *testing.T) {
	s := start(t, nil)
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	listen := func(p hub.Protocol) string {
		addr, err := s.Listen(p, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return addr.String()
	}
	tlsAddr, plainAddr := listen(hub.AMQP), listen(hub.AMQPPlain)
	socket := func(path string) net.Conn {
		c, _, err := openSocket(t, s, path, "AMQPWSB10", nil)
		if err != nil {
			t.Fatal(err)
		}
		return websocket.NetConn(context.Background(), c, websocket.MessageBinary)
	}
	for name, dial := range map[string]func() net.Conn{
		"TLS": func() net.Conn {
			c, err := tls.Dial("tcp", tlsAddr, &tls.Config{RootCAs: s.CertPool()})
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		"plain": func() net.Conn {
			c, err := net.Dial("tcp", plainAddr)
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		"the hub's WebSocket":    func() net.Conn { return socket("/$iothub/websocket") },
		"Event Hubs's WebSocket": func() net.Conn { return socket("/$servicebus/websocket") },
	} {
		_, key, _ := strings.Cut(s.ServiceConnectionString(), ";SharedAccessKey=")
		c, err := amqp.NewConn(t.Context(), dial(), &amqp.ConnOptions{HostName: "127.0.0.1", SASLType: amqp.SASLTypePlain("iothubowner", key)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		session, err := c.NewSession(t.Context(), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w, err := session.NewSender(t.Context(), "/messages/devicebound", nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		to := "/devices/dev1/messages/devicebound"
		if err := w.Send(t.Context(), &amqp.Message{Data: [][]byte{[]byte("x")}, Properties: &amqp.MessageProperties{To: &to}}, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.Close() // a WebSocket of that library ends with an error of its own
	}
	if n, err := s.PurgeC2D(t.Context(), "dev1"); n != 4 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
}
