package mqtt_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/mqtt"
)

// site is a hub with both listeners and one device.
type site struct {
	*hub.Server
	mqttPort, httpsPort string
	text                string // connection string without a port
}

func newSite(t *testing.T) *site {
	t.Helper()
	s, err := hub.New(&hub.Options{HostNames: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.CreateDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	x := &site{Server: s}
	for p, port := range map[hub.Protocol]*string{hub.MQTT: &x.mqttPort, hub.HTTPS: &x.httpsPort} {
		addr, err := s.Listen(p, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if _, *port, err = net.SplitHostPort(addr.String()); err != nil {
			t.Fatal(err)
		}
	}
	if x.text, err = s.DeviceConnectionString("dev1"); err != nil {
		t.Fatal(err)
	}
	cs, err := iothub.ParseConnectionString(x.text)
	if err != nil {
		t.Fatal(err)
	}
	x.text = strings.Replace(x.text, "HostName="+cs.HostName, "HostName=127.0.0.1", 1)
	return x
}

// on returns the connection string with a port.
func (x *site) on(port string) string {
	return strings.Replace(x.text, "HostName=127.0.0.1", "HostName=127.0.0.1:"+port, 1)
}

// exchange sends through the client, large and small, and receives a method.
func exchange(t *testing.T, x *site, connectionString string, o *iothub.ClientOptions) {
	t.Helper()
	o.TLS = &tls.Config{RootCAs: x.CertPool()}
	c, err := device.NewClientFromConnectionString(connectionString, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var msgs []*iothub.Message
	for i := range 200 {
		msgs = append(msgs, &iothub.Message{Payload: make([]byte, i*i), Properties: map[string]string{"n": fmt.Sprint(i)}})
	}
	if err := c.SendEventBatch(ctx, msgs); err != nil {
		t.Fatal(err)
	}
	if st := c.Stats(); st.Confirmed != 200 || st.Connects != 1 || st.Resent != 0 {
		t.Errorf("%+v", st)
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// MQTT over WebSockets, TLS and all, against the hub of this repository.
func TestWebSocket(t *testing.T) {
	x := newSite(t)
	exchange(t, x, x.on(x.httpsPort), &iothub.ClientOptions{Transport: mqtt.New(&mqtt.Options{WebSocket: true})})
}

// The port for MQTT is closed: the client takes the other by itself.
func TestFallback(t *testing.T) {
	x := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, closed, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	var port int
	fmt.Sscan(x.httpsPort, &port)
	exchange(t, x, x.on(closed), &iothub.ClientOptions{Transport: mqtt.New(&mqtt.Options{Fallback: true, WebSocketPort: port})})
}

// connectProxy is an HTTP proxy that lets through what allow says.
func connectProxy(t *testing.T, allow func(port string) bool) (addr string, reached func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var ports []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				if user, password, _ := parseBasic(req); user != "u" || password != "p" {
					io.WriteString(c, "HTTP/1.1 407 x\r\n\r\n")
					return
				}
				_, port, _ := net.SplitHostPort(req.RequestURI)
				mu.Lock()
				ports = append(ports, port)
				mu.Unlock()
				if !allow(port) {
					io.WriteString(c, "HTTP/1.1 403 x\r\n\r\n")
					return
				}
				target, err := net.Dial("tcp", req.RequestURI)
				if err != nil {
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				go func() { io.Copy(target, c); target.Close() }()
				io.Copy(c, target)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(ports, " ")
	}
}

func parseBasic(req *http.Request) (string, string, bool) {
	r := &http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}
	return r.BasicAuth()
}

// Through a proxy that takes any port, and through one that takes only HTTPS.
func TestProxy(t *testing.T) {
	x := newSite(t)
	var port int
	fmt.Sscan(x.httpsPort, &port)
	for name, allow := range map[string]func(string) bool{
		"any port":   func(string) bool { return true },
		"HTTPS only": func(p string) bool { return p == x.httpsPort },
	} {
		t.Run(name, func(t *testing.T) {
			addr, reached := connectProxy(t, allow)
			proxy, err := iothub.ParseProxy("http://u:p@" + addr)
			if err != nil {
				t.Fatal(err)
			}
			exchange(t, x, x.on(x.mqttPort), &iothub.ClientOptions{
				Proxy: proxy, Transport: mqtt.New(&mqtt.Options{Fallback: true, WebSocketPort: port}),
			})
			want := x.mqttPort
			if name != "any port" {
				want += " " + x.httpsPort
			}
			if got := reached(); got != want {
				t.Errorf("the proxy was asked for %s, want %s", got, want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	text := "HostName=hub.example;DeviceId=d;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	for _, o := range []mqtt.Options{
		{WebSocket: true, Fallback: true}, {WebSocketPort: -1}, {WebSocketPort: 65536}, {Window: -1}, {Window: 65536}, {WindowBytes: -1},
	} {
		_, err := device.NewClientFromConnectionString(text, &iothub.ClientOptions{Transport: mqtt.New(&o)})
		if iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(fmt.Sprint(err), "mqtt.Options") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	// Which port is dialled.
	for _, c := range []struct {
		host, gateway string
		o             mqtt.Options
		want          string
	}{
		{"h.example", "", mqtt.Options{}, "h.example:8883"},
		{"h.example:1", "", mqtt.Options{}, "h.example:1"},
		{"h.example", "", mqtt.Options{WebSocket: true}, "h.example:443"},
		{"h.example:1", "", mqtt.Options{WebSocket: true}, "h.example:1"},
		{"h.example:1", "", mqtt.Options{WebSocket: true, WebSocketPort: 2}, "h.example:2"},
		{"h.example", "gw.example", mqtt.Options{WebSocket: true}, "gw.example:443"},
		{"h.example:1", "gw.example:3", mqtt.Options{WebSocket: true}, "gw.example:3"},
		{"h.example", "gw.example:3", mqtt.Options{Fallback: true}, "gw.example:3 gw.example:443"},
		{"h.example:1", "", mqtt.Options{Fallback: true, WebSocketPort: 2}, "h.example:1 h.example:2"},
	} {
		dialled := make(chan string, 10)
		gate := make(chan struct{})
		text := strings.Replace(text, "hub.example", c.host, 1)
		if c.gateway != "" {
			text += ";GatewayHostName=" + c.gateway
		}
		client, err := device.NewClientFromConnectionString(text, &iothub.ClientOptions{
			Transport: mqtt.New(&c.o), Retry: &iothub.RetryPolicy{Strategy: iothub.RetryNone},
			DialTLS: func(_ context.Context, _, address string) (net.Conn, error) {
				dialled <- address
				return nil, io.ErrUnexpectedEOF
			},
			OnConnectionStatus: func(e iothub.ConnectionEvent) {
				if e.Reason == iothub.ReasonRetryExpired {
					close(gate)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		client.Open()
		<-gate
		client.Close(t.Context())
		close(dialled)
		var got []string
		for a := range dialled {
			got = append(got, a)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s by way of %q with %+v dials %s, want %s", c.host, c.gateway, c.o, s, c.want)
		}
	}
	if s := fmt.Sprint(mqtt.New(nil), ", ", mqtt.New(&mqtt.Options{WebSocket: true})); s != "mqtt, mqtt over websockets" {
		t.Error(s)
	}
}
