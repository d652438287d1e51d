package hub_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/coder/websocket"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// besieged is a hub with two devices, and what an attacker may have of it.
type besieged struct {
	*hub.Server
	t     *testing.T
	mqtt  string // addresses of listeners
	amqp  string
	keys  map[string][]byte // of devices and policies
	texts map[string]string // the same as they stand in connection strings
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{Server: start(t, nil), t: t, keys: make(map[string][]byte), texts: make(map[string]string)}
	addr, err := b.Listen(hub.AMQP, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.amqp = addr.String()
	keep := func(name, connectionString string) {
		_, key, _ := strings.Cut(connectionString, "SharedAccessKey=")
		key, _, _ = strings.Cut(key, ";")
		b.texts[name] = key
		if b.keys[name], err = base64.StdEncoding.DecodeString(key); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"mine", "other"} {
		if _, err := b.CreateDevice(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		cs, err := b.DeviceConnectionString(id)
		if err != nil {
			t.Fatal(err)
		}
		keep(id, cs)
		b.mqtt, _, _ = strings.Cut(strings.TrimPrefix(cs, "HostName="), ";")
	}
	keep("iothubowner", b.ServiceConnectionString())
	keep("service", b.EventHubConnectionString(""))
	return b
}

// sign makes a token with a key of "mine", "service" or "iothubowner".
func (b *besieged) sign(key, resource string, life time.Duration) string {
	policy := key
	if key == "mine" || key == "other" {
		policy = ""
	}
	return sas.Sign(resource, b.keys[key], time.Now().Add(life), policy)
}

// dial connects to the listener for a protocol, or to its WebSocket.
func (b *besieged) dial(addr, path, subprotocol string) net.Conn {
	b.t.Helper()
	if path == "" {
		nc, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: b.CertPool()})
		if err != nil {
			b.t.Fatal(err)
		}
		return nc
	}
	c, _, err := openSocket(b.t, b.Server, path, subprotocol, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return websocket.NetConn(context.Background(), c, websocket.MessageBinary)
}

// connack connects over MQTT as a device with a token and gives the code.
func (b *besieged) connack(path, id, username, token string) byte {
	b.t.Helper()
	nc := b.dial(b.mqtt, path, subMQTT)
	defer nc.Close()
	packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
		ClientID: id, KeepAlive: 60, CleanSession: true, Username: username, Password: []byte(token),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	d := &device{t: b.t, nc: nc, buf: make([]byte, 1024)}
	d.write(packet)
	frame, err := d.next()
	if err != nil {
		return 255
	}
	_, code, err := mqtt.DecodeConnack(frame)
	if err != nil {
		b.t.Fatal(err)
	}
	return code
}

// rest makes a request with a token and gives the status.
func (b *besieged) rest(method, path, token string) int {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, restURL(b.t, b.Server)+path, strings.NewReader("{}"))
	if err != nil {
		b.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	resp, err := client(b.Server, nil).Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// link attaches a link over AMQP with SASL PLAIN and reports whether it is let in.
func (b *besieged) link(path, user, password, address string, sends bool) bool {
	b.t.Helper()
	nc := b.dial(b.amqp, path, "AMQPWSB10")
	defer nc.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	c, err := amqp.NewConn(ctx, nc, &amqp.ConnOptions{HostName: "127.0.0.1", SASLType: amqp.SASLTypePlain(user, password)})
	if err != nil {
		return false
	}
	defer c.Close()
	s, err := c.NewSession(ctx, nil)
	if err != nil {
		return false
	}
	if sends {
		_, err = s.NewSender(ctx, address, nil)
	} else {
		_, err = s.NewReceiver(ctx, address, nil)
	}
	return err == nil
}

// TestAttacks is a table of what somebody tries who has a credential of a device, or
// of a policy, that is not meant for it; each listener refuses all of it. The last
// line of each part shows that what is tried works with the right credential.
func TestAttacks(t *testing.T) {
	b := besiege(t)
	const host = "127.0.0.1"
	mine := b.sign("mine", host+"/devices/mine", time.Hour)
	username := func(id string) string { return host + "/" + id + "/?api-version=2021-04-12" }
	signed := func(key, resource string) string { return b.sign(key, resource, time.Hour) }
	widened := strings.Replace(mine, "mine", "other", 1)
	prolonged := func(token string) string { return strings.Replace(token, "&se=1", "&se=2", 1) }
	truncated := mine[:len(mine)-20]

	for _, a := range []struct{ what, id, username, token string }{
		{"the token of another device", "other", username("other"), mine},
		{"another client id", "other", username("mine"), mine},
		{"another user name", "mine", username("other"), mine},
		{"a token whose resource was changed", "other", username("other"), widened},
		{"a token whose end was changed", "mine", username("mine"), prolonged(b.sign("mine", host+"/devices/mine", -time.Hour))},
		{"a token that has expired", "mine", username("mine"), b.sign("mine", host+"/devices/mine", -time.Hour)},
		{"a truncated token", "mine", username("mine"), truncated},
		{"no token", "mine", username("mine"), ""},
		{"a token for another hub", "mine", username("mine"), signed("mine", "elsewhere.example/devices/mine")},
		{"another hub", "mine", "elsewhere.example/mine/?api-version=2021-04-12", mine},
		{"its own key for all devices", "other", username("other"), signed("mine", host)},
		{"a prefix of an id", "mine2", username("mine2"), signed("mine", host+"/devices/mine")},
		{"a path trick", "other", username("other"), signed("mine", host+"/devices/mine/../other")},
		{"an escaped path trick", "other", username("other"), signed("mine", host+"/devices/mine%2f..%2fother")},
		{"a module that is not there", "mine/m", username("mine/m"), mine},
		{"a policy that may not connect devices", "mine", username("mine"), signed("service", host)},
		{"the name of another policy", "mine", username("mine"), strings.Replace(signed("service", host), "skn=service", "skn=iothubowner", 1)},
	} {
		for _, path := range []string{"", socketPath} {
			if code := b.connack(path, a.id, a.username, a.token); code == 0 {
				t.Errorf("MQTT %s: %s: let in", path, a.what)
			}
		}
	}
	for _, path := range []string{"", socketPath} {
		if code := b.connack(path, "mine", username("mine"), mine); code != 0 {
			t.Errorf("MQTT %s: its own token: CONNACK %d", path, code)
		}
	}

	const version = "?api-version=2021-04-12"
	service := signed("service", host)
	for _, a := range []struct{ what, method, path, token string }{
		{"nothing", "GET", "/devices/mine", ""},
		{"the token of a device", "GET", "/devices/mine", mine},
		{"the token of a device, for its twin", "GET", "/twins/mine", mine},
		{"a device's key as that of a policy", "GET", "/twins/mine", sas.Sign(host, b.keys["mine"], time.Now().Add(time.Hour), "service")},
		{"a policy without the right", "GET", "/devices/mine", service},
		{"a policy without the right to write", "DELETE", "/devices/other", service},
		{"a narrower token", "GET", "/twins/other", signed("service", host+"/twins/mine")},
		{"a narrower token, by a path trick", "GET", "/twins/mine%2f..%2fother", signed("service", host+"/twins/mine")},
		{"an expired token", "GET", "/twins/mine", b.sign("service", host, -time.Hour)},
		{"a token for another hub", "GET", "/twins/mine", signed("service", "elsewhere.example")},
		{"a prolonged token", "GET", "/twins/mine", prolonged(b.sign("service", host, -time.Hour))},
		{"a bearer token", "GET", "/twins/mine", "Bearer " + service},
		{"another device's place for a file", "POST", "/devices/other/files", mine},
		{"the events, by a device", "GET", "/iothub/events", mine},
		{"the routing, by a reader", "GET", "/iothub/routing", service},
	} {
		if status := b.rest(a.method, a.path+version, a.token); status != http.StatusUnauthorized {
			t.Errorf("HTTPS: %s: %d", a.what, status)
		}
	}
	if status := b.rest("GET", "/twins/mine"+version, service); status != http.StatusOK {
		t.Errorf("HTTPS: a good token: %d", status)
	}

	const events = "iothub/ConsumerGroups/$Default/Partitions/0"
	paths := []string{"", socketPath, "/$servicebus/websocket"}
	root := func(policy string) string { return policy + "@sas.root.hub" }
	for _, a := range []struct {
		what, user, password, address string
		sends                         bool
	}{
		{"nobody, reading events", "x", "x", events, false},
		{"a wrong key", "service", b.texts["mine"], events, false},
		{"a device, reading events", "mine@sas.hub", mine, events, false},
		{"a device, sending to others", "mine@sas.hub", mine, "/messages/devicebound", true},
		{"a device, reading feedback", "mine@sas.hub", mine, "/messages/servicebound/feedback", false},
		{"the token of a device as that of a policy", root("service"), mine, events, false},
		{"the token of another policy", root("iothubowner"), service, events, false},
		{"an expired token", root("service"), b.sign("service", host, -time.Hour), events, false},
		{"a token for another hub", root("service"), signed("service", "elsewhere.example"), events, false},
		{"a token for another place", root("service"), signed("service", host+"/messages/devicebound"), events, false},
		{"a token for another consumer group", root("service"), signed("service", host+"/iothub/ConsumerGroups/other"), events, false},
		{"a token for another partition", root("service"), signed("service", host+"/iothub/ConsumerGroups/$Default/Partitions/1"), events, false},
		{"a path trick", root("service"), signed("service", host+"/messages"), "messages/../" + events, false},
		{"sending events", "service", b.texts["service"], "iothub", true},
	} {
		for _, path := range paths {
			if b.link(path, a.user, a.password, a.address, a.sends) {
				t.Errorf("AMQP %s: %s: let in", path, a.what)
			}
		}
	}
	for _, path := range paths {
		if !b.link(path, "service", b.texts["service"], events, false) || !b.link(path, root("service"), service, "/messages/devicebound", true) {
			t.Errorf("AMQP %s: a good credential is refused", path)
		}
	}
}

// A client that says nothing has its time, whatever the listener; see also the
// tests of the heads for what slow and greedy clients may hold.
func TestSilentClientsAreClosed(t *testing.T) {
	s, err := hub.New(&hub.Options{HandshakeTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, s) })
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS, hub.AMQP, hub.AMQPPlain} {
		addr, err := s.Listen(p, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		for _, secured := range []bool{false, true} {
			nc, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if secured && p != hub.AMQPPlain {
				tc := tls.Client(nc, &tls.Config{RootCAs: s.CertPool(), ServerName: "127.0.0.1"})
				if err := tc.Handshake(); err != nil {
					t.Fatal(err)
				}
				nc = tc
			}
			_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
			buf := make([]byte, 4096)
			for {
				if _, err = nc.Read(buf); err != nil {
					break
				}
			}
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Errorf("%s, TLS %v: a silent client is still connected", p, secured)
			}
			_ = nc.Close()
		}
	}
}
