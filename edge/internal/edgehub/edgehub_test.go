package edgehub_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/edge/internal/edgehub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service"
)

// TestMain fails when a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	if text := os.Getenv(envChild); text != "" {
		if err := serveChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testkit.Main(m, 20*time.Second, "edgehub.(", "managed.(", "hub.(*Server)")
}

func TestMessagesGoUpstreamAsTheirSender(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	before := time.Now().Add(-time.Second)
	m := &iothub.Message{
		Payload: []byte(`{"t":21.5}`), Properties: map[string]string{"k": "v w/%", "": ""},
		MessageID: "m1", CorrelationID: "c1", UserID: "u", ContentType: "application/json", ContentEncoding: "utf-8", OutputName: "out",
	}
	delete(m.Properties, "")
	if err := w.module("a").SendEvent(bound(t), m); err != nil {
		t.Fatal(err)
	}
	if err := w.device("leaf").SendEvent(bound(t), &iothub.Message{Payload: []byte("from the leaf"), CreationTime: time.Unix(1_700_000_000, 0)}); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.events(2) {
		created, err := time.Parse(time.RFC3339, e.SystemProperties["iothub-creation-time-utc"])
		if err != nil {
			t.Errorf("created at %q", e.SystemProperties["iothub-creation-time-utc"])
		}
		if e.DeviceID == "leaf" {
			if e.ModuleID != "" || string(e.Body) != "from the leaf" || created.Unix() != 1_700_000_000 {
				t.Errorf("got %+v", e)
			}
			continue
		}
		s := e.SystemProperties
		if e.DeviceID != "gw" || e.ModuleID != "a" || string(e.Body) != `{"t":21.5}` || e.Properties["k"] != "v w/%" || len(e.Properties) != 1 ||
			s["message-id"] != "m1" || s["correlation-id"] != "c1" || s["user-id"] != "u" || s["content-type"] != "application/json" ||
			s["content-encoding"] != "utf-8" || s["iothub-outputname"] != "out" || created.Before(before) {
			t.Errorf("got %+v", e)
		}
	}
	until(t, "both are counted", func() bool { return w.edge.Stats().Forwarded == 2 })
}

// A leaf device may prove itself by a certificate; upstream its gateway vouches for it.
func TestLeafWithCertificate(t *testing.T) {
	w := newWorld(t)
	gw, err := w.service.GetDevice(t.Context(), "gw")
	if err != nil {
		t.Fatal(err)
	}
	cert := func() (tls.Certificate, string) {
		c := testkit.Leaf(t, "certified", nil)
		sum := sha256.Sum256(c.Raw)
		return c.TLS(), hex.EncodeToString(sum[:])
	}
	right, print := cert()
	wrong, _ := cert()
	w.create(service.Device{DeviceID: "certified", Scope: gw.Scope, Authentication: &service.Authentication{
		Type: service.SelfSignedAuthentication, Thumbprints: &service.Thumbprints{Primary: print, Secondary: print},
	}})
	w.create(service.Device{DeviceID: "signed", Scope: gw.Scope, Authentication: &service.Authentication{Type: service.CertificateAuthentication}})
	factory := testkit.Authority(t, "factory", nil)
	w.start(func(o *edgehub.Options) { o.Authorities = factory.PEM() })
	client := func(id string, c tls.Certificate, status func(iothub.ConnectionEvent)) *device.Client {
		o := w.clientOptions()
		o.Credential, o.OnConnectionStatus = iothub.NewCertificateCredential(c), status
		client, err := device.NewClientFromConnectionString(w.through("HostName=localhost;DeviceId="+id+";x509=true"), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.closeClient(client.Close) })
		client.Open()
		return client
	}
	if err := client("certified", right, nil).SendEvent(bound(t), &iothub.Message{Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := client("signed", testkit.Leaf(t, "signed", factory).TLS(), nil).SendEvent(bound(t), &iothub.Message{Payload: []byte("y")}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{} // two devices, so in no order
	for _, e := range w.events(2) {
		got[e.DeviceID] = string(e.Body)
	}
	if want := map[string]string{"certified": "x", "signed": "y"}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	refused := make(chan error, 1)
	client("certified", wrong, func(e iothub.ConnectionEvent) {
		select {
		case refused <- e.Err:
		default:
		}
	})
	if err := <-refused; iothub.KindOf(err) != iothub.KindUnauthorized {
		t.Errorf("got %v", err)
	}
}

// Without the hub upstream, and after a restart without it, identities that were
// known are served, and what they send is passed on later.
func TestOffline(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	if err := w.device("leaf").SendEvent(bound(t), &iothub.Message{Payload: []byte("0")}); err != nil {
		t.Fatal(err)
	}
	w.events(1)
	until(t, "it is acknowledged", func() bool { return w.edge.Stats().Forwarded == 1 })
	w.cable.set(true)
	w.restart(nil)
	leaf := w.device("leaf")
	for _, body := range []string{"1", "2", "3"} {
		if err := leaf.SendEvent(bound(t), &iothub.Message{Payload: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	if s := w.edge.Stats(); s.Online || s.Waiting == 0 || s.Forwarded != 0 {
		t.Errorf("got %+v", s)
	}
	w.cable.set(false)
	for i, e := range w.events(4) {
		if string(e.Body) != string(rune('0'+i)) {
			t.Errorf("event %d is %q", i, e.Body)
		}
	}
}

func TestOptions(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(*edgehub.Options){
		"DataDir":    func(o *edgehub.Options) { o.DataDir = "" },
		"HostNames":  func(o *edgehub.Options) { o.HostNames = nil },
		"HostName":   func(o *edgehub.Options) { o.Upstream.HostName = "" },
		"DeviceID":   func(o *edgehub.Options) { o.Upstream.DeviceID = "a/b" },
		"Credential": func(o *edgehub.Options) { o.Upstream.Credential = nil },
		"StoreLimit": func(o *edgehub.Options) { o.StoreLimit = 1000 },
		"WhenFull":   func(o *edgehub.Options) { o.WhenFull = "panic" },
		"Refresh":    func(o *edgehub.Options) { o.Refresh = -1 },
		"TTL":        func(o *edgehub.Options) { o.TTL = -1 },
		"route":      func(o *edgehub.Options) { o.Routes = []string{"FROM nowhere"} },
	} {
		o := w.options()
		edit(&o)
		h, err := edgehub.New(t.Context(), o)
		if err == nil {
			within(t, h.Shutdown)
			t.Errorf("%s: no error", name)
		}
	}
}

func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}
