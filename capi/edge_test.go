//go:build cgo && linux

package main

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/edge"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service"
)

// Modules in C under the runtime, which gives them nothing but an environment: one
// sends, the other filters, and what it passes on is at the hub.
func TestUnderEdge(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := newWorld(t, nil)
	w.listenHTTPS(t)
	options := edgeOptions(ctx, t, w)
	var output testkit.Buffer
	options.Output = &output
	bin := compile(t, "c11", "edge")
	for _, name := range []string{"sensor", "filter"} {
		options.Modules = append(options.Modules, edge.Module{Name: name, Command: []string{bin}, Restart: "never"})
	}
	options.Routes = []string{
		`FROM /messages/modules/sensor/outputs/temperature INTO BrokeredEndpoint("/modules/filter/inputs/in")`,
		`FROM /messages/modules/filter/outputs/* INTO $upstream`,
	}
	rt, err := edge.New(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rt.Shutdown(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		if out := output.String(); strings.Count(out, "| passed\n") != 2 || t.Failed() {
			t.Errorf("the modules printed %s", out)
		}
	}()
	for e, err := range w.Events(ctx, &hub.EventsOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.DeviceID != "gw" {
			continue
		}
		if e.ModuleID != "filter" || string(e.Body) != "too hot" || e.Properties["alert"] != "true" {
			t.Errorf("the hub got %s of %s", e.Body, e.ModuleID)
		}
		return
	}
}

// edgeOptions makes an IoT Edge device at the hub, and what a runtime for it needs.
func edgeOptions(ctx context.Context, t *testing.T, w *world) *edge.Options {
	t.Helper()
	s, err := service.NewClientFromConnectionString(w.ServiceConnectionString(), &service.ClientOptions{TLS: &tls.Config{RootCAs: w.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(ctx)
	gw, err := s.CreateDevice(ctx, &service.Device{DeviceID: "gw", Capabilities: service.Capabilities{IoTEdge: true}})
	if err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(secrets(w)[1], "=")
	return &edge.Options{
		ConnectionString: gw.ConnectionString(host), HTTPSPort: w.https.(*net.TCPAddr).Port, Authorities: w.CACertPEM(),
		DataDir: filepath.Join(t.TempDir(), "data"), MQTT: "127.0.0.1:0", HTTPS: "127.0.0.1:0",
	}
}
