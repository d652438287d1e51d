package service_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service"
)

// TestMain fails when a test leaves a goroutine of the client behind.
func TestMain(m *testing.M) { testkit.Main(m, 10*time.Second, "iothub-go/iothub", "Azure/go-amqp") }

// startHub starts a hub on free ports.
func startHub(t *testing.T, o *hub.Options) *hub.Server {
	t.Helper()
	s, err := hub.New(o)
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
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS} {
		if _, err := s.Listen(p, "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// connect returns a client of the hub.
func connect(t *testing.T, s *hub.Server, o *service.ClientOptions) *service.Client {
	t.Helper()
	var c service.ClientOptions
	if o != nil {
		c = *o
	}
	c.TLS = &tls.Config{RootCAs: s.CertPool()}
	client, err := service.NewClientFromConnectionString(s.ServiceConnectionString(), &c)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, client)
	return client
}

func closeAtEnd(t *testing.T, c *service.Client) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// connectDevice connects a device, or a module, of the hub.
func connectDevice(t *testing.T, s *hub.Server, deviceID string) *device.Client {
	t.Helper()
	cs, err := s.DeviceConnectionString(deviceID)
	if err != nil {
		t.Fatal(err)
	}
	d, err := device.NewClientFromConnectionString(cs, &iothub.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.Close(ctx); err != nil && !errors.Is(err, iothub.ErrClosed) {
			t.Error(err)
		}
	})
	return d
}

const testKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// replay returns a client of a server that answers what handler does.
func replay(t *testing.T, handler http.HandlerFunc) *service.Client {
	t.Helper()
	s := httptest.NewTLSServer(handler)
	t.Cleanup(s.Close)
	transport := s.Client().Transport.(*http.Transport)
	c, err := service.NewClientFromConnectionString("HostName="+strings.TrimPrefix(s.URL, "https://")+
		";SharedAccessKeyName=service;SharedAccessKey="+testKey, &service.ClientOptions{HTTPTransport: transport})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c)
	return c
}

// wantKind checks the kind and the code of an error.
func wantKind(t *testing.T, err error, kind iothub.Kind, code int) {
	t.Helper()
	e, ok := errors.AsType[*iothub.Error](err)
	if !ok || e.Kind != kind || e.Code != code {
		t.Errorf("error %v, want %v (%d)", err, kind, code)
	}
}

func tlsOf(s *hub.Server) *tls.Config { return &tls.Config{RootCAs: s.CertPool()} }
