package edgehub_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/edge/internal/edgehub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/module"
	"github.com/iothub-go/iothub/service"
)

// cable is what lies between two hubs. It can be cut.
type cable struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

var errCut = errors.New("the cable is cut")

func (c *cable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	if cut {
		return nil, errCut
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		_ = nc.Close()
		return nil, errCut
	}
	if c.conns == nil {
		c.conns = make(map[net.Conn]bool)
	}
	c.conns[nc] = true
	return nc, nil
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		for nc := range c.conns {
			_ = nc.Close()
		}
		clear(c.conns)
	}
}

// world is a hub upstream, an IoT Edge device gw with the modules a and b, a leaf
// device below it, and one that is not.
type world struct {
	t       *testing.T
	up      *hub.Server
	service *service.Client
	cable   cable
	dir     string
	log     testkit.Buffer
	edge    *edgehub.Hub
}

// port is that of an address bound.
func port(addr net.Addr) int { return addr.(*net.TCPAddr).Port }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	var err error
	if w.up, err = hub.New(&hub.Options{HostNames: []string{"localhost"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { within(t, w.up.Shutdown) })
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS} {
		if _, err := w.up.Listen(p, "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	w.service, err = service.NewClientFromConnectionString(w.up.ServiceConnectionString(), &service.ClientOptions{TLS: &tls.Config{RootCAs: w.up.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { within(t, w.service.Close) })
	gw := w.create(service.Device{DeviceID: "gw", Capabilities: service.Capabilities{IoTEdge: true}})
	w.create(service.Device{DeviceID: "leaf", Scope: gw.Scope})
	w.create(service.Device{DeviceID: "stranger"})
	for _, m := range []string{"a", "b"} {
		if _, err := w.up.CreateModule(t.Context(), "gw", m); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) create(d service.Device) *service.Device {
	w.t.Helper()
	made, err := w.service.CreateDevice(w.t.Context(), &d)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func within(t *testing.T, end func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := end(ctx); err != nil {
		t.Error(err)
	}
}

// quick is a retry policy for tests.
func quick() *iothub.RetryPolicy {
	return &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 20 * time.Millisecond}
}

func (w *world) options() edgehub.Options {
	cs, err := iothub.ParseConnectionString(must(w.t)(w.up.ModuleConnectionString("gw", "$edgeHub")))
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := iothub.ParseConnectionString(w.up.ServiceConnectionString())
	if err != nil {
		w.t.Fatal(err)
	}
	_, https, _ := strings.Cut(s.HostName, ":")
	var httpsPort int
	if _, err := fmt.Sscan(https, &httpsPort); err != nil {
		w.t.Fatal(err)
	}
	return edgehub.Options{
		DataDir: filepath.Join(w.dir, "edge"), HostNames: []string{"127.0.0.1"}, MQTT: "127.0.0.1:0", HTTPS: "127.0.0.1:0",
		Upstream: edgehub.Upstream{
			HostName: cs.HostName, HTTPSPort: httpsPort, DeviceID: "gw", Credential: cs.Credential(),
			TLS: &tls.Config{RootCAs: w.up.CertPool()}, Dial: w.cable.dial, Retry: quick(),
		},
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
}

func must(t *testing.T) func(string, error) string {
	return func(s string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// start starts the edge hub, with the options changed by edit if that is not nil.
func (w *world) start(edit func(*edgehub.Options)) {
	w.t.Helper()
	o := w.options()
	if edit != nil {
		edit(&o)
	}
	var err error
	if w.edge, err = edgehub.New(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		within(w.t, w.edge.Shutdown)
		if w.t.Failed() {
			w.t.Log(w.log.String())
		}
	})
}

// restart ends the edge hub and starts it again.
func (w *world) restart(edit func(*edgehub.Options)) {
	w.t.Helper()
	within(w.t, w.edge.Shutdown)
	w.start(edit)
}

// through makes a connection string one that goes through the edge hub.
func (w *world) through(cs string) string {
	return cs + ";GatewayHostName=" + w.edge.Addr(hub.MQTT).String()
}

func (w *world) clientOptions() *iothub.ClientOptions {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.edge.CACertPEM())
	return &iothub.ClientOptions{TLS: &tls.Config{RootCAs: pool}, Retry: quick()}
}

func (w *world) module(id string) *module.Client {
	w.t.Helper()
	c, err := module.NewClientFromConnectionString(w.through(must(w.t)(w.up.ModuleConnectionString("gw", id))), w.clientOptions())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.closeClient(c.Close) })
	c.Open()
	return c
}

func (w *world) device(id string) *device.Client {
	w.t.Helper()
	c, err := device.NewClientFromConnectionString(w.through(must(w.t)(w.up.DeviceConnectionString(id))), w.clientOptions())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.closeClient(c.Close) })
	c.Open()
	return c
}

// closeClient closes a client whose hub may be gone.
func (w *world) closeClient(end func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = end(ctx) // what it had to leave is no matter
}

// bound is the context of one step of a test.
func bound(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// events waits for n events upstream and returns them.
func (w *world) events(n int) []*hub.Event {
	w.t.Helper()
	var all []*hub.Event
	for e, err := range w.up.Events(bound(w.t), nil) {
		if err != nil {
			w.t.Fatalf("%d events instead of %d: %v\n%s", len(all), n, err, w.log.String())
		}
		if all = append(all, e); len(all) == n {
			break
		}
	}
	return all
}

// until waits for a condition.
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
