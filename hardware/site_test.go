package hardware

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/mqtt"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// site is a hub with its provisioning service.
type site struct {
	*testing.T
	*hub.Server
	api         *dps.Client
	mqtt, https string // addresses
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t}
	var err error
	if s.Server, err = hub.New(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	for p, to := range map[hub.Protocol]*string{hub.MQTT: &s.mqtt, hub.HTTPS: &s.https} {
		addr, err := s.Listen(p, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*to = addr.String()
	}
	s.api, err = dps.NewClientFromConnectionString(s.ProvisioningConnectionString(), &service.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.api.Close(context.Background()) })
	return s
}

// enroll makes an individual enrollment.
func (s *site) enroll(id string, a dps.AttestationMechanism) {
	s.Helper()
	if _, err := s.api.CreateIndividualEnrollment(s.Context(), &dps.IndividualEnrollment{RegistrationID: id, Attestation: a}); err != nil {
		s.Fatal(err)
	}
}

func (s *site) options() *iothub.ClientOptions {
	return &iothub.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}}
}

// config is that of a device that registers over a transport.
func (s *site) config(id string, a *provisioning.Attestation, transport provisioning.Transport) *provisioning.Config {
	endpoint := s.mqtt
	if transport == provisioning.HTTPS || transport == provisioning.MQTTWebSocket {
		endpoint = s.https
	}
	return &provisioning.Config{Endpoint: endpoint, IDScope: s.IDScope(), RegistrationID: id, Attestation: a, Transport: transport, Options: s.options()}
}

// works checks that the device gets into its hub over each transport, sends, is renewed,
// and uploads a file.
func (s *site) works(a *provisioning.Assignment) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	_, port, _ := net.SplitHostPort(s.https)
	n, err := strconv.Atoi(port)
	if err != nil {
		s.Fatal(err)
	}
	for _, transport := range []*mqtt.Transport{mqtt.New(nil), mqtt.New(&mqtt.Options{WebSocket: true, WebSocketPort: n})} {
		o := s.options()
		o.Transport = transport
		c, err := device.NewClientFromAssignment(a, o)
		if err != nil {
			s.Fatal(err)
		}
		for range 2 {
			if err := c.SendEvent(ctx, &iothub.Message{Payload: []byte("from hardware")}); err != nil {
				s.Errorf("over %v: %v", transport, err)
			}
			if err := c.Reconnect(); err != nil {
				s.Error(err)
			}
		}
		if err := c.UploadFile(ctx, "log.txt", strings.NewReader("from hardware"), &device.UploadOptions{Port: n}); err != nil {
			s.Errorf("upload: %v", err)
		}
		if err := c.Close(ctx); err != nil {
			s.Error(err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
