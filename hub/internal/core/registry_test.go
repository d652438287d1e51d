package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

func TestDeviceLifeCycle(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		defer closeStore()
		h := newHub(t, core.Config{}, storage)
		ctx := t.Context()
		made := createDevice(t, h, core.Device{DeviceID: "dev-1:.+%_#*?!(),=@$';"})
		if made.Status != "enabled" || made.ConnectionState != "Disconnected" || made.Authentication.Type != "sas" || made.ETag == "" || made.GenerationID == "" {
			t.Errorf("made: %+v", made)
		}
		if n := len(keyOf(t, made.Authentication.SymmetricKey.PrimaryKey)); n != 32 {
			t.Errorf("a key of %d bytes", n)
		}
		_, err := h.CreateDevice(ctx, core.Device{DeviceID: made.DeviceID})
		wantCode(t, err, core.CodeDeviceAlreadyExists)

		// An update that names nothing but the id and a state keeps the keys.
		reason := "broken"
		changed, err := h.UpdateDevice(ctx, core.Device{DeviceID: made.DeviceID, Status: "Disabled", StatusReason: &reason}, made.ETag)
		if err != nil {
			t.Fatal(err)
		}
		if changed.Authentication != made.Authentication || changed.Status != "disabled" || *changed.StatusReason != reason ||
			changed.ETag == made.ETag || changed.GenerationID != made.GenerationID || changed.StatusUpdatedTime.IsZero() {
			t.Errorf("changed: %+v", changed)
		}
		_, err = h.UpdateDevice(ctx, made, made.ETag)
		wantCode(t, err, core.CodePreconditionFailed)
		wantCode(t, h.DeleteDevice(ctx, made.DeviceID, made.ETag), core.CodePreconditionFailed)
		if _, err = h.UpdateDevice(ctx, made, core.AnyETag); err != nil {
			t.Error(err)
		}
		if err := h.DeleteDevice(ctx, made.DeviceID, core.AnyETag); err != nil {
			t.Error(err)
		}
		_, err = h.GetDevice(made.DeviceID)
		wantCode(t, err, core.CodeDeviceNotFound)
		wantCode(t, h.DeleteDevice(ctx, made.DeviceID, core.AnyETag), core.CodeDeviceNotFound)

		again := createDevice(t, h, core.Device{DeviceID: made.DeviceID})
		if again.GenerationID == made.GenerationID || again.ETag == made.ETag {
			t.Error("a device made again has the generation or the ETag of the old one")
		}
	})
}

func TestModuleLifeCycle(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		defer closeStore()
		h := newHub(t, core.Config{}, storage)
		ctx := t.Context()
		_, err := h.CreateModule(ctx, core.Module{DeviceID: "d", ModuleID: "m"})
		wantCode(t, err, core.CodeDeviceNotFound)
		d := createDevice(t, h, core.Device{DeviceID: "d"})
		m := createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
		_, err = h.CreateModule(ctx, core.Module{DeviceID: "d", ModuleID: "m"})
		wantCode(t, err, core.CodeModuleAlreadyExists)
		if got, _ := h.GetDevice("d"); got.ETag != d.ETag {
			t.Error("a module changes the ETag of its device")
		}
		changed, err := h.UpdateModule(ctx, core.Module{DeviceID: "d", ModuleID: "m", ManagedBy: "iotEdge"}, m.ETag)
		if err != nil || changed.ManagedBy != "iotEdge" || changed.Authentication != m.Authentication {
			t.Errorf("changed: %+v, %v", changed, err)
		}
		_, err = h.UpdateModule(ctx, m, m.ETag)
		wantCode(t, err, core.CodePreconditionFailed)
		wantCode(t, h.DeleteModule(ctx, "d", "m", m.ETag), core.CodePreconditionFailed)
		wantCode(t, h.DeleteModule(ctx, "d", "x", core.AnyETag), core.CodeModuleNotFound)
		if err := h.DeleteModule(ctx, "d", "m", changed.ETag); err != nil {
			t.Error(err)
		}
		_, err = h.GetModule("d", "m")
		wantCode(t, err, core.CodeModuleNotFound)
		for i := range 50 {
			createModule(t, h, core.Module{DeviceID: "d", ModuleID: fmt.Sprint("m", i)})
		}
		_, err = h.CreateModule(ctx, core.Module{DeviceID: "d", ModuleID: "one-more"})
		wantCode(t, err, core.CodeTooManyModules)
		if list, err := h.ListModules("d"); err != nil || len(list) != 50 {
			t.Errorf("%d modules, %v", len(list), err)
		}
		if err := h.DeleteDevice(ctx, "d", core.AnyETag); err != nil {
			t.Fatal(err)
		}
		_, err = h.GetModule("d", "m0")
		wantCode(t, err, core.CodeDeviceNotFound)
		createDevice(t, h, core.Device{DeviceID: "d"})
		if list, _ := h.ListModules("d"); len(list) != 0 {
			t.Errorf("modules of a deleted device are back: %v", list)
		}
	})
}

func TestEdgeDevice(t *testing.T) {
	h := memoryHub(t)
	d := createDevice(t, h, core.Device{DeviceID: "edge", Capabilities: core.Capabilities{IoTEdge: true}})
	if d.DeviceScope != "ms-azure-iot-edge://edge-"+d.GenerationID {
		t.Errorf("scope %q", d.DeviceScope)
	}
	for _, id := range []string{"$edgeAgent", "$edgeHub"} {
		if _, err := h.GetModule("edge", id); err != nil {
			t.Error(err)
		}
		wantCode(t, h.DeleteModule(t.Context(), "edge", id, core.AnyETag), core.CodeSystemModuleModify)
	}
	child := createDevice(t, h, core.Device{DeviceID: "leaf", DeviceScope: d.DeviceScope})
	if len(child.ParentScopes) != 1 || child.ParentScopes[0] != d.DeviceScope {
		t.Errorf("parent scopes %v", child.ParentScopes)
	}
}

func TestInvalidIdentities(t *testing.T) {
	h := memoryHub(t)
	long := strings.Repeat("x", 129)
	for name, d := range map[string]core.Device{
		"no id":           {},
		"slash":           {DeviceID: "a/b"},
		"space":           {DeviceID: "a b"},
		"umlaut":          {DeviceID: "ü"},
		"long id":         {DeviceID: long},
		"status":          {DeviceID: "d", Status: "asleep"},
		"reason":          {DeviceID: "d", StatusReason: &long},
		"type":            {DeviceID: "d", Authentication: core.Authentication{Type: "password"}},
		"key no base64":   {DeviceID: "d", Authentication: core.Authentication{SymmetricKey: core.SymmetricKey{PrimaryKey: "?"}}},
		"short key":       {DeviceID: "d", Authentication: core.Authentication{SymmetricKey: core.SymmetricKey{SecondaryKey: "AAAA"}}},
		"no thumbprint":   {DeviceID: "d", Authentication: core.Authentication{Type: core.AuthSelfSigned}},
		"bad thumbprint":  {DeviceID: "d", Authentication: core.Authentication{X509Thumbprint: core.X509Thumbprint{PrimaryThumbprint: "abcd"}}},
		"odd thumbprint2": {DeviceID: "d", Authentication: core.Authentication{X509Thumbprint: core.X509Thumbprint{SecondaryThumbprint: core.NullString(strings.Repeat("g", 40))}}},
	} {
		if made, err := h.CreateDevice(t.Context(), d); err == nil {
			t.Errorf("%s: made %+v", name, made)
		} else {
			var e *core.Error
			if !errors.As(err, &e) || e.Status != 400 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n := h.Statistics().TotalDeviceCount; n != 0 {
		t.Errorf("%d devices", n)
	}
}

func TestRegistryIsBounded(t *testing.T) {
	h := newHub(t, core.Config{MaxDevices: 1}, memory.New(nil))
	createDevice(t, h, core.Device{DeviceID: "a"})
	_, err := h.CreateDevice(t.Context(), core.Device{DeviceID: "b"})
	wantCode(t, err, core.CodeTooManyDevices)
}

func TestDeviceJSON(t *testing.T) {
	h := memoryHub(t)
	createDevice(t, h, core.Device{DeviceID: "d", Authentication: core.Authentication{Type: core.AuthCertificateAuthority}})
	d, err := h.GetDevice("d")
	if err != nil {
		t.Fatal(err)
	}
	d.GenerationID, d.ETag = "g", "e"
	got, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"deviceId":"d","generationId":"g","etag":"e","connectionState":"Disconnected","status":"enabled","statusReason":null,` +
		`"connectionStateUpdatedTime":"0001-01-01T00:00:00Z","statusUpdatedTime":"0001-01-01T00:00:00Z","lastActivityTime":"0001-01-01T00:00:00Z",` +
		`"cloudToDeviceMessageCount":0,"authentication":{"symmetricKey":{"primaryKey":null,"secondaryKey":null},` +
		`"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"type":"certificateAuthority"},"capabilities":{"iotEdge":false}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back core.Device
	if err := json.Unmarshal([]byte(`{"DEVICEID":"x","lastActivityTime":"yesterday","statusUpdatedTime":"2024-01-02T03:04:05","authentication":{"symmetricKey":{"primaryKey":null}}}`), &back); err != nil {
		t.Fatal(err)
	}
	if back.DeviceID != "x" || !back.LastActivityTime.IsZero() || back.StatusUpdatedTime.Year() != 2024 {
		t.Errorf("back: %+v", back)
	}
}

// TestConcurrentChangesAllCount: every change goes through compare-and-set, so
// none may be lost to another.
func TestConcurrentChangesAllCount(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		defer closeStore()
		// Two hubs on one storage are two nodes.
		one, two := newHub(t, core.Config{}, storage), newHub(t, core.Config{}, storage)
		createDevice(t, one, core.Device{DeviceID: "d"})
		awaitDevice(t, two, "d")
		var wg sync.WaitGroup
		for i := range 20 {
			h := []*core.Hub{one, two}[i%2]
			wg.Go(func() {
				for {
					_, err := h.CreateModule(context.Background(), core.Module{DeviceID: "d", ModuleID: fmt.Sprint("m", i)})
					if errors.Is(err, &core.Error{Code: core.CodeServerBusy}) {
						continue
					}
					if err != nil {
						t.Error(err)
					}
					return
				}
			})
		}
		wg.Wait()
		// A change through either sees what both did.
		for _, h := range []*core.Hub{one, two} {
			for {
				if list, _ := h.ListModules("d"); len(list) == 20 {
					break
				}
				if _, err := h.UpdateDevice(t.Context(), core.Device{DeviceID: "d"}, core.AnyETag); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// awaitDevice waits for what another node made: a create there fails or is seen.
func awaitDevice(t *testing.T, h *core.Hub, id string) {
	t.Helper()
	for {
		if _, err := h.GetDevice(id); err == nil {
			return
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRestartKeepsIdentitiesPoliciesAndEvents(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example", Partitions: 2}, storage)
		if err != nil {
			t.Fatal(err)
		}
		policies := h.Policies()
		d := createDevice(t, h, core.Device{DeviceID: "d"})
		gone := createDevice(t, h, core.Device{DeviceID: "gone"})
		if err := h.DeleteDevice(t.Context(), gone.DeviceID, core.AnyETag); err != nil {
			t.Fatal(err)
		}
		m := createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
		a := attach(t, h, login(t, h, "d", "", d.Authentication), nil)
		ingest(t, a, core.Event{Payload: []byte("1")}, core.Event{Payload: []byte("2")})
		closeHub(t, h)
		closeStore()

		storage, closeStore = open()
		defer closeStore()
		if _, err := core.New(t.Context(), core.Config{Partitions: 3}, storage); err == nil {
			t.Error("the number of partitions could be changed")
		}
		h = newHub(t, core.Config{HostName: "hub.example"}, storage)
		defer closeHub(t, h)
		if h.Partitions() != 2 || fmt.Sprint(h.Policies()) != fmt.Sprint(policies) || h.Policies()[0].PrimaryKey != policies[0].PrimaryKey {
			t.Error("partitions or policies changed")
		}
		if got, err := h.GetDevice("d"); err != nil || got.ETag != d.ETag || got.Authentication != d.Authentication {
			t.Errorf("device: %+v, %v", got, err)
		}
		if got, err := h.GetModule("d", "m"); err != nil || got.ETag != m.ETag {
			t.Errorf("module: %+v, %v", got, err)
		}
		_, err = h.GetDevice("gone")
		wantCode(t, err, core.CodeDeviceNotFound)
		a = attach(t, h, login(t, h, "d", "", d.Authentication), nil)
		ingest(t, a, core.Event{Payload: []byte("3")})
		events := readAll(t, h, core.FromStart())
		if len(events) != 3 {
			t.Fatalf("%d events", len(events))
		}
		for i, e := range events {
			if e.SequenceNumber != int64(i) || string(e.Body) != fmt.Sprint(i+1) {
				t.Errorf("event %d: sequence number %d, body %s", i, e.SequenceNumber, e.Body)
			}
		}
	})
}
