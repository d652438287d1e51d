package contract_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/provisioning"
)

// registering are the clients that register by themselves.
var registering = map[string]func(*provisioning.Config, *iothub.ClientOptions) (client, func() iothub.Identity, error){
	"device": func(cfg *provisioning.Config, o *iothub.ClientOptions) (client, func() iothub.Identity, error) {
		c, err := device.NewClientFromProvisioning(cfg, o)
		return managedClient{c}, c.Identity, err
	},
	"ll.device": func(cfg *provisioning.Config, o *iothub.ClientOptions) (client, func() iothub.Identity, error) {
		c, err := ll.NewDeviceClientFromProvisioning(cfg, o)
		if err != nil {
			return nil, nil, err
		}
		p := newPump(c)
		return p, func() (id iothub.Identity) {
			p.call(func() { id = c.Identity() })
			return id
		}, nil
	},
}

// region is a provisioning service and two hubs.
type region struct {
	*testing.T
	dps      *simhub.Provisioning
	hubs     map[string]*simhub.Hub // by host name
	nets     map[string]*simnet.Network
	file     string // of the state
	retry    *iothub.RetryPolicy
	logger   *slog.Logger
	make     func() (client, func() iothub.Identity)
	mu       sync.Mutex
	down     map[string]bool // hosts that cannot be reached
	events   []iothub.ConnectionEvent
	assigned []provisioning.Assignment
}

const (
	dpsHost = "global.azure-devices-provisioning.net"
	hubA    = "a.example"
	hubB    = "b.example"
)

// assign is the answer that assigns.
func assign(hub, id string) simhub.Reply {
	return simhub.Reply{Status: 200, Body: fmt.Sprintf(`{"operationId":"4.op","status":"assigned","registrationState":{"assignedHub":%q,"deviceId":%q,"status":"assigned"}}`, hub, id)}
}

// inRegion runs f for each layer, in virtual time.
func inRegion(t *testing.T, prepare func(r *region), f func(r *region)) {
	for name, open := range registering {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "state.json")
			synctest.Test(t, func(t *testing.T) {
				r := &region{
					T: t, dps: &simhub.Provisioning{Script: []simhub.Reply{assign(hubA, "dev1")}}, file: file, down: map[string]bool{},
					hubs: map[string]*simhub.Hub{hubA: {}, hubB: {}},
					nets: map[string]*simnet.Network{dpsHost: simnet.New(nil), hubA: simnet.New(nil), hubB: simnet.New(nil)},
				}
				if prepare != nil {
					prepare(r)
				}
				go r.dps.Serve(r.nets[dpsHost])
				for host, hub := range r.hubs {
					go hub.Serve(r.nets[host])
				}
				r.make = func() (client, func() iothub.Identity) { return r.client(open) }
				f(r)
				for _, n := range r.nets {
					n.Close()
				}
				for _, hub := range r.hubs {
					hub.Drop()
					hub.Wait()
				}
				r.dps.Wait()
			})
		})
	}
}

func (r *region) client(open func(*provisioning.Config, *iothub.ClientOptions) (client, func() iothub.Identity, error)) (client, func() iothub.Identity) {
	r.Helper()
	key, err := provisioning.NewKeyAttestation("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		r.Fatal(err)
	}
	c, id, err := open(&provisioning.Config{
		IDScope: "0ne1", RegistrationID: "reg1", Attestation: key, StateFile: r.file,
		OnAssigned: func(a *provisioning.Assignment) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.assigned = append(r.assigned, *a)
		},
	}, &iothub.ClientOptions{
		DialTLS: r.dial, Retry: r.retry, Logger: r.logger, OnConnectionStatus: func(e iothub.ConnectionEvent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	})
	if err != nil {
		r.Fatal(err)
	}
	return c, id
}

func (r *region) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	down := r.down[host]
	r.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: "sim", Err: syscall.ECONNREFUSED}
	}
	return r.nets[host].Dial(ctx, network, address)
}

func (r *region) reach(host string, can bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[host] = !can
}

// registrations counts what was asked of the service.
func (r *region) registrations() (n int) {
	for _, request := range r.dps.Requests() {
		if strings.Contains(request, "PUT/iotdps-register") {
			n++
		}
	}
	return n
}

// payloads are those of the events a hub received, with the device in the topic.
func (r *region) payloads(host string) string {
	var all []string
	for _, m := range r.hubs[host].Received() {
		if id, _, ok := strings.Cut(m.Topic, "/messages/events/"); ok {
			all = append(all, strings.TrimPrefix(id, "devices/")+":"+m.Payload)
		}
	}
	return strings.Join(all, " ")
}

// What is sent before the device knows who it is goes out, in order, as whoever it is
// assigned to be; and what is asked of the hub follows.
func TestRegistersOnFirstConnect(t *testing.T) {
	const name = "a-device-id-that-is-much-longer-than-the-registration-id"
	inRegion(t, func(r *region) {
		r.dps.Script = []simhub.Reply{{Status: 202, Wait: "3", Body: `{"operationId":"4.op","status":"assigning"}`}, assign(hubA, name)}
	}, func(r *region) {
		c, id := r.make()
		if id() != (iothub.Identity{DeviceID: "reg1"}) {
			r.Errorf("before: %v", id())
		}
		var l ledger
		var got []string
		c.onMessage(func(m *iothub.ReceivedMessage) iothub.Disposition {
			got = append(got, string(m.Payload))
			return iothub.DispositionAccepted
		})
		for i := range 5 {
			if err := c.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i))); err != nil {
				r.Fatal(err)
			}
		}
		before := c.stats().QueuedBytes
		advance(time.Second)
		c.send(msg("5"), l.confirm("5")) // while it registers
		if n := r.registrations(); n != 1 {
			r.Errorf("%d registrations", n)
		}
		advance(10 * time.Second)
		want := ""
		for i := range 6 {
			want += fmt.Sprintf("%s:%d ", name, i)
			l.want(&stage{T: r.T}, fmt.Sprint(i), iothub.ConfirmOK)
		}
		if got := r.payloads(hubA); got != strings.TrimSpace(want) {
			r.Errorf("the hub got %s", got)
		}
		if id() != (iothub.Identity{DeviceID: name}) || r.hubs[hubA].Connects()[0].ClientID != name || before == 0 || c.stats().QueuedBytes != 0 {
			r.Errorf("after: %v, %+v", id(), c.stats())
		}
		r.hubs[hubA].Publish("devices/"+name+"/messages/devicebound/#", "devices/"+name+"/messages/devicebound/%24.mid=1", "hello", 1, false)
		advance(time.Second)
		if len(got) != 1 {
			r.Errorf("messages %q", got)
		}
		c.close()
		if len(r.assigned) != 1 || r.assigned[0].DeviceID != name || r.assigned[0].HubHostName != hubA {
			r.Errorf("assigned %+v", r.assigned)
		}

		// The next process needs no service.
		r.reach(dpsHost, false)
		c, id = r.make()
		if id() != (iothub.Identity{DeviceID: name}) {
			r.Errorf("after a restart: %v", id())
		}
		c.send(msg("again"), l.confirm("again"))
		advance(time.Second)
		l.want(&stage{T: r.T}, "again", iothub.ConfirmOK)
		c.close()
		if n := r.registrations(); n != 1 {
			r.Errorf("%d registrations", n)
		}
	})
}

// A hub that refuses the device has it register again: what is in flight goes to the new
// hub first, then what waits, in order and confirmed once; the twin is told as the
// difference, though its version is the same.
func TestRegistersAgainWhenRefused(t *testing.T) {
	inRegion(t, func(r *region) {
		gone := false
		r.hubs[hubA].Ack = func(m *simhub.Received) bool { return m.Payload == "0" }
		r.hubs[hubA].Connack = func(n int, _ *mqtt.ConnectPacket) int {
			if n > 0 && !gone {
				gone = true
				r.dps.Say(assign(hubB, "dev2"))
			}
			if gone {
				return 5
			}
			return 0
		}
		r.hubs[hubA].PatchDesired(map[string]any{"old": 1, "same": true})
		r.hubs[hubB].PatchDesired(map[string]any{"new": 2, "same": true})
	}, func(r *region) {
		c, id := r.make()
		var l ledger
		var changes []string
		if err := c.onDesired(func(d *iothub.DesiredChange) { changes = append(changes, fmt.Sprintf("%d %s", d.Version, d.Patch)) }); err != nil {
			r.Error(err)
		}
		for i := range 3 {
			c.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i)))
		}
		advance(5 * time.Second)
		if got := r.payloads(hubA); got != "dev1:0 dev1:1 dev1:2" {
			r.Errorf("hub A got %s", got)
		}
		r.hubs[hubA].Drop()
		synctest.Wait()
		c.send(msg("3"), l.confirm("3"))
		advance(time.Minute)
		if got := r.payloads(hubB); got != "dev2:1 dev2:2 dev2:3" || id().DeviceID != "dev2" {
			r.Errorf("hub B got %s, the device is %v", got, id())
		}
		for i := range 4 {
			l.want(&stage{T: r.T}, fmt.Sprint(i), iothub.ConfirmOK)
		}
		if fmt.Sprint(changes) != `[2 {"old":1,"same":true} 2 {"new":2,"old":null}]` {
			r.Errorf("desired changes %v", changes)
		}
		if n := r.registrations(); n != 2 {
			r.Errorf("%d registrations", n)
		}
		c.close()
		var kept struct{ HubHostName, DeviceID string }
		if data, err := os.ReadFile(r.file); err != nil || json.Unmarshal(data, &kept) != nil || kept.HubHostName != hubB || kept.DeviceID != "dev2" {
			r.Errorf("kept %s, %v", data, err)
		}
	})
}

// A hub that refuses for ever what the service assigns does not make the device a burden.
func TestRegistersSeldom(t *testing.T) {
	inRegion(t, func(r *region) {
		r.hubs[hubA].Connack = func(int, *mqtt.ConnectPacket) int { return 5 }
	}, func(r *region) {
		c, _ := r.make()
		c.send(msg("0"), nil)
		advance(30 * time.Minute)
		if n := r.registrations(); n < 20 || n > 60 {
			r.Errorf("%d registrations in half an hour", n)
		}
		c.close()
	})
}

// Nor does a service that refuses it, too, however impatient its retry policy is.
func TestRegistersSeldomWhenAllRefuse(t *testing.T) {
	inRegion(t, func(r *region) {
		r.retry = &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Second}
		r.hubs[hubA].Connack = func(n int, _ *mqtt.ConnectPacket) int {
			if n > 0 {
				return 5
			}
			return 0
		}
	}, func(r *region) {
		c, _ := r.make()
		c.send(msg("0"), nil)
		advance(time.Minute)
		for _, refusal := range []simhub.Reply{
			{Status: 401, Body: `{"errorCode":401002,"message":"Unauthorized"}`},
			{Status: 503, Body: "<html>"},
		} {
			r.dps.Say(refusal)
			before := r.registrations()
			r.hubs[hubA].Drop()
			advance(10 * time.Minute)
			if n := r.registrations() - before; n < 10 || n > 20 {
				r.Errorf("%d registrations in ten minutes, refused with %d", n, refusal.Status)
			}
		}
		c.close()
	})
}

// A hub that is out of reach is one to come back to; after five minutes the service is
// asked whether it still is the one.
func TestRegistersWhenUnreachable(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		c, id := r.make()
		var l ledger
		c.send(msg("0"), l.confirm("0"))
		advance(time.Second)
		cut := func() {
			r.reach(hubA, false)
			r.hubs[hubA].Drop()
			c.send(msg("1"), l.confirm("1"))
		}
		cut()
		r.reach(dpsHost, false)
		advance(10 * time.Minute)
		if n := r.registrations(); n != 1 {
			r.Errorf("%d registrations without a service", n)
		}
		// Nothing was forgotten: the hub alone is enough.
		r.reach(hubA, true)
		advance(time.Minute)
		l.want(&stage{T: r.T}, "1", iothub.ConfirmOK)
		advance(10 * time.Minute) // a connection that holds

		r.reach(dpsHost, true)
		r.dps.Say(assign(hubB, "dev1"))
		cut()
		advance(4 * time.Minute)
		if n := r.registrations(); n != 1 {
			r.Errorf("%d registrations within four minutes", n)
		}
		advance(2 * time.Minute)
		if got := r.payloads(hubB); got != "dev1:1" || id().DeviceID != "dev1" || r.registrations() != 2 {
			r.Errorf("hub B got %q after %d registrations", got, r.registrations())
		}
		c.close()
	})
}

// What the service refuses is a connection event; the device goes on trying, at the pace
// of its retry policy, and recovers by itself.
func TestServiceRefuses(t *testing.T) {
	inRegion(t, func(r *region) {
		r.dps.Script = []simhub.Reply{{Status: 401, Body: `{"errorCode":401002,"message":"Unauthorized"}`}}
	}, func(r *region) {
		c, _ := r.make()
		var l ledger
		c.send(msg("0"), l.confirm("0"))
		advance(10 * time.Minute)
		r.mu.Lock()
		first := r.events[0]
		r.mu.Unlock()
		if e, ok := errors.AsType[*iothub.Error](first.Err); !ok || e.Kind != iothub.KindUnauthorized || e.Code != 401002 || first.Reason != iothub.ReasonBadCredential ||
			!strings.Contains(e.Error(), `"reg1" is enrolled`) {
			r.Errorf("the event is %+v", first)
		}
		if n := r.registrations(); n < 20 || n > 120 {
			r.Errorf("%d registrations in ten minutes", n)
		}
		r.dps.Say(assign(hubA, "reg1"))
		advance(time.Minute)
		l.want(&stage{T: r.T}, "0", iothub.ConfirmOK)
		c.close()
	})
}

// Closing does not wait for a service that is silent, and confirms what waits.
func TestCloseWhileRegistering(t *testing.T) {
	inRegion(t, func(r *region) { r.dps.Deaf = "CONNECT" }, func(r *region) {
		c, _ := r.make()
		var l ledger
		c.send(msg("0"), l.confirm("0"))
		advance(time.Second)
		begun := time.Now()
		c.close()
		if took := time.Since(begun); took > 3*time.Second {
			r.Errorf("it took %v", took)
		}
		l.want(&stage{T: r.T}, "0", iothub.ConfirmBecauseDestroy)
	})
}

// A state file of another device, or a broken one, is as none.
func TestForeignStateFile(t *testing.T) {
	for name, kept := range map[string]string{
		"broken":         "{",
		"of another one": `{"idScope":"0ne1","registrationId":"reg2","hubHostName":"b.example","deviceId":"dev9"}`,
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, func(r *region) {
				if err := os.WriteFile(r.file, []byte(kept), 0o600); err != nil {
					r.Fatal(err)
				}
			}, func(r *region) {
				c, _ := r.make()
				c.send(msg("0"), nil)
				advance(time.Second)
				if got := r.payloads(hubA); got != "dev1:0" {
					r.Errorf("the hub got %q", got)
				}
				c.close()
			})
		})
	}
}

// What a device that registers by itself cannot do is said.
func TestRegisteringMisuse(t *testing.T) {
	key, err := provisioning.NewKeyAttestation("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		t.Fatal(err)
	}
	good := &provisioning.Config{IDScope: "0ne1", RegistrationID: "reg1", Attestation: key}
	other := iothub.NewTokenCredential(iothub.Token{Value: "x"})
	for name, err := range map[string]error{
		"nil":            second(device.NewClientFromProvisioning(nil, nil)),
		"no scope":       second(device.NewClientFromProvisioning(&provisioning.Config{RegistrationID: "reg1", Attestation: key}, nil)),
		"credential":     second(device.NewClientFromProvisioning(good, &iothub.ClientOptions{Credential: other})),
		"ll, credential": second(ll.NewDeviceClientFromProvisioning(good, &iothub.ClientOptions{Credential: other})),
		"no assignment":  second(device.NewClientFromAssignment(nil, nil)),
		"made by hand":   second(ll.NewDeviceClientFromAssignment(&provisioning.Assignment{HubHostName: "h", DeviceID: "d"}, nil)),
	} {
		if iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := device.NewClientFromProvisioning(good, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := c.SetCredential(other); iothub.KindOf(err) != iothub.KindInvalidArgument || !strings.Contains(err.Error(), "Attestation") {
		t.Errorf("SetCredential: %v", err)
	}
	if err := c.UploadFile(t.Context(), "f", strings.NewReader("x"), nil); iothub.KindOf(err) != iothub.KindUnavailable {
		t.Errorf("UploadFile: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
