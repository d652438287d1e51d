package ll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

var update = flag.Bool("update", false, "write docs/options.md anew")

const (
	keyString  = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	x509String = "HostName=hub.example;DeviceId=dev1;x509=true"
)

func newDevice(t *testing.T, text string, o *ClientOptions) *DeviceClient {
	t.Helper()
	c, err := NewDeviceClientFromConnectionString(text, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Destroy() })
	return c
}

// pair makes a certificate and its key in PEM form.
func pair(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

// Every option with good values of every kind, and what they change.
func TestSetOption(t *testing.T) {
	cert, key := pair(t, "hub.example")
	o := func(c *DeviceClient) *ClientOptions { return c.c.setup.Options }
	for _, test := range []struct {
		name  string
		value any
		got   func(c *DeviceClient) any
		want  any
	}{
		{"messageTimeout", 1500, func(c *DeviceClient) any { return o(c).MessageTimeout }, 1500 * time.Millisecond},
		{"messageTimeout", uint64(2), func(c *DeviceClient) any { return o(c).MessageTimeout }, 2 * time.Millisecond},
		{"messageTimeout", 3 * time.Second, func(c *DeviceClient) any { return o(c).MessageTimeout }, 3 * time.Second},
		{"messageTimeout", 0, func(c *DeviceClient) any { return o(c).MessageTimeout }, time.Duration(0)},
		{"keepalive", int32(30), func(c *DeviceClient) any { return o(c).KeepAlive }, 30 * time.Second},
		{"keepalive", 0, func(c *DeviceClient) any { return o(c).KeepAlive }, time.Duration(0)},
		{"connect_timeout", 5, func(c *DeviceClient) any { return o(c).ConnectTimeout }, 5 * time.Second},
		{"sas_token_lifetime", uint(60), func(c *DeviceClient) any { return o(c).TokenLifetime }, time.Minute},
		{"sas_token_refresh_time", 120, func(c *DeviceClient) any { return o(c).TokenLifetime }, 2 * time.Minute},
		{"retry_interval_sec", 7, func(c *DeviceClient) any { return c.c.sess.RetryPolicy().InitialDelay }, 7 * time.Second},
		{"retry_max_delay_secs", 8, func(c *DeviceClient) any { return c.c.sess.RetryPolicy().MaxDelay }, 8 * time.Second},
		{"product_info", "widget/1", func(c *DeviceClient) any { return o(c).ProductInfo }, "widget/1"},
		{"model_id", "dtmi:a:b;1", func(c *DeviceClient) any { return o(c).ModelID }, "dtmi:a:b;1"},
		{"TrustedCerts", cert, func(c *DeviceClient) any { return o(c).TLS.RootCAs != nil }, true},
		{"proxy_data", &HTTPProxyOptions{HostAddress: "proxy.example", Port: 3128}, func(c *DeviceClient) any { return o(c).Proxy.String() }, "http://proxy.example:3128"},
		{"proxy_data", &HTTPProxyOptions{HostAddress: "::1", Port: 1, Username: "u@x", Password: "p/#"},
			func(c *DeviceClient) any { return o(c).Proxy.URL().String() }, "http://u%40x:p%2F%23@[::1]:1"},
		{"logtrace", true, func(c *DeviceClient) any { return c.c.log != nil }, true},
		{"logtrace", false, func(c *DeviceClient) any { return c.c.log != nil }, false},
		{"auto_url_encode_decode", true, nil, nil},
		{"rawlogtrace", false, nil, nil},
		{"diag_sampling_percentage", 0, nil, nil},
	} {
		c := newDevice(t, keyString, nil)
		if err := c.SetOption(test.name, test.value); err != nil {
			t.Errorf("%s %v: %v", test.name, test.value, err)
		} else if test.got != nil && test.got(c) != test.want {
			t.Errorf("%s %v: %v, want %v", test.name, test.value, test.got(c), test.want)
		}
	}
	// A module has the same.
	m, err := NewModuleClientFromConnectionString(strings.Replace(keyString, ";Shared", ";ModuleId=m;Shared", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Destroy()
	if err := m.SetOption("keepalive", 10); err != nil || m.c.setup.Options.KeepAlive != 10*time.Second {
		t.Error(err)
	}
	if err := m.SetOption("logtrace", true); err != nil {
		t.Error(err)
	}
	x := newDevice(t, x509String, nil)
	for _, step := range []struct{ name, value string }{{"x509privatekey", key}, {"x509certificate", cert}} {
		if x.c.setup.Credential != nil {
			t.Error("half a certificate is a credential")
		}
		if err := x.SetOption(step.name, step.value); err != nil {
			t.Fatal(err)
		}
	}
	if x.c.setup.Credential.Certificate() == nil || x.c.pem.cert != nil || x.c.pem.key != nil {
		t.Error("the certificate is not the credential")
	}
}

// Each refusal names the option, and the type or the value, and no secret.
func TestSetOptionRefuses(t *testing.T) {
	cert, key := pair(t, "a")
	_, otherKey := pair(t, "b")
	for _, test := range []struct {
		name  string
		value any
		want  string
	}{
		{"nonsense", 5, "of type int"},
		{"nonsense", nil, "nil"},
		{"KeepAlive", 5, "spelled keepalive"},
		{"Batching", true, "HTTP only"},
		{"do_work_freq_ms", 1, "Wakeup"},
		{"proxy_address", "x", "proxy_data"},
		{"messageTimeout", "5", "of type string"},
		{"messageTimeout", -1, "-1"},
		{"messageTimeout", uint64(math.MaxUint64), "can be"},
		{"messageTimeout", -time.Second, "can be"},
		{"keepalive", 65536, "65536"},
		{"keepalive", 1.5, "of type float64"},
		{"keepalive", nil, "nil"},
		{"connect_timeout", 0, "can be 1s"},
		{"sas_token_lifetime", 4, "can be 5s"},
		{"retry_interval_sec", 0, "can be 1s"},
		{"retry_max_delay_secs", false, "of type bool"},
		{"product_info", []byte("x"), "of type []uint8"},
		{"model_id", 1, "of type int"},
		{"x509certificate", cert, "x509=true"},
		{"x509privatekey", key, "x509=true"},
		{"x509privatekey", []byte(key), "of type []uint8"},
		{"TrustedCerts", "nothing", "no certificate"},
		{"TrustedCerts", 1, "of type int"},
		{"proxy_data", HTTPProxyOptions{HostAddress: "h", Port: 1}, "*HTTPProxyOptions"},
		{"proxy_data", (*HTTPProxyOptions)(nil), "HTTPProxyOptions"},
		{"proxy_data", &HTTPProxyOptions{Port: 1}, "HostAddress"},
		{"proxy_data", &HTTPProxyOptions{HostAddress: "h", Port: 1, Password: "sesame"}, "go together"},
		{"proxy_data", &HTTPProxyOptions{HostAddress: "h", Port: 70000, Username: "u", Password: "sesame"}, "port"},
		{"proxy_data", &HTTPProxyOptions{HostAddress: "h h/", Port: 7, Username: "u", Password: "sesame"}, "proxy"},
		{"logtrace", 1, "of type int"},
		{"auto_url_encode_decode", false, "always encoded"},
		{"auto_url_encode_decode", "true", "of type string"},
		{"rawlogtrace", true, "secrets"},
		{"diag_sampling_percentage", 101, "101"},
		{"diag_sampling_percentage", 5, "otel"},
		{"diag_sampling_percentage", "5", "of type string"},
	} {
		c := newDevice(t, keyString, nil)
		err := c.SetOption(test.name, test.value)
		if iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(fmt.Sprint(err), test.want) || !strings.Contains(fmt.Sprint(err), test.name) {
			t.Errorf("%s %v: %v, want %q in it", test.name, test.value, err, test.want)
		}
		if s := fmt.Sprint(err); strings.Contains(s, "sesame") || strings.Contains(s, "PRIVATE KEY") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
	x := newDevice(t, x509String, nil)
	if err := x.SetOption("x509certificate", cert); err != nil {
		t.Fatal(err)
	}
	if err := x.SetOption("x509privatekey", otherKey); iothub.KindOf(err) != iothub.KindInvalidArgument || x.c.setup.Credential != nil {
		t.Errorf("a key of another certificate: %v", err)
	}
	c := newDevice(t, keyString, &ClientOptions{ModelID: "dtmi:a:b;1", DialTLS: simnet.New(nil).Dial})
	if err := c.SetOption("model_id", "dtmi:a:b;2"); err == nil {
		t.Error("the model id can be set twice")
	}
	if err := c.SetOption("proxy_data", &HTTPProxyOptions{HostAddress: "h", Port: 1}); err == nil {
		t.Error("a proxy beside DialTLS")
	}
	for _, name := range []string{"Batching", "rawlogtrace"} {
		if err := c.SetOption(name, true); !errors.Is(err, iothub.ErrNotSupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", HTTPProxyOptions{Password: "sesame"}, &HTTPProxyOptions{Password: "sesame"}, HTTPProxyOptions{Password: "sesame"}); strings.Contains(s, "sesame") {
		t.Error("the password is shown: ", s)
	}
	c.Destroy()
	if err := c.SetOption("keepalive", 5); !errors.Is(err, iothub.ErrClosed) {
		t.Errorf("after Destroy: %v", err)
	}
}

// work lets the client work until the virtual time d has passed.
func work(t *testing.T, c *DeviceClient, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); ; {
		next, err := c.DoWork()
		if err != nil {
			t.Fatal(err)
		}
		if !time.Now().Before(end) {
			return
		}
		if next.After(end) {
			next = end
		}
		select {
		case <-c.Wakeup():
		case <-time.After(time.Until(next)):
		}
	}
}

// simulated runs f with a client and a scripted hub in virtual time.
func simulated(t *testing.T, text string, o *ClientOptions, h *simhub.Hub, f func(t *testing.T, c *DeviceClient, n *simnet.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(nil)
		go h.Serve(n)
		if o.DialTLS == nil && o.Dial == nil {
			o.DialTLS = n.Dial
		}
		c, err := NewDeviceClientFromConnectionString(text, o)
		if err != nil {
			t.Fatal(err)
		}
		f(t, c, n)
		c.Destroy()
		n.Close()
		h.Wait()
	})
}

// Options count when they say they do.
func TestOptionsWhileConnected(t *testing.T) {
	h := &simhub.Hub{}
	simulated(t, keyString, &ClientOptions{}, h, func(t *testing.T, c *DeviceClient, n *simnet.Network) {
		if err := c.SetOption("product_info", "widget/1"); err != nil {
			t.Fatal(err)
		}
		if err := c.SetOption("model_id", "dtmi:a:b;1"); err != nil {
			t.Fatal(err)
		}
		if err := c.SendEventAsync(&iothub.Message{}, nil); err != nil {
			t.Fatal(err)
		}
		work(t, c, time.Second)
		if u := h.Connects()[0].Username; !strings.Contains(u, "widget") || !strings.Contains(u, "dtmi") {
			t.Errorf("user name %s", u)
		}
		for name, v := range map[string]any{"product_info": "x", "model_id": "dtmi:a:b;1", "proxy_data": &HTTPProxyOptions{HostAddress: "h", Port: 1}} {
			if err := c.SetOption(name, v); iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), "before the first DoWork") {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The connection is replaced for a new keep-alive, and for no other.
		for i, seconds := range []int{60, 60, 30} {
			if err := c.SetOption("keepalive", seconds); err != nil {
				t.Fatal(err)
			}
			work(t, c, 10*time.Second)
			if got, want := n.Dials(), 1+i/2; got != want {
				t.Errorf("keepalive %d: %d dials, want %d", seconds, got, want)
			}
		}
		if got := h.Connects()[1].KeepAlive; got != 30 {
			t.Errorf("CONNECT has the keep-alive %d", got)
		}
		if st, _ := c.Stats(); st.Confirmed != 1 || st.Resent != 0 || st.Connects != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// A client for x509=true connects when the certificate comes.
func TestCertificateByOption(t *testing.T) {
	cert, key := pair(t, "hub.example")
	h := &simhub.Hub{}
	var events []iothub.ConnectionEvent
	o := &ClientOptions{OnConnectionStatus: func(e iothub.ConnectionEvent) { events = append(events, e) }}
	simulated(t, x509String, o, h, func(t *testing.T, c *DeviceClient, n *simnet.Network) {
		work(t, c, time.Second)
		if len(events) == 0 || !errors.Is(events[0].Err, iothub.ErrNoCredential) || n.Dials() != 0 {
			t.Fatalf("without a certificate: %v", events)
		}
		if err := errors.Join(c.SetOption("x509certificate", cert), c.SetOption("x509privatekey", key), c.Reconnect()); err != nil {
			t.Fatal(err)
		}
		work(t, c, time.Second)
		if len(h.Connects()) != 1 || len(h.Connects()[0].Password) != 0 {
			t.Errorf("%+v", h.Connects())
		}
	})
}

func TestRetryPolicy(t *testing.T) {
	h := &simhub.Hub{Connack: func(n int, _ *mqtt.ConnectPacket) int { return 3 * (1 - min(n, 1)) }}
	var last iothub.ConnectionEvent
	o := &ClientOptions{Retry: &iothub.RetryPolicy{Strategy: iothub.RetryNone, InitialDelay: 3 * time.Second},
		OnConnectionStatus: func(e iothub.ConnectionEvent) { last = e }}
	simulated(t, keyString, o, h, func(t *testing.T, c *DeviceClient, n *simnet.Network) {
		if p, l, err := c.RetryPolicy(); p != iothub.RetryNone || l != 0 || err != nil {
			t.Errorf("%v, %v, %v", p, l, err)
		}
		work(t, c, time.Minute)
		if last.Reason != iothub.ReasonRetryExpired || n.Dials() != 1 {
			t.Fatalf("%v, %d dials", last, n.Dials())
		}
		for _, bad := range []struct {
			s iothub.RetryStrategy
			l time.Duration
		}{{7, 0}, {0, -1}} {
			if err := c.SetRetryPolicy(bad.s, bad.l); iothub.KindOf(err) != iothub.KindInvalidArgument {
				t.Errorf("%v: %v", bad, err)
			}
		}
		if err := c.SetRetryPolicy(iothub.RetryInterval, time.Hour); err != nil {
			t.Fatal(err)
		}
		if p, l, _ := c.RetryPolicy(); p != iothub.RetryInterval || l != time.Hour || c.c.sess.RetryPolicy().InitialDelay != 3*time.Second {
			t.Errorf("%v, %v", p, l)
		}
		work(t, c, time.Second)
		if last.Status != iothub.Authenticated {
			t.Errorf("a client that had given up does not resume: %v", last)
		}
	})
}

func TestLastMessageReceiveTime(t *testing.T) {
	h := &simhub.Hub{}
	simulated(t, keyString, &ClientOptions{}, h, func(t *testing.T, c *DeviceClient, _ *simnet.Network) {
		if err := c.SetMessageCallback(func(*iothub.ReceivedMessage) iothub.Disposition { return iothub.DispositionAccepted }); err != nil {
			t.Fatal(err)
		}
		work(t, c, time.Second)
		if at, err := c.LastMessageReceiveTime(); !at.IsZero() || err != nil {
			t.Errorf("before any message: %v, %v", at, err)
		}
		if h.Publish("devices/dev1/messages/devicebound/#", "devices/dev1/messages/devicebound/", "hi", 1, false) != 1 {
			t.Fatal("nobody has subscribed")
		}
		work(t, c, 0)
		synctest.Wait()
		work(t, c, 0)
		now := time.Now()
		work(t, c, time.Minute)
		if at, err := c.LastMessageReceiveTime(); !at.Equal(now) || err != nil {
			t.Errorf("%v, want %v; %v", at, now, err)
		}
	})
}

// The log says what happens, whose it is, and no secret; logtrace turns it on
// and off.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	h := &simhub.Hub{Connack: func(n int, _ *mqtt.ConnectPacket) int { return 5 * (1 - min(n, 1)) },
		Ack: func(r *simhub.Received) bool { return r.Session > 1 || r.Payload != "secret payload" }}
	o := &ClientOptions{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	simulated(t, keyString, o, h, func(t *testing.T, c *DeviceClient, _ *simnet.Network) {
		if err := c.SetOption("messageTimeout", time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := c.SendEventAsync(&iothub.Message{Payload: []byte("secret payload")}, nil); err != nil {
			t.Fatal(err)
		}
		work(t, c, time.Minute)
		h.Drop()
		work(t, c, time.Minute)
		if err := c.SendEventAsync(&iothub.Message{Payload: []byte("x"), ExpiryTime: time.Now().Add(-1)}, nil); err != nil {
			t.Fatal(err)
		}
		work(t, c, time.Minute)
		for _, want := range []string{"level=DEBUG msg=connecting", "level=WARN msg=\"not connected\"", "reason=BAD_CREDENTIAL", "kind=unauthorized",
			"advice=\"check the credential", "level=INFO msg=connected", "device_id=dev1", "messages were sent again", "messages were not delivered", "result=MESSAGE_TIMEOUT"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the log does not have %s", want)
			}
		}
		if t.Failed() {
			t.Log(out.String())
		}
		if s := out.String(); strings.Contains(s, "secret") || strings.Contains(s, "sig=") {
			t.Errorf("the log shows a secret:\n%s", s)
		}
		if err := c.SetOption("logtrace", false); err != nil {
			t.Fatal(err)
		}
		n := out.Len()
		h.Drop()
		work(t, c, time.Minute)
		if out.Len() != n {
			t.Errorf("logtrace false still logs")
		}
	})
}

// A credential is replaced while connected: nothing is lost or repeated, and
// the new connection presents it.
func TestSetCredential(t *testing.T) {
	h := &simhub.Hub{}
	simulated(t, keyString, &ClientOptions{}, h, func(t *testing.T, c *DeviceClient, _ *simnet.Network) {
		send := func() {
			if err := c.SendEventAsync(&iothub.Message{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		send()
		work(t, c, time.Second)
		if err := c.SetCredential(nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("none: %v", err)
		}
		tok := iothub.Token{Value: "SharedAccessSignature new", Expires: time.Now().Add(time.Hour)}
		if err := c.SetCredential(iothub.NewTokenCredential(tok)); err != nil {
			t.Fatal(err)
		}
		send()
		work(t, c, time.Second)
		if len(h.Connects()) != 1 {
			t.Errorf("%d connections before Reconnect", len(h.Connects()))
		}
		send()
		if err := c.Reconnect(); err != nil {
			t.Fatal(err)
		}
		send()
		work(t, c, 10*time.Second)
		connects := h.Connects()
		if len(connects) != 2 || string(connects[1].Password) != tok.Value {
			t.Errorf("%d connections", len(connects))
		}
		if st, _ := c.Stats(); st.Confirmed != 4 || st.Resent != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// The options in docs/options.md are those of the code.
func TestOptionsAreDocumented(t *testing.T) {
	const path = "../docs/options.md"
	const begin, end = "<!-- options: begin, written by go test ./ll -run TestOptionsAreDocumented -update -->\n", "<!-- options: end -->\n"
	var table strings.Builder
	table.WriteString("| option | value | without it | takes effect | |\n|---|---|---|---|---|\n")
	for _, o := range options {
		if o.set != nil {
			fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", o.name, o.value, o.without, o.when, o.note)
		}
	}
	table.WriteString("\nThese exist in the C SDK and are refused with `iothub.ErrNotSupported`:\n\n| option | why |\n|---|---|\n")
	seen := map[string]bool{}
	for _, o := range options {
		if seen[o.name] {
			t.Errorf("%s stands twice", o.name)
		}
		seen[o.name] = true
		if o.set == nil {
			fmt.Fprintf(&table, "| `%s` | %s |\n", o.name, o.note)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no marks for the table", path)
	}
	if got == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the code says; run go test ./ll -run TestOptionsAreDocumented -update", path)
	}
	if err := os.WriteFile(path, []byte(head+begin+table.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
