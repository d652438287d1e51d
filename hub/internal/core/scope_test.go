package core_test

import (
	"errors"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
)

// edgeWorld is a hub with two IoT Edge devices, one below the other, and leaves.
type edgeWorld struct {
	*core.Hub
	t              *testing.T
	top, low       core.Device // IoT Edge devices; low is below top
	leaf, deep, no core.Device // below top, below low, below none
}

func newEdgeWorld(t *testing.T) *edgeWorld {
	w := &edgeWorld{Hub: memoryHub(t), t: t}
	edge := core.Capabilities{IoTEdge: true}
	w.top = createDevice(t, w.Hub, core.Device{DeviceID: "top", Capabilities: edge})
	w.low = createDevice(t, w.Hub, core.Device{DeviceID: "low", Capabilities: edge, ParentScopes: []string{w.top.DeviceScope}})
	w.leaf = createDevice(t, w.Hub, core.Device{DeviceID: "leaf", DeviceScope: w.top.DeviceScope})
	w.deep = createDevice(t, w.Hub, core.Device{DeviceID: "deep", DeviceScope: w.low.DeviceScope})
	w.no = createDevice(t, w.Hub, core.Device{DeviceID: "no"})
	createModule(t, w.Hub, core.Module{DeviceID: "leaf", ModuleID: "m"})
	return w
}

// hubToken is a token of the $edgeHub of a device.
func (w *edgeWorld) hubToken(device string, expires time.Time) string {
	m, err := w.GetModule(device, "$edgeHub")
	if err != nil {
		w.t.Fatal(err)
	}
	return sas.Sign(sas.Resource("hub.example", device, "$edgeHub"), keyOf(w.t, m.Authentication.SymmetricKey.PrimaryKey), expires, "")
}

func TestActingForDevicesInScope(t *testing.T) {
	w := newEdgeWorld(t)
	soon, past := w.Now().Add(time.Hour), w.Now().Add(-time.Hour)
	plain := sas.Sign(sas.Resource("hub.example", "no", "$edgeHub"), keyOf(t, w.no.Authentication.SymmetricKey.PrimaryKey), soon, "")
	leafs := sas.Sign(sas.Resource("hub.example", "top", "$edgeHub"), keyOf(t, w.leaf.Authentication.SymmetricKey.PrimaryKey), soon, "")
	agent, err := w.GetModule("top", "$edgeAgent")
	if err != nil {
		t.Fatal(err)
	}
	agents := sas.Sign(sas.Resource("hub.example", "top", "$edgeAgent"), keyOf(t, agent.Authentication.SymmetricKey.PrimaryKey), soon, "")
	owner := sas.Sign("hub.example", keyOf(t, core.NullString(w.Policies()[0].PrimaryKey)), soon, "iothubowner")
	for _, test := range []struct {
		name, device, module, chain, token string
		ok                                 bool
	}{
		{"a leaf", "leaf", "", "leaf;top", w.hubToken("top", soon), true},
		{"a module of a leaf", "leaf", "m", "leaf/m;leaf;top", w.hubToken("top", soon), true},
		{"a module of a leaf, short", "leaf", "m", "leaf/m;top", w.hubToken("top", soon), true},
		{"a module of the edge device", "top", "$edgeAgent", "top/$edgeAgent;top", w.hubToken("top", soon), true},
		{"two levels", "deep", "", "deep;low;top", w.hubToken("top", soon), true},
		{"an edge device below", "low", "$edgeHub", "low/$edgeHub;low;top", w.hubToken("top", soon), true},
		{"a level left out", "deep", "", "deep;top", w.hubToken("top", soon), false},
		{"a leaf of another scope", "deep", "", "deep;top", w.hubToken("top", soon), false},
		{"a device of no scope", "no", "", "no;top", w.hubToken("top", soon), false},
		{"upwards", "top", "", "top;low", w.hubToken("low", soon), false},
		{"another target than the chain's", "no", "", "leaf;top", w.hubToken("top", soon), false},
		{"another module than the chain's", "leaf", "m", "leaf;top", w.hubToken("top", soon), false},
		{"the chain of another hub", "leaf", "", "leaf;top", w.hubToken("low", soon), false},
		{"an expired token", "leaf", "", "leaf;top", w.hubToken("top", past), false},
		{"signed by the leaf", "leaf", "", "leaf;top", leafs, false},
		{"another module's token", "leaf", "", "leaf;top", agents, false},
		{"a policy's token", "leaf", "", "leaf;top", owner, false},
		{"no token", "leaf", "", "leaf;top", "", false},
		{"no edge device", "no", "", "no", plain, false},
		{"an unknown actor", "leaf", "", "leaf;nobody", w.hubToken("top", soon), false},
		{"a module within", "leaf", "", "leaf;top/$edgeHub", w.hubToken("top", soon), false},
		{"empty parts", "leaf", "", "leaf;;top", w.hubToken("top", soon), false},
		{"too long", "leaf", "", "leaf;top;top;top;top;top;top;top;top", w.hubToken("top", soon), false},
	} {
		p, err := w.Authenticate(w.Now(), core.AuthRequest{
			HostName: "hub.example", DeviceID: test.device, ModuleID: test.module, Token: test.token, AuthChain: test.chain,
		})
		if (err == nil) != test.ok || err != nil && !errors.Is(err, &core.Error{Code: core.CodeUnauthorized}) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil && (p.DeviceID != test.device || p.ModuleID != test.module) {
			t.Errorf("%s: let in as %+v", test.name, p)
		}
	}
}

// A connection that acts for others ends when it may no longer.
func TestActingEndsWithTheScope(t *testing.T) {
	for name, end := range map[string]func(w *edgeWorld) error{
		"the leaf leaves the scope": func(w *edgeWorld) error {
			d := w.leaf
			d.DeviceScope, d.ParentScopes = w.low.DeviceScope, nil
			_, err := w.UpdateDevice(t.Context(), d, core.AnyETag)
			return err
		},
		"the edge device is disabled": func(w *edgeWorld) error {
			_, err := w.UpdateDevice(t.Context(), core.Device{DeviceID: "top", Status: core.StatusDisabled}, core.AnyETag)
			return err
		},
		"the hub gets other keys": func(w *edgeWorld) error {
			k := core.SymmetricKey{PrimaryKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAk=", SecondaryKey: "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBk="}
			_, err := w.UpdateModule(t.Context(), core.Module{DeviceID: "top", ModuleID: "$edgeHub",
				Authentication: core.Authentication{Type: core.AuthSAS, SymmetricKey: k}}, core.AnyETag)
			return err
		},
		"the edge device is deleted": func(w *edgeWorld) error { return w.DeleteDevice(t.Context(), "top", core.AnyETag) },
	} {
		w := newEdgeWorld(t)
		p, err := w.Authenticate(w.Now(), core.AuthRequest{DeviceID: "leaf", Token: w.hubToken("top", w.Now().Add(time.Hour)), AuthChain: "leaf;top"})
		if err != nil {
			t.Fatal(err)
		}
		kicked := make(chan error, 1)
		a, err := w.Attach(p, "", func(reason error) { kicked <- reason })
		if err != nil {
			t.Fatal(err)
		}
		if err := end(w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := <-kicked; !errors.Is(err, &core.Error{Code: core.CodeUnauthorized}) {
			t.Errorf("%s: %v", name, err)
		}
		a.Detach()
	}
}
