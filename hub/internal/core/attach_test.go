package core_test

import (
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

func stateOf(t testing.TB, h *core.Hub, id string) string {
	t.Helper()
	d, err := h.GetDevice(id)
	if err != nil {
		t.Fatal(err)
	}
	return d.ConnectionState
}

func TestNewerConnectionWins(t *testing.T) {
	h := memoryHub(t)
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	p := login(t, h, "d", "", d.Authentication)
	var kicked []error
	older := attach(t, h, p, func(err error) {
		kicked = append(kicked, err)
		if stateOf(t, h, "d") != core.Connected { // the lock is free, and the newer one is there
			t.Error("disconnected in between")
		}
	})
	if stateOf(t, h, "d") != core.Connected || h.Statistics().ConnectedDeviceCount != 1 {
		t.Error("not connected")
	}
	newer := attach(t, h, p, func(err error) { t.Errorf("the newer was kicked: %v", err) })
	if len(kicked) != 1 {
		t.Fatalf("kicked %d times", len(kicked))
	}
	wantCode(t, kicked[0], core.CodeConnectionForcefullyClosed)
	older.Detach()
	if stateOf(t, h, "d") != core.Connected {
		t.Error("the older's end disconnected the newer")
	}
	ingest(t, older, core.Event{Will: true}) // its will still counts
	newer.Detach()
	newer.Detach()
	if stateOf(t, h, "d") != core.Disconnected {
		t.Error("still connected")
	}
}

func TestDeviceAndModulesConnectSideBySide(t *testing.T) {
	h := memoryHub(t)
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	m := createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
	fail := func(err error) { t.Errorf("kicked: %v", err) }
	a := attach(t, h, login(t, h, "d", "", d.Authentication), fail)
	b := attach(t, h, login(t, h, "d", "m", m.Authentication), fail)
	if got, _ := h.GetModule("d", "m"); got.ConnectionState != core.Connected {
		t.Error("module not connected")
	}
	if n := h.Statistics().ConnectedDeviceCount; n != 1 {
		t.Errorf("%d connected devices", n)
	}
	a.Detach()
	b.Detach()
}

func TestChangesOfAnIdentityDropItsConnections(t *testing.T) {
	newKey := core.NullString("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	for _, c := range []struct {
		name           string
		change         func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error
		device, module bool // dropped?
	}{
		{"delete the device", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			return h.DeleteDevice(t.Context(), "d", core.AnyETag)
		}, true, true},
		{"disable the device", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			_, err := h.UpdateDevice(t.Context(), core.Device{DeviceID: "d", Status: core.StatusDisabled}, core.AnyETag)
			return err
		}, true, true},
		{"replace the key in use", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			d.Authentication.SymmetricKey.PrimaryKey = newKey
			_, err := h.UpdateDevice(t.Context(), d, core.AnyETag)
			return err
		}, true, false},
		{"replace the other key", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			d.Authentication.SymmetricKey.SecondaryKey = newKey
			_, err := h.UpdateDevice(t.Context(), d, core.AnyETag)
			return err
		}, false, false},
		{"swap the keys", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			k := &d.Authentication.SymmetricKey
			k.PrimaryKey, k.SecondaryKey = k.SecondaryKey, k.PrimaryKey
			_, err := h.UpdateDevice(t.Context(), d, core.AnyETag)
			return err
		}, false, false},
		{"change to certificates", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			_, err := h.UpdateDevice(t.Context(), core.Device{DeviceID: "d", Authentication: core.Authentication{Type: core.AuthCertificateAuthority}}, core.AnyETag)
			return err
		}, true, false},
		{"delete the module", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			return h.DeleteModule(t.Context(), "d", "m", core.AnyETag)
		}, false, true},
		{"replace the module's key", func(t *testing.T, h *core.Hub, d core.Device, m core.Module) error {
			m.Authentication.SymmetricKey.PrimaryKey = newKey
			_, err := h.UpdateModule(t.Context(), m, core.AnyETag)
			return err
		}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := memoryHub(t)
			d := createDevice(t, h, core.Device{DeviceID: "d"})
			m := createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
			var device, module error
			principal := login(t, h, "d", "", d.Authentication)
			a := attach(t, h, principal, func(err error) { device = err })
			b := attach(t, h, login(t, h, "d", "m", m.Authentication), func(err error) { module = err })
			defer a.Detach()
			defer b.Detach()
			if err := c.change(t, h, d, m); err != nil {
				t.Fatal(err)
			}
			if (device != nil) != c.device || (module != nil) != c.module {
				t.Errorf("kicked: device %v, module %v", device, module)
			}
			err := a.Ingest([]core.Event{{}}, func(error) {})
			if (err != nil) != c.device {
				t.Errorf("ingest afterwards: %v", err)
			}
			if c.device {
				wantCode(t, device, core.CodeUnauthorized)
				// What was proved before the change does not let in after it.
				_, err := h.Attach(principal, "", nil)
				wantCode(t, err, core.CodeUnauthorized)
			}
		})
	}
}

func TestCloseKicks(t *testing.T) {
	h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, memory.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	p := login(t, h, "d", "", d.Authentication)
	var reason error
	a := attach(t, h, p, func(err error) { reason = err })
	closeHub(t, h)
	wantCode(t, reason, core.CodeServiceUnavailable)
	wantCode(t, a.Ingest([]core.Event{{}}, nil), core.CodeServiceUnavailable)
	_, err = h.Attach(p, "", nil)
	wantCode(t, err, core.CodeServiceUnavailable)
	a.Detach()
	closeHub(t, h)
}

func TestConnectionTimes(t *testing.T) {
	now := epoch
	clock := func() time.Time { return now }
	h := newHub(t, core.Config{Clock: clock}, memory.New(clock))
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	if !d.LastActivityTime.IsZero() {
		t.Error("active before it ever connected")
	}
	a := attach(t, h, login(t, h, "d", "", d.Authentication), nil)
	now = now.Add(time.Minute)
	ingest(t, a, core.Event{})
	now = now.Add(time.Minute)
	a.Detach()
	d, err := h.GetDevice("d")
	if err != nil || !d.LastActivityTime.Equal(epoch.Add(time.Minute)) || !d.ConnectionStateUpdatedTime.Equal(epoch.Add(2*time.Minute)) {
		t.Errorf("active %v, changed %v, %v", d.LastActivityTime, d.ConnectionStateUpdatedTime, err)
	}
}

// TestManyConnectionsOfOneIdentity: whatever the order, one remains and each
// older one is told exactly once.
func TestManyConnectionsOfOneIdentity(t *testing.T) {
	h := memoryHub(t)
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	p := login(t, h, "d", "", d.Authentication)
	var mu sync.Mutex
	kicks := 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := h.Attach(p, "", func(error) { mu.Lock(); kicks++; mu.Unlock() }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if kicks != 49 {
		t.Errorf("%d of 50 connections kicked", kicks)
	}
}
