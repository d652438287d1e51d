package contract_test

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/ll"
	"github.com/iothub-go/iothub/provisioning"
)

// Options that change while the device registers count for the connection that follows,
// and cost no second registration.
func TestOptionWhileRegistering(t *testing.T) {
	inRegion(t, func(r *region) {
		r.dps.Script = []simhub.Reply{{Status: 202, Wait: "5", Body: `{"operationId":"4.op","status":"assigning"}`}, assign(hubA, "dev1")}
	}, func(r *region) {
		c, _ := r.make()
		var l ledger
		c.send(msg("0"), l.confirm("0"))
		advance(time.Second)
		p, poll := c.(*pump)
		if poll {
			p.call(func() {
				if err := p.c.(*ll.DeviceClient).SetOption("keepalive", 30); err != nil {
					r.Error(err)
				}
			})
		}
		advance(10 * time.Second)
		l.want(&stage{T: r.T}, "0", iothub.ConfirmOK)
		if got := r.hubs[hubA].Connects(); poll && (len(got) != 1 || got[0].KeepAlive != 30) {
			r.Errorf("connected with %+v", got)
		}
		if n := r.registrations(); n != 1 || r.payloads(hubA) != "dev1:0" {
			r.Errorf("%d registrations, the hub got %q", n, r.payloads(hubA))
		}
		c.close()
	})
}

// A state file that cannot be written is a line in the log.
func TestStateFileCannotBeWritten(t *testing.T) {
	var log bytes.Buffer // written by the goroutine that dials, read when it has ended
	synctest.Test(t, func(t *testing.T) {
		hub, dps := &simhub.Hub{}, &simhub.Provisioning{Script: []simhub.Reply{assign(hubA, "dev1")}}
		r := &region{T: t, file: filepath.Join(t.TempDir(), "no", "such", "folder", "state.json"), down: map[string]bool{},
			nets: map[string]*simnet.Network{dpsHost: simnet.New(nil), hubA: simnet.New(nil)}}
		go hub.Serve(r.nets[hubA])
		go dps.Serve(r.nets[dpsHost])
		r.logger = slog.New(slog.NewTextHandler(&log, nil))
		c, _ := r.client(registering["device"])
		var l ledger
		c.send(msg("0"), l.confirm("0"))
		advance(time.Second)
		l.want(&stage{T: t}, "0", iothub.ConfirmOK)
		c.close()
		for _, n := range r.nets {
			n.Close()
		}
		hub.Drop()
		hub.Wait()
		dps.Wait()
	})
	if text := log.String(); !strings.Contains(text, "could not be kept") || strings.Contains(text, enrollmentKey) {
		t.Errorf("the log says %s", text)
	}
}

// A program that registers, or keeps assignments, itself connects with them on both
// layers, and stays with the hub.
func TestFromAssignment(t *testing.T) {
	key, err := provisioning.NewKeyAttestation(enrollmentKey)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &provisioning.Config{IDScope: "0ne1", RegistrationID: "reg1", Attestation: key}
	a, err := cfg.Restore([]byte(`{"idScope":"0ne1","registrationId":"reg1","hubHostName":"hub.example","deviceId":"dev1"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func(o *iothub.ClientOptions) (client, error){
		"device": func(o *iothub.ClientOptions) (client, error) {
			c, err := device.NewClientFromAssignment(a, o)
			return managedClient{c}, err
		},
		"ll.device": func(o *iothub.ClientOptions) (client, error) {
			c, err := ll.NewDeviceClientFromAssignment(a, o)
			if err != nil {
				return nil, err
			}
			return newPump(c), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, network := &simhub.Hub{}, simnet.New(nil)
				go hub.Serve(network)
				c, err := open(&iothub.ClientOptions{DialTLS: network.Dial})
				if err != nil {
					t.Fatal(err)
				}
				var l ledger
				c.send(msg("0"), l.confirm("0"))
				advance(time.Second)
				l.want(&stage{T: t}, "0", iothub.ConfirmOK)
				got := hub.Connects()
				if len(got) != 1 || got[0].ClientID != "dev1" || !strings.HasPrefix(string(got[0].Username), "hub.example/dev1/") ||
					!strings.HasPrefix(string(got[0].Password), "SharedAccessSignature sr=hub.example%2Fdevices%2Fdev1&") {
					t.Errorf("%+v", got)
				}
				c.close()
				network.Close()
				hub.Drop()
				hub.Wait()
			})
		})
	}
}
