//go:build cgo && linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
)

// A client with a thread, used from many.
func TestManaged(t *testing.T) {
	inDialects(t, "managed", func(t *testing.T, bin string) {
		start(t, bin, newWorld(t, nil).env...).finish()
	})
}

// What only modules do, over WebSockets, in both layers.
func TestModule(t *testing.T) {
	for _, name := range []string{"module", "module_managed"} {
		t.Run(name, func(t *testing.T) {
			inDialects(t, name, func(t *testing.T, bin string) { runModule(t, bin) })
		})
	}
}

func runModule(t *testing.T, bin string) {
	w := newWorld(t, &hub.Options{Routes: []hub.Route{
		{Text: `FROM /messages/modules/mod1/outputs/out1 INTO BrokeredEndpoint("/modules/mod1/inputs/in1")`},
		{Text: `FROM /messages/modules/mod1/outputs/out2 INTO BrokeredEndpoint("/modules/mod1/inputs/in2")`},
	}})
	w.listenHTTPS(t)
	answering(t, w)
	p := start(t, bin, w.env...)
	p.expect("poke")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	status, _, err := w.InvokeMethod(ctx, "dev1", "mod1", "poke", nil, &hub.MethodOptions{ConnectTimeout: 10 * time.Second})
	if err != nil || status != 200 {
		t.Errorf("poke: %d, %v", status, err)
	}
	p.finish()
}

// listenHTTPS adds WebSockets and uploads to a hub, and connection strings with
// their port to what programs are told.
func (w *world) listenHTTPS(t *testing.T) {
	t.Helper()
	addr, err := w.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.https = addr
	port := addr.(*net.TCPAddr).Port
	w.env = append(w.env, "DEVICE_STRING_WS="+withPort(w.env[0], port), "MODULE_STRING_WS="+withPort(w.env[1], port))
}

// withPort returns the connection string in a setting with another port.
func withPort(setting string, port int) string {
	_, cs, _ := strings.Cut(setting, "=")
	host, rest, _ := strings.Cut(cs, ";")
	name, _, _ := strings.Cut(host, ":")
	return fmt.Sprintf("%s:%d;%s", name, port, rest)
}

// answering connects the device, which gives back what its method echo gets.
func answering(t *testing.T, w *world) {
	t.Helper()
	_, cs, _ := strings.Cut(w.env[0], "=")
	c, err := device.NewClientFromConnectionString(cs, &iothub.ClientOptions{TLS: &tls.Config{RootCAs: w.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	c.HandleMethod("echo", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		return &iothub.MethodResponse{Status: 200, Payload: r.Payload}
	})
	if _, err := c.Twin(t.Context()); err != nil { // connected, and subscribed before
		t.Fatal(err)
	}
}
