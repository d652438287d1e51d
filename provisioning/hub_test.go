package provisioning_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

func TestMain(m *testing.M) {
	testkit.Main(m, 10*time.Second, "iothub-go/iothub/provisioning.", "iothub-go/iothub/internal/link")
}

// site is a hub with its provisioning service, reached over each transport.
type site struct {
	*hub.Server
	api   *dps.Client
	ports map[provisioning.Transport]string
}

func newSite(t *testing.T) *site {
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
	site := &site{Server: s, ports: map[provisioning.Transport]string{}}
	for protocol, transports := range map[hub.Protocol][]provisioning.Transport{
		hub.MQTT: {provisioning.Auto, provisioning.MQTT}, hub.HTTPS: {provisioning.MQTTWebSocket, provisioning.HTTPS},
	} {
		addr, err := s.Listen(protocol, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		for _, transport := range transports {
			site.ports[transport] = addr.String()
		}
	}
	site.api, err = dps.NewClientFromConnectionString(s.ProvisioningConnectionString(), &dps.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { site.api.Close(context.Background()) })
	return site
}

// config is that of a device of the site.
func (s *site) config(id string, a *provisioning.Attestation, transport provisioning.Transport) *provisioning.Config {
	return &provisioning.Config{
		Endpoint: s.ports[transport], IDScope: s.IDScope(), RegistrationID: id, Attestation: a, Transport: transport,
		Options: &iothub.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}},
	}
}

const groupKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" // 00..1f, wire-device F.1

func attestation(t *testing.T) func(a *provisioning.Attestation, err error) *provisioning.Attestation {
	return func(a *provisioning.Attestation, err error) *provisioning.Attestation {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

// Each attestation over each transport: the device is assigned, and the hub takes what
// it proved itself with.
func TestRegister(t *testing.T) {
	s := newSite(t)
	symmetric := func(key string) dps.AttestationMechanism {
		return dps.AttestationMechanism{SymmetricKey: &service.SymmetricKey{Primary: service.Key(key), Secondary: service.Key(key)}}
	}
	root := testkit.Authority(t, "root", nil)
	intermediate := testkit.Authority(t, "intermediate", root)
	for id, a := range map[string]dps.AttestationMechanism{"keys": symmetric(groupKey), "certificates": dps.SigningCertificates(root.Certificate, nil)} {
		if _, err := s.api.CreateEnrollmentGroup(t.Context(), &dps.EnrollmentGroup{EnrollmentGroupID: id, Attestation: a}); err != nil {
			t.Fatal(err)
		}
	}
	individual := func(id string, a dps.AttestationMechanism) {
		t.Helper()
		if _, err := s.api.CreateIndividualEnrollment(t.Context(), &dps.IndividualEnrollment{RegistrationID: id, DeviceID: "its-" + id, Attestation: a}); err != nil {
			t.Fatal(err)
		}
	}
	for _, transport := range []provisioning.Transport{provisioning.Auto, provisioning.MQTTWebSocket, provisioning.HTTPS} {
		name := transport.String()
		derived, err := provisioning.DeriveKey(groupKey, "derived-"+name)
		if err != nil {
			t.Fatal(err)
		}
		key, own := "own-"+name, testkit.Leaf(t, "x-"+name, nil)
		individual(key, symmetric(groupKey))
		individual("x-"+name, dps.ClientCertificates(own.Certificate, nil))
		for _, test := range []struct {
			id, device, group string
			a                 *provisioning.Attestation
		}{
			{key, "its-" + key, "", attestation(t)(provisioning.NewKeyAttestation(groupKey))},
			{"derived-" + name, "derived-" + name, "keys", attestation(t)(provisioning.NewKeyAttestation(derived))},
			{"Member-" + name, "Member-" + name, "keys", attestation(t)(provisioning.NewGroupKeyAttestation(groupKey))},
			{"x-" + name, "its-x-" + name, "", provisioning.NewCertificateAttestation(own.TLS())},
			{"chain-" + name, "chain-" + name, "certificates",
				provisioning.NewCertificateAttestation(testkit.Leaf(t, "chain-"+name, intermediate).TLS(intermediate))},
		} {
			t.Run(test.id, func(t *testing.T) {
				t.Parallel()
				var steps []provisioning.Progress
				c := s.config(test.id, test.a, transport)
				c.OnProgress = func(p provisioning.Progress) { steps = append(steps, p) }
				a, err := provisioning.Register(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.EqualFold(a.DeviceID, test.device) || a.EnrollmentGroup != test.group || a.Substatus != "initialAssignment" ||
					a.HubHostName == "" || a.Created.IsZero() || steps[0] != provisioning.ProgressConnected {
					t.Errorf("%+v after %v", a, steps)
				}
				s.connects(t, c, a)
			})
		}
	}
}

// connects checks that the hub lets the device in: with the assignment, with what is kept
// of it, and as a client that registers by itself.
func (s *site) connects(t *testing.T, c *provisioning.Config, a *provisioning.Assignment) {
	t.Helper()
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := c.Restore(data)
	if err != nil {
		t.Fatal(err)
	}
	o := &device.ClientOptions{TLS: c.Options.TLS}
	for name, open := range map[string]func() (*device.Client, error){
		"assigned":    func() (*device.Client, error) { return device.NewClientFromAssignment(a, o) },
		"restored":    func() (*device.Client, error) { return device.NewClientFromAssignment(kept, o) },
		"registering": func() (*device.Client, error) { return device.NewClientFromProvisioning(c, o) },
	} {
		client, err := open()
		if err != nil {
			t.Fatal(name, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := client.SendEvent(ctx, &iothub.Message{Payload: []byte("hello")}); err != nil {
			t.Error(name, err)
		}
		if got := client.Identity(); got != (iothub.Identity{DeviceID: a.DeviceID}) {
			t.Errorf("%s: it is %v", name, got)
		}
		if err := client.Close(ctx); err != nil {
			t.Error(name, err)
		}
		cancel()
	}
}

// What is refused says what to do, at once.
func TestRefused(t *testing.T) {
	s := newSite(t)
	if _, err := s.api.CreateIndividualEnrollment(t.Context(), &dps.IndividualEnrollment{RegistrationID: "off", ProvisioningStatus: service.Disabled}); err != nil {
		t.Fatal(err)
	}
	keys, err := s.api.GetIndividualEnrollmentAttestation(t.Context(), "off")
	if err != nil {
		t.Fatal(err)
	}
	secret := string(keys.SymmetricKey.Primary)
	right := attestation(t)(provisioning.NewKeyAttestation(secret))
	wrong := attestation(t)(provisioning.NewKeyAttestation(groupKey))
	for _, transport := range []provisioning.Transport{provisioning.MQTT, provisioning.MQTTWebSocket, provisioning.HTTPS} {
		for _, test := range []struct {
			name string
			c    *provisioning.Config
			edit func(*provisioning.Config)
			kind iothub.Kind
			text string
		}{
			{"not enrolled", s.config("nobody", right, transport), nil, iothub.KindUnauthorized, "is enrolled"},
			{"wrong key", s.config("off", wrong, transport), nil, iothub.KindUnauthorized, "keys"},
			{"wrong scope", s.config("off", right, transport), func(c *provisioning.Config) { c.IDScope = "0neOther" }, iothub.KindUnauthorized, "0neOther"},
			{"disabled", s.config("off", right, transport), nil, iothub.KindDeviceDisabled, "enable"},
			{"not trusted", s.config("off", right, transport), func(c *provisioning.Config) { c.Options = nil }, iothub.KindTLS, "RootCAs"},
		} {
			if test.edit != nil {
				test.edit(test.c)
			}
			_, err := provisioning.Register(t.Context(), test.c)
			if iothub.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.text) || iothub.ActionOf(err) == iothub.ActionNone {
				t.Errorf("%s over %v: %v, %v", test.name, transport, err, iothub.ActionOf(err))
			}
			if strings.Contains(err.Error(), secret) || errors.Is(err, context.Canceled) {
				t.Errorf("%s over %v: %v", test.name, transport, err)
			}
		}
	}
}
