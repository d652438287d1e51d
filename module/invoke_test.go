package module_test

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/module"
)

// A module calls a method of its device, through a hub, and is told in words
// what goes wrong.
func TestInvokeMethod(t *testing.T) {
	s, err := hub.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	if _, err := s.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	https, err := s.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := net.SplitHostPort(https.String())
	port, _ := strconv.Atoi(text)
	if _, err := s.CreateModule(t.Context(), "dev1", "caller"); err != nil {
		t.Fatal(err)
	}
	deviceString, err := s.DeviceConnectionString("dev1")
	if err != nil {
		t.Fatal(err)
	}
	moduleString, err := s.ModuleConnectionString("dev1", "caller")
	if err != nil {
		t.Fatal(err)
	}
	o := &iothub.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}}
	target, err := device.NewClientFromConnectionString(deviceString, o)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close(context.Background())
	target.HandleMethod("double", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		n, err := strconv.Atoi(string(r.Payload))
		if err != nil {
			return &iothub.MethodResponse{Status: 400}
		}
		return &iothub.MethodResponse{Status: 200, Payload: strconv.AppendInt(nil, int64(2*n), 10)}
	})
	caller, err := module.NewClientFromConnectionString(moduleString, o)
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close(context.Background())

	io := &module.InvokeOptions{Port: port, ConnectTimeout: 30 * time.Second}
	resp, err := caller.InvokeMethod(t.Context(), "dev1", "", "double", []byte("21"), io)
	if err != nil || resp.Status != 200 || string(resp.Payload) != "42" {
		t.Errorf("double(21) = %+v, %v", resp, err)
	}
	resp, err = caller.InvokeMethod(t.Context(), "dev1", "", "double", []byte(`"x"`), io)
	if err != nil || resp.Status != 400 || resp.Payload != nil {
		t.Errorf("double(x) = %+v, %v", resp, err)
	}
	_, err = caller.InvokeMethod(t.Context(), "dev1", "", "double", []byte("{"), io)
	if iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("a payload that is not JSON: %v", err)
	}
	_, err = caller.InvokeMethod(t.Context(), "dev1", "caller", "m", nil, &module.InvokeOptions{Port: port})
	if iothub.KindOf(err) != iothub.KindTimeout {
		t.Errorf("a target that is not connected: %v", err)
	}
	invokePolled(t, moduleString, o, port)
	if _, err := s.CreateDevice(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := caller.InvokeMethod(t.Context(), "other", "", "m", nil, io); iothub.KindOf(err) != iothub.KindUnauthorized {
		t.Errorf("a target on another device: %v", err)
	}
}

// invokePolled makes a call with the poll-driven client, and one that Destroy
// overtakes.
func invokePolled(t *testing.T, connectionString string, o *iothub.ClientOptions, port int) {
	c, err := ll.NewModuleClientFromConnectionString(connectionString, o)
	if err != nil {
		t.Fatal(err)
	}
	io := &ll.InvokeOptions{Port: port, ConnectTimeout: 30 * time.Second}
	var got []string
	done := func(r *iothub.MethodResponse, err error) {
		if err != nil {
			got = append(got, "error")
			return
		}
		got = append(got, string(r.Payload))
	}
	if err := c.InvokeMethodAsync("dev1", "", "double", []byte("4"), io, done); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		next, err := c.DoWork()
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > 0 {
			break
		}
		select {
		case <-c.Wakeup():
		case <-time.After(time.Until(next)):
		}
	}
	if err := c.InvokeMethodAsync("dev1", "nobody", "m", nil, io, done); err != nil {
		t.Fatal(err)
	}
	c.Destroy()
	if len(got) != 2 || got[0] != "8" || got[1] != "error" {
		t.Errorf("calls of the poll-driven client ended %q", got)
	}
}
