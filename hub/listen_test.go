package hub_test

import (
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

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// flaky is a listener whose first accepts fail, as when the process is out of
// file descriptors.
type flaky struct {
	net.Listener
	failures int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures > 0 {
		f.failures--
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestAcceptGoesOnAfterErrors(t *testing.T) {
	log := &testkit.Buffer{}
	s, err := hub.New(&hub.Options{Logger: logger(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(hub.MQTT, &flaky{Listener: l, failures: 3}) }()
	nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: s.CertPool(), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	if n := strings.Count(log.String(), "too many open files"); n != 3 {
		t.Errorf("%d failures are in the log", n)
	}
	// A listener that somebody closes does end.
	_ = l.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestServeUnknownProtocol(t *testing.T) {
	s := start(t, nil)
	if _, err := s.Listen("COAP", "127.0.0.1:0"); err == nil {
		t.Error("Listen")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve("COAP", l); err == nil {
		t.Error("Serve")
	}
}

// Who does not prove anything gets little time, and only so many of them are let
// in at once.
func TestUnauthenticatedAreBounded(t *testing.T) {
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS} {
		t.Run(string(p), func(t *testing.T) {
			s, err := hub.New(&hub.Options{MaxUnauthenticated: 2, HandshakeTimeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer shutdown(t, s)
			addr, err := s.Listen(p, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			silent := func() net.Conn {
				nc, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = nc.Close() })
				return nc
			}
			first, second := silent(), silent()
			start := time.Now()
			nc, err := tls.Dial("tcp", addr.String(), &tls.Config{RootCAs: s.CertPool(), ServerName: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.Close()
			if took := time.Since(start); took < 100*time.Millisecond {
				t.Errorf("a third one was let in after %v", took)
			}
			for _, nc := range []net.Conn{first, second} {
				if _, err := io.Copy(io.Discard, nc); err != nil && !strings.Contains(err.Error(), "reset") {
					t.Error(err)
				}
			}
		})
	}
}

// Those who have proved who they are do not count.
func TestAuthenticatedAreNotBounded(t *testing.T) {
	s := start(t, &hub.Options{MaxUnauthenticated: 1, HandshakeTimeout: 5 * time.Second})
	var open []*device
	for _, id := range []string{"dev1", "dev2", "dev3", "dev3/mod1"} {
		open = append(open, dial(t, s, create(t, s, id)))
	}
	for i := range 3 {
		resp, err := client(s, nil).Get(restURL(t, s) + "/ca.pem")
		if err != nil {
			t.Fatal(i, err)
		}
		defer resp.Body.Close() // kept open meanwhile
	}
	for _, d := range open {
		d.publish("x", 1)
		d.puback()
	}
}

func TestAdviceInTheLog(t *testing.T) {
	log := &testkit.Buffer{}
	s, err := hub.New(&hub.Options{Logger: logger(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, s)
	addr, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: "localhost"}); err == nil {
		t.Fatal("an unknown authority is trusted")
	}
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	packet, _ := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{ClientID: "dev1"})
	_, _ = nc.Write(packet)
	_, _ = io.Copy(io.Discard, nc)
	_ = nc.Close()
	for _, want := range []string{"does the client trust the CA", "does not speak TLS"} {
		for deadline := time.Now().Add(5 * time.Second); !strings.Contains(log.String(), want); {
			if time.Now().After(deadline) {
				t.Fatalf("no %q in the log: %s", want, log)
			}
			<-time.After(time.Millisecond)
		}
	}
}

// client is an HTTP client that trusts the hub.
func client(s *hub.Server, cert *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: s.CertPool()}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

func restURL(t testing.TB, s *hub.Server) string {
	t.Helper()
	cs, err := iothub.ParseConnectionString(s.ServiceConnectionString())
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + cs.HostName
}

// rest makes a request as iothubowner.
func rest(t testing.TB, s *hub.Server, method, path, body string) string {
	t.Helper()
	cs, err := iothub.ParseConnectionString(s.ServiceConnectionString())
	if err != nil {
		t.Fatal(err)
	}
	token, err := cs.Credential().Token(t.Context(), cs.HostName, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, restURL(t, s)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", token.Value)
	resp, err := client(s, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, text, err)
	}
	return string(text)
}

func TestREST(t *testing.T) {
	s := start(t, nil)
	create(t, s, "dev1")
	if got := rest(t, s, "GET", "/devices/dev1?api-version=2021-04-12", ""); !strings.Contains(got, `"deviceId":"dev1"`) {
		t.Error(got)
	}
	if got := rest(t, s, "GET", "/ca.pem", ""); got != string(s.CACertPEM()) {
		t.Error(got)
	}
}

// A client certificate of the TLS handshake is a credential.
func TestClientCertificate(t *testing.T) {
	s := start(t, nil)
	leaf := testkit.Leaf(t, "device", nil)
	sum := sha256.Sum256(leaf.Raw)
	rest(t, s, "PUT", "/devices/dev1?api-version=2021-04-12",
		`{"deviceId":"dev1","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"`+hex.EncodeToString(sum[:])+`"}}}`)
	create(t, s, "dev2")
	cs, err := s.DeviceConnectionString("dev2")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := iothub.ParseConnectionString(cs)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]byte{"dev1": 0, "dev2": 5} {
		nc, err := tls.Dial("tcp", parsed.HostName, &tls.Config{
			RootCAs: s.CertPool(), ServerName: "127.0.0.1",
			Certificates: []tls.Certificate{leaf.TLS()},
		})
		if err != nil {
			t.Fatal(err)
		}
		packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
			ClientID: id, Username: "localhost/" + id + "/?api-version=2021-04-12", CleanSession: true,
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
		if _, code, err := mqtt.DecodeConnack(frame); err != nil || code != want {
			t.Errorf("%s: code %d, %v", id, code, err)
		}
		_ = nc.Close()
	}
	if _, err := s.DeviceConnectionString("dev1"); err == nil {
		t.Error("a connection string for an identity without keys")
	}
}
