package module_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/module"
)

// edgeSite is a hub with the module dev1/mod1, and the daemon that signs for it.
type edgeSite struct {
	*hub.Server
	daemon *testkit.Daemon
	socket string
	addr   string // of MQTT
	text   string // connection string of the module
}

func newEdgeSite(t *testing.T) *edgeSite {
	t.Helper()
	s, err := hub.New(nil)
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
	addr, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateModule(t.Context(), "dev1", "mod1"); err != nil {
		t.Fatal(err)
	}
	text, err := s.ModuleConnectionString("dev1", "mod1")
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(text, "SharedAccessKey=")
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return &edgeSite{s, &testkit.Daemon{Key: secret, Bundle: s.CACertPEM()}, filepath.Join(t.TempDir(), "w.sock"), addr.String(), text}
}

// start serves the workload API on the socket; the function that it returns ends it.
func (e *edgeSite) start(t *testing.T) func() {
	t.Helper()
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: e.daemon}}
	s.Start()
	t.Cleanup(s.Close)
	return s.Close
}

// environment sets what IoT Edge sets, and nothing else.
func environment(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "IOTEDGE_") || strings.HasPrefix(name, "Edge") || strings.HasPrefix(name, "IotHub") {
			t.Setenv(name, "")
		}
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func (e *edgeSite) variables() map[string]string {
	return map[string]string{
		"IOTEDGE_WORKLOADURI": "unix://" + e.socket, "IOTEDGE_DEVICEID": "dev1", "IOTEDGE_MODULEID": "mod1",
		"IOTEDGE_MODULEGENERATIONID": "gen1", "IOTEDGE_IOTHUBHOSTNAME": "127.0.0.1", "IOTEDGE_GATEWAYHOSTNAME": e.addr,
		"IOTEDGE_AUTHSCHEME": "SasToken", "IOTEDGE_APIVERSION": "2019-01-30",
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A module that knows nothing but its environment sends. The daemon may come late and
// be restarted; it signs each token and is asked at each connection whom to trust.
func TestEnvironment(t *testing.T) {
	e := newEdgeSite(t)
	environment(t, e.variables())
	failed := make(chan iothub.ConnectionEvent, 100)
	c, err := module.NewClientFromEnvironment(&module.ClientOptions{
		Retry:              &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 10 * time.Millisecond},
		OnConnectionStatus: func(ev iothub.ConnectionEvent) { failed <- ev },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if c.Identity() != (iothub.Identity{DeviceID: "dev1", ModuleID: "mod1"}) {
		t.Errorf("identity %v", c.Identity())
	}
	c.Open()
	if ev := <-failed; iothub.KindOf(ev.Err) != iothub.KindNetwork || !strings.Contains(ev.Err.Error(), e.socket) || ev.RetryIn < 0 {
		t.Errorf("without a daemon: %+v", ev)
	}
	stop := e.start(t)
	if err := c.SendEvent(deadline(t), &iothub.Message{Payload: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := c.Reconnect(); err != nil {
		t.Fatal(err)
	}
	for ev := range failed {
		if ev.Err != nil && strings.Contains(ev.Err.Error(), e.socket) && ev.Reason != iothub.ReasonBadCredential {
			break
		}
	}
	e.start(t)
	if err := c.SendEvent(deadline(t), &iothub.Message{Payload: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	signed := 0
	for _, request := range e.daemon.Seen() {
		if request == "POST /modules/mod1/genid/gen1/sign?api-version=2019-01-30" {
			signed++
		}
	}
	if signed != 2 {
		t.Errorf("%d tokens for 2 connections: %q", signed, e.daemon.Seen())
	}
}

// The authorities of the daemon are the only ones for the gateway, and those that the
// program gives take their place.
func TestTrustBundle(t *testing.T) {
	e := newEdgeSite(t)
	e.start(t)
	right := e.daemon.Bundle
	other, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Shutdown(context.Background())
	for _, test := range []struct {
		name   string
		bundle []byte
		own    bool
		want   iothub.Kind
	}{
		{"the right one", right, false, iothub.KindUnknown},
		{"another one", other.CACertPEM(), false, iothub.KindTLS},
		{"none", nil, false, iothub.KindTLS},
		{"the program's own", nil, true, iothub.KindUnknown},
	} {
		e.daemon.SetBundle(test.bundle)
		environment(t, e.variables())
		events := make(chan iothub.ConnectionEvent, 100)
		o := &module.ClientOptions{OnConnectionStatus: func(ev iothub.ConnectionEvent) { events <- ev }}
		if test.own {
			o.TLS = &tls.Config{RootCAs: e.CertPool()}
		}
		c, err := module.NewClientFromEnvironment(o)
		if err != nil {
			t.Fatal(err)
		}
		c.Open()
		if ev := <-events; iothub.KindOf(ev.Err) != test.want {
			t.Errorf("%s: %+v", test.name, ev)
		}
		c.Close(context.Background())
	}
}

// Straight to the hub, where there is no gateway; and by a connection string while the
// module is developed, which comes first.
func TestEnvironmentWithoutGateway(t *testing.T) {
	e := newEdgeSite(t)
	e.start(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, e.CACertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	direct := e.variables()
	direct["IOTEDGE_IOTHUBHOSTNAME"], direct["IOTEDGE_GATEWAYHOSTNAME"] = e.addr, ""
	for name, vars := range map[string]map[string]string{
		"no gateway": direct,
		"edge hub":   {"EdgeHubConnectionString": e.text + ";GatewayHostName=" + e.addr, "EdgeModuleCACertificateFile": ca, "IOTEDGE_MODULEID": "other"},
		"hub":        {"IotHubConnectionString": e.text, "EdgeModuleCACertificateFile": ca},
	} {
		environment(t, vars)
		c, err := module.NewClientFromEnvironment(nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := c.SendEvent(deadline(t), &iothub.Message{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close(context.Background())
	}
}

// What is wrong with an environment is said by the names of the variables, all at once.
func TestEnvironmentErrors(t *testing.T) {
	good := (&edgeSite{socket: "/run/w.sock", addr: "gw"}).variables()
	with := func(changes ...string) map[string]string {
		vars := map[string]string{}
		for name, value := range good {
			vars[name] = value
		}
		for i := 0; i < len(changes); i += 2 {
			vars[changes[i]] = changes[i+1]
		}
		return vars
	}
	for _, test := range []struct {
		vars map[string]string
		want []string
	}{
		{nil, []string{"EdgeHubConnectionString", "iothub edge"}},
		{with("IOTEDGE_WORKLOADURI", "", "IOTEDGE_AUTHSCHEME", "", "IOTEDGE_MODULEGENERATIONID", ""),
			[]string{"IOTEDGE_WORKLOADURI", "IOTEDGE_AUTHSCHEME", "IOTEDGE_MODULEGENERATIONID"}},
		{with("IOTEDGE_AUTHSCHEME", "x509"), []string{"IOTEDGE_AUTHSCHEME", "sasToken"}},
		{with("IOTEDGE_WORKLOADURI", "https://x"), []string{"IOTEDGE_WORKLOADURI", "https"}},
		{with("IOTEDGE_MODULEID", "a b"), []string{"IOTEDGE_MODULEID", "ModuleId"}},
		{with("EdgeHubConnectionString", "x"), []string{"EdgeHubConnectionString"}},
		{with("EdgeHubConnectionString", deviceString), []string{"EdgeHubConnectionString", "package device"}},
		{with("IotHubConnectionString", moduleString, "EdgeModuleCACertificateFile", "/none.pem"), []string{"EdgeModuleCACertificateFile", "none.pem"}},
		{with("IotHubConnectionString", moduleString, "EdgeModuleCACertificateFile", os.Args[0]), []string{"EdgeModuleCACertificateFile", "PEM"}},
	} {
		environment(t, test.vars)
		_, err := module.NewClientFromEnvironment(nil)
		if iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%v: %v", test.vars, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not mention %s", err, want)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%v: the error shows the key", err)
		}
	}
}

// The poll-driven client asks the daemon behind DoWork: one that does not answer keeps
// nobody waiting.
func TestEnvironmentPolled(t *testing.T) {
	e := newEdgeSite(t)
	asked, hold := make(chan struct{}), make(chan struct{})
	first := true // of the daemon's requests, which come one after the other
	e.daemon.Refuse = func(*http.Request) (int, string) {
		if first {
			first = false
			close(asked)
			<-hold
		}
		return 0, ""
	}
	e.start(t)
	environment(t, e.variables())
	c, err := ll.NewModuleClientFromEnvironment(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Destroy()
	var got []iothub.ConfirmationResult
	if err := c.SendEventAsync(&iothub.Message{}, func(r iothub.Confirmation) { got = append(got, r.Result) }); err != nil {
		t.Fatal(err)
	}
	poll := func() time.Time {
		next, err := c.DoWork()
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	poll()
	<-asked
	poll() // would hang here
	close(hold)
	for ctx := deadline(t); len(got) == 0 && ctx.Err() == nil; {
		next := poll()
		if len(got) > 0 {
			break
		}
		select {
		case <-c.Wakeup():
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
		}
	}
	if len(got) != 1 || got[0] != iothub.ConfirmOK {
		t.Errorf("confirmed %v", got)
	}
}
