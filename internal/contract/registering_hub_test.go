package contract_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/provisioning"
	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

const enrollmentKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func keyed(key string) dps.AttestationMechanism {
	return dps.AttestationMechanism{SymmetricKey: &service.SymmetricKey{Primary: service.Key(key), Secondary: service.Key(key)}}
}

// bodies are the payloads of the events of a device that the hub keeps, in order.
func bodies(t *testing.T, s *hub.Server, deviceID string) (all []string) {
	t.Helper()
	for e, err := range s.Events(t.Context(), &hub.EventsOptions{DeviceID: deviceID, NoWait: true}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(e.Body))
	}
	return all
}

// firsts leaves out what came again, as a lost link makes it.
func firsts(all []string) (once []string) {
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

func numbers(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// town is the real hub with its provisioning service, in memory.
type town struct {
	*testing.T
	hub    *hub.Server
	api    *dps.Client
	back   *service.Client
	layer  string
	client func(key string) client
	// onAssigned, which may be nil, runs in the callback of that name.
	onAssigned func()

	mu     sync.Mutex
	events []iothub.ConnectionEvent
}

// inTown runs f for each layer, in virtual time.
func inTown(t *testing.T, f func(w *town)) {
	for name, open := range registering {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, err := hub.New(nil)
				if err != nil {
					t.Fatal(err)
				}
				slow := simnet.Direction{Latency: 50 * time.Millisecond}
				devices, backEnds := simnet.New(func(int) simnet.Plan { return simnet.Plan{Up: slow, Down: slow} }), simnet.New(nil)
				var served sync.WaitGroup
				served.Go(func() { s.Serve(hub.MQTT, devices) })
				served.Go(func() { s.Serve(hub.HTTPS, backEnds) })
				trust := &tls.Config{RootCAs: s.CertPool()}
				o := &service.ClientOptions{TLS: trust, Dial: backEnds.Dial}
				api, err := dps.NewClientFromConnectionString(s.ProvisioningConnectionString(), o)
				if err != nil {
					t.Fatal(err)
				}
				back, err := service.NewClientFromConnectionString(s.ServiceConnectionString(), o)
				if err != nil {
					t.Fatal(err)
				}
				w := &town{T: t, layer: name, hub: s, api: api, back: back}
				w.client = func(key string) client {
					a, err := provisioning.NewKeyAttestation(key)
					if err != nil {
						t.Fatal(err)
					}
					c, _, err := open(&provisioning.Config{
						Endpoint: s.HostNames()[0], IDScope: s.IDScope(), RegistrationID: "reg1", Attestation: a,
						OnAssigned: func(*provisioning.Assignment) {
							if w.onAssigned != nil {
								w.onAssigned()
							}
						},
					}, &iothub.ClientOptions{Dial: devices.Dial, TLS: trust, OnConnectionStatus: w.status})
					if err != nil {
						t.Fatal(err)
					}
					return c
				}
				f(w)
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				api.Close(ctx)
				back.Close(ctx)
				devices.Close()
				backEnds.Close()
				if err := s.Shutdown(ctx); err != nil {
					t.Error(err)
				}
				served.Wait()
			})
		})
	}
}

func (w *town) status(e iothub.ConnectionEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// last is the kind of the last connection event, and its text.
func (w *town) last() (iothub.Kind, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) == 0 {
		return 0, ""
	}
	e := w.events[len(w.events)-1]
	return iothub.KindOf(e.Err), fmt.Sprint(e.Err)
}

func (w *town) enroll(e *dps.IndividualEnrollment) *dps.IndividualEnrollment {
	w.Helper()
	e.RegistrationID = "reg1"
	e, err := w.api.CreateIndividualEnrollment(w.Context(), e)
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// A device that somebody deletes while it sends makes its identity anew: everything is
// confirmed, and there in order.
func TestDeletedWhileSending(t *testing.T) {
	inTown(t, func(w *town) {
		const total = 600
		w.enroll(&dps.IndividualEnrollment{DeviceID: "dev1", Attestation: keyed(enrollmentKey)})
		c := w.client(enrollmentKey)
		var l ledger
		for i := range total {
			if i == 210 || i == 410 { // ten are on their way
				if err := w.back.DeleteDevice(w.Context(), "dev1", service.AnyETag); err != nil {
					w.Error(err)
				}
			}
			if err := c.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i))); err != nil {
				w.Fatal(err)
			}
			if i%20 == 19 {
				<-time.After(3 * time.Second)
			}
		}
		advance(5 * time.Minute)
		for i := range total {
			l.want(&stage{T: w.T}, fmt.Sprint(i), iothub.ConfirmOK)
		}
		if got := firsts(bodies(w.T, w.hub, "dev1")); !slices.Equal(got, numbers(0, total)) {
			w.Errorf("%d events arrived: %v", len(got), got)
		}
		if st := c.stats(); st.Reconnects < 2 || st.Resent == 0 {
			w.Errorf("%+v: the test proves little", st)
		}
		if !w.hub.HasIdentity("dev1", "") {
			w.Error("the identity was not made anew")
		}
		c.close()
	})
}

// Reported properties do not come along: the program reports them again when it is
// assigned, before the client is connected to the hub that is to have them.
func TestReportsWhenAssigned(t *testing.T) {
	inTown(t, func(w *town) {
		w.enroll(&dps.IndividualEnrollment{DeviceID: "dev1", Attestation: keyed(enrollmentKey)})
		var c client
		report := func() {
			if err := c.report(map[string]any{"version": 7}, nil); err != nil {
				w.Error(err)
			}
		}
		word := make(chan struct{}, 10) // for ll, whose callback is not on its goroutine
		w.onAssigned = func() {
			if w.layer == "ll.device" {
				word <- struct{}{}
				return
			}
			report()
		}
		c = w.client(enrollmentKey)
		c.send(msg("0"), nil)
		reported := func() {
			w.Helper()
			if w.layer == "ll.device" {
				<-word
				report()
			}
			advance(time.Minute)
			twin, err := w.hub.Twin(w.Context(), "dev1", "")
			if err != nil || !strings.Contains(string(twin.Reported), `"version":7`) {
				w.Errorf("%+v, %v", twin, err)
			}
		}
		reported()
		if err := w.back.DeleteDevice(w.Context(), "dev1", service.AnyETag); err != nil {
			w.Fatal(err)
		}
		reported()
		c.close()
	})
}

// What keeps a device from registering is said in its kind, and mended where it is.
func TestEnrollmentIsMended(t *testing.T) {
	ctx := context.Background()
	update := func(w *town, e *dps.IndividualEnrollment) {
		w.Helper()
		e.ETag = service.AnyETag
		if _, err := w.api.UpdateIndividualEnrollment(ctx, e); err != nil {
			w.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		before *dps.IndividualEnrollment // nil is none
		kind   iothub.Kind
		text   string
	}{
		"not enrolled": {nil, iothub.KindUnauthorized, "is enrolled"},
		"wrong key":    {&dps.IndividualEnrollment{Attestation: keyed("HwEdHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=")}, iothub.KindUnauthorized, "keys"},
		"disabled":     {&dps.IndividualEnrollment{Attestation: keyed(enrollmentKey), ProvisioningStatus: service.Disabled}, iothub.KindDeviceDisabled, "enable"},
	} {
		t.Run(name, func(t *testing.T) {
			inTown(t, func(w *town) {
				if test.before != nil {
					e := *test.before
					w.enroll(&e)
				}
				c := w.client(enrollmentKey)
				var l ledger
				c.send(msg("0"), l.confirm("0"))
				advance(2 * time.Minute)
				if kind, text := w.last(); kind != test.kind || !strings.Contains(text, test.text) || strings.Contains(text, enrollmentKey) {
					w.Errorf("the event is %v: %s", kind, text)
				}
				good := &dps.IndividualEnrollment{RegistrationID: "reg1", Attestation: keyed(enrollmentKey)}
				if test.before == nil {
					w.enroll(good)
				} else {
					update(w, good)
				}
				advance(2 * time.Minute)
				l.want(&stage{T: w.T}, "0", iothub.ConfirmOK)
				c.close()
			})
		})
	}
}
