package edge_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/edge"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/module"
	"github.com/iothub-go/iothub/service"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "--module" {
		os.Exit(program(os.Args[2]))
	}
	testkit.Main(m, 5*time.Second, "iothub/edge", "iothub/hub.", "internal/managed")
}

// program is what runs as a module: it knows its environment only.
func program(what string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := module.NewClientFromEnvironment(&module.ClientOptions{Retry: quick()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	fmt.Println("module", c.Identity(), os.Getenv("GREETING"))
	switch what {
	case "send": // one event, and what comes on its method
		err = c.SendEvent(ctx, &iothub.Message{Payload: []byte("hello from " + c.Identity().ModuleID)})
		c.HandleMethod("emit", func(r *iothub.MethodRequest) *iothub.MethodResponse {
			if err := c.SendEventToOutputAsync("out", &iothub.Message{Payload: r.Payload}, nil); err != nil {
				return &iothub.MethodResponse{Status: 500}
			}
			return &iothub.MethodResponse{Status: 200}
		})
		c.HandleMethod("call", func(r *iothub.MethodRequest) *iothub.MethodResponse {
			resp, err := c.InvokeMethod(ctx, c.Identity().DeviceID, "relay", "double", []byte("21"), &module.InvokeOptions{Port: number(r.Payload)})
			if err != nil {
				return &iothub.MethodResponse{Status: 500, Payload: strconv.AppendQuote(nil, err.Error())}
			}
			return resp
		})
		c.HandleMethod("upload", func(r *iothub.MethodRequest) *iothub.MethodResponse {
			err := c.UploadFile(ctx, "log.txt", strings.NewReader("text"), &module.UploadOptions{Port: number(r.Payload)})
			if err != nil {
				return &iothub.MethodResponse{Status: 500, Payload: strconv.AppendQuote(nil, err.Error())}
			}
			return &iothub.MethodResponse{Status: 200}
		})
	case "relay": // what comes in goes upstream
		c.HandleMethod("double", func(r *iothub.MethodRequest) *iothub.MethodResponse {
			return &iothub.MethodResponse{Status: 200, Payload: strconv.AppendInt(nil, int64(2*number(r.Payload)), 10)}
		})
		c.HandleInput("in", func(m *iothub.ReceivedMessage) iothub.Disposition {
			if err := c.SendEventAsync(&iothub.Message{Payload: append([]byte("relayed "), m.Payload...)}, nil); err != nil {
				return iothub.DispositionAbandoned
			}
			return iothub.DispositionAccepted
		})
		c.Open()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = c.Close(end)
	fmt.Println("bye")
	return 0
}

func number(payload []byte) int {
	n, _ := strconv.Atoi(string(payload)) // 0 is wrong enough for a test
	return n
}

func quick() *iothub.RetryPolicy {
	return &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 20 * time.Millisecond}
}

// world is a hub upstream with the IoT Edge device gw, and what a runtime for it needs.
type world struct {
	t           *testing.T
	up          *hub.Server
	upDir       string
	mqtt, https string       // where the hub upstream is dialled
	door        testkit.Door // leads there
	service     *service.Client
	options     edge.Options
	output, log testkit.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, upDir: t.TempDir()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("modules:\n%s\nlog:\n%s", w.output.String(), w.log.String())
		}
	})
	w.startUp()
	gw, err := w.service.CreateDevice(t.Context(), &service.Device{DeviceID: "gw", Capabilities: service.Capabilities{IoTEdge: true}})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(w.https)
	httpsPort, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	w.options = edge.Options{
		ConnectionString: gw.ConnectionString(w.mqtt), HTTPSPort: httpsPort, Authorities: w.up.CACertPEM(), Dial: w.door.Dial,
		DataDir: filepath.Join(t.TempDir(), "data"), MQTT: "127.0.0.1:0", HTTPS: "127.0.0.1:0",
		Output: &w.output, Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	return w
}

// startUp starts the hub upstream. The first time says where it is.
func (w *world) startUp() {
	w.t.Helper()
	var err error
	if w.up, err = hub.New(&hub.Options{DataDir: w.upDir}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.stopUp)
	for p, addr := range map[hub.Protocol]*string{hub.MQTT: &w.mqtt, hub.HTTPS: &w.https} {
		a, err := w.up.Listen(p, "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		if *addr == "" {
			*addr = a.String()
		}
		w.door.Lead(*addr, a.String())
	}
	w.service, err = service.NewClientFromConnectionString(w.up.ServiceConnectionString(), &service.ClientOptions{TLS: &tls.Config{RootCAs: w.up.CertPool()}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { within(w.t, w.service.Close) })
}

func (w *world) stopUp() {
	w.door.Lead(w.mqtt, "")
	w.door.Lead(w.https, "")
	within(w.t, w.up.Shutdown)
}

func within(t *testing.T, end func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := end(ctx); err != nil {
		t.Error(err)
	}
}

// modules are programs that are this test binary.
func modules(what ...string) (all []edge.Module) {
	for _, w := range what {
		all = append(all, edge.Module{Name: w, Command: []string{os.Args[0], "--module", w}, Env: []string{"GREETING=hi", "IOTEDGE_MODULEID=forged"}})
	}
	return all
}

func (w *world) start(edit func(*edge.Options)) *edge.Runtime {
	w.t.Helper()
	o := w.options
	if edit != nil {
		edit(&o)
	}
	rt, err := edge.New(bound(w.t), &o)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.log.String())
	}
	w.t.Cleanup(func() { within(w.t, rt.Shutdown) })
	return rt
}

func bound(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// event waits for an event upstream with the payload.
func (w *world) event(payload, from string) {
	w.t.Helper()
	for e, err := range w.up.Events(bound(w.t), nil) {
		if err != nil {
			w.t.Fatalf("no event %q: %v", payload, err)
		}
		if string(e.Body) == payload {
			if e.DeviceID+"/"+e.ModuleID != from {
				w.t.Errorf("%q is from %s/%s", payload, e.DeviceID, e.ModuleID)
			}
			return
		}
	}
}

func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	ctx := bound(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !true() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never came true: %s", what)
		}
	}
}

// call calls a method of a module of gw.
func (w *world) call(id, method, payload string) (int, string) {
	w.t.Helper()
	status, answer, err := w.up.InvokeMethod(bound(w.t), "gw", id, method, []byte(payload), &hub.MethodOptions{ConnectTimeout: 30 * time.Second})
	if err != nil {
		w.t.Fatalf("%s: %v", method, err)
	}
	return status, string(answer)
}

// Two programs that know nothing but their environment are modules: they send, receive
// from each other by a route, and answer methods.
func TestModules(t *testing.T) {
	w := newWorld(t)
	rt := w.start(func(o *edge.Options) {
		o.Modules = modules("send", "relay")
		o.Routes = []string{`FROM /messages/modules/send/outputs/out INTO BrokeredEndpoint("/modules/relay/inputs/in")`}
	})
	w.event("hello from send", "gw/send")
	if status, _ := w.call("send", "emit", `"x"`); status != 200 {
		t.Errorf("status %d", status)
	}
	w.event(`relayed "x"`, "gw/relay")
	// Over HTTPS too: to the edge hub for methods, to the hub upstream for files.
	if status, answer := w.call("send", "call", strconv.Itoa(rt.Addr(hub.HTTPS).(*net.TCPAddr).Port)); status != 200 || answer != "42" {
		t.Errorf("a method of another module: %d %s", status, answer)
	}
	if status, answer := w.call("send", "upload", strconv.Itoa(w.options.HTTPSPort)); status != 200 {
		t.Errorf("upload: %d %s", status, answer)
	}
	if n, err := w.up.FileNotification(bound(t)); err != nil || n.BlobName != "gw/send/log.txt" {
		t.Errorf("%+v, %v", n, err)
	}
	until(t, "both have said who they are", func() bool {
		out := w.output.String()
		return strings.Contains(out, "send | module gw/send hi\n") && strings.Contains(out, "relay | module gw/relay hi\n")
	})
	if got, err := w.service.GetModule(t.Context(), "gw", "send"); err != nil || got.ManagedBy != "IotEdge" {
		t.Errorf("%+v, %v", got, err)
	}
	within(t, rt.Shutdown)
	for _, s := range rt.Status() {
		if s.State != "stopped" || s.PID != 0 || s.ExitCode != 0 {
			t.Errorf("%+v", s)
		}
	}
	if out := w.output.String(); strings.Count(out, "| bye\n") != 2 {
		t.Errorf("printed %s", out)
	}
}

// reported reads what $edgeAgent has reported of a module.
func (w *world) reported(id string) (m struct {
	RuntimeStatus string
	RestartCount  int
	StartTimeUTC  string
}) {
	w.t.Helper()
	twin, err := w.up.Twin(bound(w.t), "gw", "$edgeAgent")
	if err != nil {
		w.t.Fatal(err)
	}
	var r struct {
		Modules map[string]json.RawMessage
	}
	if err := json.Unmarshal(twin.Reported, &r); err != nil {
		w.t.Fatal(err)
	}
	if r.Modules[id] != nil {
		if err := json.Unmarshal(r.Modules[id], &m); err != nil {
			w.t.Fatal(err)
		}
	}
	return m
}

// $edgeAgent reports on the modules and takes calls.
func TestAgent(t *testing.T) {
	w := newWorld(t)
	rt := w.start(func(o *edge.Options) { o.Modules = modules("send", "relay") })
	until(t, "reported", func() bool {
		return w.reported("send").RuntimeStatus == "running" && w.reported("relay").RuntimeStatus == "running"
	})
	if status, answer := w.call("$edgeAgent", "ping", "null"); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	w.event("hello from send", "gw/send") // it has printed its first line
	first := rt.Status()[0].PID
	if status, answer := w.call("$edgeAgent", "RestartModule", `{"schemaVersion":"1.0","id":"send"}`); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	until(t, "restarted", func() bool { m := w.reported("send"); return m.RestartCount == 1 && m.RuntimeStatus == "running" })
	if s := rt.Status()[0]; s.PID == first || s.Restarts != 1 {
		t.Errorf("%+v", s)
	}
	until(t, "printed again", func() bool { return strings.Count(w.output.String(), "send | module") == 2 })
	for _, test := range []struct {
		method, payload string
		status          int
		want            string
	}{
		{"RestartModule", `{"id":"nobody"}`, 404, "nobody"},
		{"RestartModule", `{}`, 400, "id"},
		{"GetModuleLogs", `{"items":[{"id":"send"}]}`, 200, `module gw/send hi\nbye\nmodule gw/send hi\n`},
		{"GetModuleLogs", `{"items":[{"id":"send","filter":{"tail":1}}],"encoding":"none","contentType":"text"}`, 200, `"payload":"module gw/send hi\n"`},
		{"GetModuleLogs", `{"items":[{"id":"s.*","filter":{"regex":"b.e","since":"1h","until":4102444800}}]}`, 200, `"payload":"bye\n"`},
		{"GetModuleLogs", `{"items":[{"id":"send","filter":{"since":"2100-01-01T00:00:00Z"}}]}`, 200, `"payload":""`},
		{"GetModuleLogs", `{"items":[{"id":"send","filter":{"tail":1}}],"contentType":"json"}`, 200, `\"stream\":\"stdout\"`},
		{"GetModuleLogs", `{"items":[{"id":".*"}],"encoding":"gzip"}`, 200, `"payloadBytes":"H4sI`},
		{"GetModuleLogs", `{"items":[{"id":"nobody"}]}`, 404, "no module"},
		{"GetModuleLogs", `{"items":[{"id":"("}]}`, 400, "regular expression"},
		{"GetModuleLogs", `{"items":[{"id":"send","filter":{"since":"soon"}}]}`, 400, "soon"},
		{"GetModuleLogs", `{"items":[{"id":"send"}],"encoding":"zip"}`, 400, "encoding"},
		{"GetModuleLogs", `{}`, 400, "items"},
	} {
		if status, answer := w.call("$edgeAgent", test.method, test.payload); status != test.status || !strings.Contains(answer, test.want) {
			t.Errorf("%s %s: %d %s", test.method, test.payload, status, answer)
		}
	}
	within(t, rt.Shutdown)
	w.start(func(o *edge.Options) { o.Modules = modules("relay") })
	until(t, "the module that is gone is not reported", func() bool {
		return w.reported("send").RuntimeStatus == "" && w.reported("relay").RuntimeStatus == "running"
	})
}

// Once the modules are known they work without the hub upstream, from the start on, and
// what they sent arrives when it is back.
func TestWithoutUpstream(t *testing.T) {
	w := newWorld(t)
	printed := func(n int) {
		t.Helper()
		until(t, "running", func() bool { return strings.Count(w.output.String(), "relay | module") == n })
	}
	rt := w.start(func(o *edge.Options) { o.Modules = modules("relay") })
	printed(1)
	within(t, rt.Shutdown)
	w.stopUp()
	o := w.options
	o.Modules = modules("relay", "send")
	ctx, cancel := context.WithCancel(bound(t))
	if _, err := edge.New(ctx, &o); iothub.KindOf(err) != iothub.KindNetwork {
		t.Errorf("a new module without the hub upstream: %v", err)
	}
	cancel()
	rt = w.start(func(o *edge.Options) { o.Modules = modules("relay") })
	if rt.Offline() == nil {
		t.Error("it thinks that it has asked the hub upstream")
	}
	printed(2)
	within(t, rt.Shutdown)
	w.startUp()
	rt = w.start(func(o *edge.Options) { o.Modules = modules("send") })
	w.event("hello from send", "gw/send")
	within(t, rt.Shutdown)
	w.stopUp()
	rt = w.start(func(o *edge.Options) { o.Modules = modules("send") })
	if rt.Offline() == nil {
		t.Error("it thinks that it has asked the hub upstream")
	}
	w.startUp()
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := 0
	for e, err := range w.up.Events(ctx, nil) {
		if err != nil {
			t.Fatalf("%d events, want the second one too: %v", seen, err)
		}
		if string(e.Body) == "hello from send" {
			if seen++; seen == 2 {
				break
			}
		}
	}
}

// The workload API over HTTP, for modules that know no sockets.
func TestWorkloadHTTP(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *edge.Options) { o.Modules, o.WorkloadHTTP = modules("send"), true })
	w.event("hello from send", "gw/send")
}

// What cannot work is said before anything runs.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	plain, err := w.service.CreateDevice(t.Context(), &service.Device{DeviceID: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.service.CreateDevice(t.Context(), &service.Device{DeviceID: "other", Capabilities: service.Capabilities{IoTEdge: true}})
	if err != nil {
		t.Fatal(err)
	}
	within(t, w.start(nil).Shutdown) // the folder is that of gw
	for _, test := range []struct {
		name string
		edit func(*edge.Options)
		kind iothub.Kind
		want string
	}{
		{"no edge device", func(o *edge.Options) { o.ConnectionString, o.DataDir = plain.ConnectionString(w.mqtt), t.TempDir() }, iothub.KindUnauthorized, "--edge"},
		{"another device's folder", func(o *edge.Options) { o.ConnectionString = other.ConnectionString(w.mqtt) }, iothub.KindInvalidArgument, "gw"},
		{"another device's key", func(o *edge.Options) {
			o.ConnectionString, o.DataDir = strings.Replace(other.ConnectionString(w.mqtt), "DeviceId=other", "DeviceId=gw", 1), t.TempDir()
		}, iothub.KindUnauthorized, "$edgeHub"},
		{"a service policy", func(o *edge.Options) { o.ConnectionString = w.up.ServiceConnectionString() }, iothub.KindInvalidArgument, "device"},
		{"nothing", func(o *edge.Options) { o.ConnectionString = "" }, iothub.KindInvalidArgument, "empty"},
		{"no folder", func(o *edge.Options) { o.DataDir = "" }, iothub.KindInvalidArgument, "DataDir"},
		{"no authority", func(o *edge.Options) { o.Authorities = nil }, iothub.KindTLS, "certificate"},
		{"authorities that are none", func(o *edge.Options) { o.Authorities = []byte("x") }, iothub.KindInvalidArgument, "PEM"},
		{"a system module", func(o *edge.Options) { o.Modules = []edge.Module{{Name: "$edgeHub", Command: []string{"x"}}} }, iothub.KindInvalidArgument, "dollar"},
		{"a bad name", func(o *edge.Options) { o.Modules = []edge.Module{{Name: "a b", Command: []string{"x"}}} }, iothub.KindInvalidArgument, "a b"},
		{"no command", func(o *edge.Options) { o.Modules = []edge.Module{{Name: "a"}} }, iothub.KindInvalidArgument, "command"},
		{"a bad policy", func(o *edge.Options) {
			o.Modules = []edge.Module{{Name: "a", Command: []string{"x"}, Restart: "sometimes"}}
		}, iothub.KindInvalidArgument, "sometimes"},
		{"twice", func(o *edge.Options) { o.Modules = append(modules("send"), modules("send")...) }, iothub.KindInvalidArgument, "twice"},
		{"a bad host name", func(o *edge.Options) { o.HostName = "a:1" }, iothub.KindInvalidArgument, "HostName"},
		{"a bad route", func(o *edge.Options) { o.Routes = []string{"TO nowhere"} }, iothub.KindUnknown, "route"},
	} {
		o := w.options
		test.edit(&o)
		rt, err := edge.New(bound(t), &o)
		if err == nil {
			within(t, rt.Shutdown)
			t.Errorf("%s: accepted", test.name)
			continue
		}
		if iothub.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
