// Package examples_test runs the examples as their user would, as programs of
// their own, against a hub.
package examples_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/edge"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/service"
)

// program is an example that runs.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	seen  []string
}

func startHub(t *testing.T, o *hub.Options) *hub.Server {
	t.Helper()
	s, err := hub.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	if _, err := s.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return s
}

// start builds and starts an example for the given identity of the hub, with
// what is to be on its standard input.
func start(t *testing.T, s *hub.Server, name, deviceID, moduleID string, stdin ...io.Reader) *program {
	t.Helper()
	var cs string
	var err error
	if moduleID == "" {
		if _, err = s.CreateDevice(t.Context(), deviceID); err == nil {
			cs, err = s.DeviceConnectionString(deviceID)
		}
	} else if _, err = s.CreateModule(t.Context(), deviceID, moduleID); err == nil {
		cs, err = s.ModuleConnectionString(deviceID, moduleID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return startWith(t, s, name, cs, stdin...)
}

// startWith builds and starts an example with a connection string.
func startWith(t *testing.T, s *hub.Server, name, cs string, stdin ...io.Reader) *program {
	t.Helper()
	return startTrusting(t, writeCA(t, s), name, cs, stdin...)
}

// writeCA puts the authority of a hub into a file.
func writeCA(t *testing.T, s *hub.Server) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CACertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca
}

// startTrusting is startWith for a hub whose authority is in a file.
func startTrusting(t *testing.T, ca, name, cs string, stdin ...io.Reader) *program {
	t.Helper()
	p := newProgram(t, name, "--connection-string", cs, "--ca", ca)
	p.cmd.Stdin = io.MultiReader(stdin...)
	p.start()
	return p
}

// startProgram builds and starts an example that has its settings in the environment.
func startProgram(t *testing.T, name string) *program {
	t.Helper()
	p := newProgram(t, name)
	p.start()
	return p
}

// newProgram builds an example.
func newProgram(t *testing.T, name string, args ...string) *program {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", bin, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	p := &program{t: t, cmd: exec.CommandContext(ctx, bin, args...)}
	p.cmd.Stderr = os.Stderr
	return p
}

func (p *program) start() {
	p.t.Helper()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
}

// expect reads lines until one contains text.
func (p *program) expect(text string) {
	p.t.Helper()
	for p.lines.Scan() {
		p.seen = append(p.seen, p.lines.Text())
		if strings.Contains(p.lines.Text(), text) {
			return
		}
	}
	p.t.Fatalf("the program ended without saying %q; it said:\n%s", text, strings.Join(p.seen, "\n"))
}

// end waits for the program to end well.
func (p *program) end() {
	p.t.Helper()
	for p.lines.Scan() {
		p.seen = append(p.seen, p.lines.Text())
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%v; it said:\n%s", err, strings.Join(p.seen, "\n"))
	}
}

func TestUpload(t *testing.T) {
	s := startHub(t, nil)
	addr, err := s.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr.String())
	t.Setenv("IOTHUB_HTTPS_PORT", port)
	p := start(t, s, "upload", "dev1", "", strings.NewReader("one\ntwo\n"))
	p.expect("8 bytes are there")
	p.expect("uploaded")
	p.end()
	n, err := s.FileNotification(t.Context())
	if err != nil || n.BlobName != "dev1/log.txt" || n.Size != 8 {
		t.Errorf("told %+v, %v", n, err)
	}
}

// A leaf device behind an IoT Edge device: its events wait there while the hub is
// away.
func TestGateway(t *testing.T) {
	s := startHub(t, nil)
	addr, err := s.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := service.NewClientFromConnectionString(s.ServiceConnectionString(), &service.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close(context.Background())
	gw, err := back.CreateDevice(t.Context(), &service.Device{DeviceID: "gw", Capabilities: service.Capabilities{IoTEdge: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := back.CreateDevice(t.Context(), &service.Device{DeviceID: "leaf", Scope: gw.Scope}); err != nil {
		t.Fatal(err)
	}
	cs, err := s.DeviceConnectionString("gw")
	if err != nil {
		t.Fatal(err)
	}
	rt, err := edge.New(t.Context(), &edge.Options{
		ConnectionString: cs, HTTPSPort: addr.(*net.TCPAddr).Port, Authorities: s.CACertPEM(),
		DataDir: t.TempDir(), MQTT: "127.0.0.1:0", HTTPS: "none",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	if cs, err = s.DeviceConnectionString("leaf"); err != nil {
		t.Fatal(err)
	}
	p := startTrusting(t, rt.CACertFile(), "gateway", cs+";GatewayHostName="+rt.Addr(hub.MQTT).String())
	p.expect("the gateway has event 1")
	for e, err := range s.Events(t.Context(), nil) {
		if err != nil || e.DeviceID != "leaf" || string(e.Body) != `{"n":1}` {
			t.Fatalf("%+v, %v", e, err)
		}
		break
	}
	if _, err := s.UpdateTwin(t.Context(), "leaf", "", []byte(`{"properties":{"desired":{"stop":true}}}`), ""); err != nil {
		t.Fatal(err)
	}
	p.end()
}

// The back end creates a device, which the test then is.
func TestService(t *testing.T) {
	s := startHub(t, nil)
	if _, err := s.Listen(hub.HTTPS, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, s, "service", s.ServiceConnectionString())
	p.expect("in the north: example-device")
	cs, err := s.DeviceConnectionString("example-device")
	if err != nil {
		t.Fatal(err)
	}
	d, err := device.NewClientFromConnectionString(cs, &iothub.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(context.Background()) })
	d.HandleMethod("add", func(*iothub.MethodRequest) *iothub.MethodResponse {
		return &iothub.MethodResponse{Status: 200, Payload: []byte("6.5")}
	})
	p.expect("add answered: 200 6.5")
	d.HandleMessages(func(m *iothub.ReceivedMessage) iothub.Disposition { return iothub.DispositionAccepted })
	p.expect("feedback: example-device m1 Success")
	for _, text := range []string{"hello", "stop"} {
		if err := d.SendEvent(t.Context(), &iothub.Message{Payload: []byte(text), Properties: map[string]string{"level": "high"}}); err != nil {
			t.Fatal(err)
		}
	}
	p.expect("event of example-device: hello map[level:high]")
	p.expect("event of example-device: stop")
	p.end()
}

func TestCloudToDevice(t *testing.T) {
	s := startHub(t, nil)
	p := start(t, s, "c2d", "dev1", "")
	for _, text := range []string{"hello", "stop"} {
		if err := s.SendC2D(t.Context(), "dev1", &iothub.Message{Payload: []byte(text), MessageID: "id-" + text}); err != nil {
			t.Fatal(err)
		}
	}
	p.expect("received id-hello: hello")
	p.expect("received id-stop: stop")
	p.end()
}

func TestMethod(t *testing.T) {
	s := startHub(t, nil)
	p := start(t, s, "method", "dev1", "")
	p.expect("ready")
	for _, call := range []struct{ name, payload, want string }{
		{"add", "[1,2,3.5]", "200 6.5"},
		{"add", `"x"`, `400 "an array of numbers, please"`},
		{"reboot", "", `200 {"rebooted":true}`},
	} {
		status, answer, err := s.InvokeMethod(t.Context(), "dev1", "", call.name, []byte(call.payload),
			&hub.MethodOptions{ConnectTimeout: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(status)
		if text := string(got) + " " + string(answer); text != call.want {
			t.Errorf("%s(%s) answered %s, want %s", call.name, call.payload, text, call.want)
		}
	}
	p.expect("rebooting")
	p.end()
}

func TestTwin(t *testing.T) {
	s := startHub(t, nil)
	p := start(t, s, "twin", "dev1", "")
	p.expect("desired version 1: {}")
	for _, patch := range []string{`{"interval":5}`, `{"interval":null,"done":true}`} {
		if _, err := s.UpdateTwin(t.Context(), "dev1", "", []byte(`{"properties":{"desired":`+patch+`}}`), ""); err != nil {
			t.Fatal(err)
		}
	}
	p.expect(`desired version 2: {"interval":5}`)
	p.expect(`"interval":null`)
	p.expect(`reported: {"done":true}`)
	p.end()
}

func TestModuleFilter(t *testing.T) {
	s := startHub(t, &hub.Options{Routes: []hub.Route{
		{DeviceID: "dev1", Text: `FROM /messages/modules/sensor/outputs/readings INTO BrokeredEndpoint("/modules/filter/inputs/temperatures")`},
		{DeviceID: "dev1", Text: `FROM /messages/modules/filter/outputs/* INTO $upstream`},
	}})
	p := start(t, s, "module-filter", "dev1", "filter")
	p.expect("ready")
	send(t, s, `{"temperature":20}`, `{"temperature":35}`, "stop")
	p.expect("dropped 20")
	p.expect("passed on 35 OK")
	p.end()
	for e, err := range s.Events(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Body) != `{"temperature":35}` || e.ModuleID != "filter" || e.Properties["alert"] != "hot" {
			t.Errorf("the hub has %+v", e)
		}
		break
	}
}

func TestThermostat(t *testing.T) {
	s := startHub(t, nil)
	p := start(t, s, "pnp-thermostat", "dev1", "")
	p.end()
	n := 0
	for e, err := range s.Events(t.Context(), &hub.EventsOptions{NoWait: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.ModelID == "dtmi:com:example:Thermostat;1" && strings.Contains(string(e.Body), "temperature") {
			n++
		}
	}
	if n < 10 {
		t.Errorf("the hub has %d measurements", n)
	}
}

// send sends events from the module sensor.
func send(t *testing.T, s *hub.Server, payloads ...string) {
	t.Helper()
	c := sensor(t, s)
	for _, p := range payloads {
		if err := c.SendEventToOutputAsync("readings", &iothub.Message{Payload: []byte(p)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
