package contract_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// country is two real hubs, of which the first provisions for both, and a device that is
// assigned to it.
type country struct {
	*testing.T
	ctx               context.Context // of the whole test
	first, second     *hub.Server
	firstName, linked string // as the provisioning service knows them
	secondMQTT        string
	trust             *tls.Config
	api               *dps.Client
	enrollment        *dps.IndividualEnrollment
	cfg               *provisioning.Config
	changes           chan string
	confirmed         chan iothub.Confirmation
	device            client
}

func newCountry(t *testing.T) *country {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := &country{T: t, ctx: ctx, changes: make(chan string, 10), confirmed: make(chan iothub.Confirmation, 100)}
	c.second = c.start(&hub.Options{NoProvisioning: true})
	c.linked, c.secondMQTT = c.listen(c.second, hub.HTTPS), c.listen(c.second, hub.MQTT)
	c.first = c.start(&hub.Options{RootCAs: c.second.CertPool(), LinkedHubs: []string{c.second.ServiceConnectionString()}})
	c.listen(c.first, hub.HTTPS)
	c.firstName = c.listen(c.first, hub.MQTT)
	roots := c.first.CertPool()
	roots.AppendCertsFromPEM(c.second.CACertPEM())
	c.trust = &tls.Config{RootCAs: roots}
	var err error
	if c.api, err = dps.NewClientFromConnectionString(c.first.ProvisioningConnectionString(), &dps.ClientOptions{TLS: c.trust}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.api.Close(context.Background()) })
	c.enrollment, err = c.api.CreateIndividualEnrollment(ctx, &dps.IndividualEnrollment{
		RegistrationID: "reg1", DeviceID: "dev1", Attestation: keyed(enrollmentKey),
		AllocationPolicy: dps.StaticAllocation, IoTHubs: []string{c.firstName}, InitialTwin: initialTwin(`{"at":"first","old":1}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	attestation, err := provisioning.NewKeyAttestation(enrollmentKey)
	if err != nil {
		t.Fatal(err)
	}
	c.cfg = &provisioning.Config{
		Endpoint: c.firstName, IDScope: c.first.IDScope(), RegistrationID: "reg1", Attestation: attestation,
		Options: &iothub.ClientOptions{TLS: c.trust}, StateFile: filepath.Join(t.TempDir(), "state.json"),
	}
	return c
}

func initialTwin(desired string) *dps.InitialTwin {
	return &dps.InitialTwin{Properties: dps.InitialTwinProperties{Desired: json.RawMessage(desired)}}
}

func (c *country) start(o *hub.Options) *hub.Server {
	c.Helper()
	s, err := hub.New(o)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			c.Error(err)
		}
	})
	return s
}

func (c *country) listen(s *hub.Server, p hub.Protocol) string {
	c.Helper()
	addr, err := s.Listen(p, "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	return addr.String()
}

// dial knows that a linked hub is named by its connection string, with the port of HTTPS.
func (c *country) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == c.linked {
		address = c.secondMQTT
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// register does it in the place of the device, as the process before it did, or one that
// has a copy of its key.
func (c *country) register() *provisioning.Assignment {
	c.Helper()
	a, err := provisioning.Register(c.ctx, c.cfg)
	if err != nil {
		c.Fatal(err)
	}
	return a
}

// switchOn makes the device, which begins with what the process before it has kept: it
// is free to ask the service at once.
func (c *country) switchOn(layer string) {
	c.Helper()
	kept, err := json.Marshal(c.register())
	if err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(c.cfg.StateFile, kept, 0o600); err != nil {
		c.Fatal(err)
	}
	if c.device, _, err = registering[layer](c.cfg, &iothub.ClientOptions{TLS: c.trust, Dial: c.dial}); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(c.device.close)
	if err := c.device.onDesired(func(d *iothub.DesiredChange) { c.changes <- string(d.Patch) }); err != nil {
		c.Fatal(err)
	}
}

func (c *country) send(from, to int) {
	c.Helper()
	for _, n := range numbers(from, to) {
		if err := c.device.send(msg(n), func(r iothub.Confirmation) { c.confirmed <- r }); err != nil {
			c.Error(err)
		}
	}
}

func (c *country) settle(n int) {
	c.Helper()
	for range n {
		select {
		case r := <-c.confirmed:
			if r.Result != iothub.ConfirmOK {
				c.Errorf("%+v", r)
			}
		case <-c.ctx.Done():
			c.Fatal("not confirmed within a minute")
		}
	}
}

func (c *country) change(want string) {
	c.Helper()
	select {
	case got := <-c.changes:
		if got != want {
			c.Errorf("the twin changed by %s, want %s", got, want)
		}
	case <-c.ctx.Done():
		c.Fatal("no change of the twin within a minute")
	}
}

// A device that is moved to another hub goes there with all that waits, and its program
// is told what is different there, and nothing else.
func TestMovedToAnotherHub(t *testing.T) {
	for name, test := range map[string]struct {
		change string
		move   func(c *country)
	}{
		"made anew": {`{"at":"second","old":null}`, func(c *country) {
			back, err := service.NewClientFromConnectionString(c.first.ServiceConnectionString(), &service.ClientOptions{TLS: c.trust})
			if err != nil {
				c.Fatal(err)
			}
			defer back.Close(context.Background())
			if err := back.DeleteDevice(c.ctx, "dev1", service.AnyETag); err != nil {
				c.Fatal(err)
			}
		}},
		// The old property is still there; the initial twin of the enrollment is not.
		"migrated": {`{"at":"third"}`, func(c *country) {
			if a := c.register(); a.HubHostName != c.linked {
				c.Fatalf("%+v", a)
			}
			if _, err := c.second.UpdateTwin(c.ctx, "dev1", "", []byte(`{"properties":{"desired":{"at":"third"}}}`), ""); err != nil {
				c.Fatal(err)
			}
		}},
	} {
		for layer := range registering {
			t.Run(name+"/"+layer, func(t *testing.T) {
				t.Parallel()
				c := newCountry(t)
				c.switchOn(layer)
				c.send(0, 10)
				c.settle(10)
				c.change(`{"at":"first","old":1}`)

				c.enrollment.IoTHubs, c.enrollment.InitialTwin = []string{c.linked}, initialTwin(`{"at":"second"}`)
				if _, err := c.api.UpdateIndividualEnrollment(c.ctx, c.enrollment); err != nil {
					t.Fatal(err)
				}
				c.send(10, 30)
				test.move(c)
				c.send(30, 60)
				c.settle(50)
				c.change(test.change)
				if got := firsts(append(bodies(t, c.first, "dev1"), bodies(t, c.second, "dev1")...)); !slices.Equal(got, numbers(0, 60)) {
					t.Errorf("the hubs have %v", got)
				}
				if got := bodies(t, c.second, "dev1"); len(got) == 0 {
					t.Error("nothing went to the second hub")
				}
				if c.first.HasIdentity("dev1", "") || !c.second.HasIdentity("dev1", "") {
					t.Error("the identity is not where it belongs")
				}
			})
		}
	}
}
