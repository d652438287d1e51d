package core_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/jetstream"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/testkit"
)

// TestMain fails the run when goroutines of this package's making remain.
func TestMain(m *testing.M) { testkit.Main(m, 0, "hub/internal/core.(") }

// onStores runs a test on every kind of storage. open gives the same data each time.
func onStores(t *testing.T, test func(t *testing.T, open func() (core.Storage, func()))) {
	t.Run("memory", func(t *testing.T) {
		s := memory.New(nil)
		test(t, func() (core.Storage, func()) { return s, func() {} })
	})
	t.Run("jetstream", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func() (core.Storage, func()) {
			s, err := jetstream.Open(jetstream.Config{Dir: dir, Relaxed: true})
			if err != nil {
				t.Fatal(err)
			}
			return s, s.Close
		})
	})
}

func newHub(t testing.TB, cfg core.Config, storage core.Storage) *core.Hub {
	t.Helper()
	if cfg.HostName == "" {
		cfg.HostName = "hub.example"
	}
	h, err := core.New(t.Context(), cfg, storage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeHub(t, h) })
	return h
}

func memoryHub(t testing.TB) *core.Hub { return newHub(t, core.Config{}, memory.New(nil)) }

func closeHub(t testing.TB, h *core.Hub) {
	t.Helper()
	if err := h.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func createDevice(t testing.TB, h *core.Hub, d core.Device) core.Device {
	t.Helper()
	made, err := h.CreateDevice(t.Context(), d)
	if err != nil {
		t.Fatalf("create device %q: %v", d.DeviceID, err)
	}
	return made
}

func createModule(t testing.TB, h *core.Hub, m core.Module) core.Module {
	t.Helper()
	made, err := h.CreateModule(t.Context(), m)
	if err != nil {
		t.Fatalf("create module %q: %v", m.ModuleID, err)
	}
	return made
}

func keyOf(t testing.TB, text core.NullString) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// login authenticates a device, or a module with a key of its own.
func login(t testing.TB, h *core.Hub, deviceID, moduleID string, auth core.Authentication) *core.Principal {
	t.Helper()
	now := h.Now()
	token := sas.Sign(sas.Resource(h.HostName(), deviceID, moduleID), keyOf(t, auth.SymmetricKey.PrimaryKey), now.Add(time.Hour), "")
	p, err := h.Authenticate(now, core.AuthRequest{DeviceID: deviceID, ModuleID: moduleID, Token: token})
	if err != nil {
		t.Fatalf("authenticate %s/%s: %v", deviceID, moduleID, err)
	}
	return p
}

func attach(t testing.TB, h *core.Hub, p *core.Principal, kick func(error)) *core.Attachment {
	t.Helper()
	if kick == nil {
		kick = func(error) {}
	}
	a, err := h.Attach(p, "", kick)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// attachNew makes a device and connects it.
func attachNew(t testing.TB, h *core.Hub, deviceID string) *core.Attachment {
	t.Helper()
	d := createDevice(t, h, core.Device{DeviceID: deviceID})
	return attach(t, h, login(t, h, deviceID, "", d.Authentication), nil)
}

func wantCode(t testing.TB, err error, code int) {
	t.Helper()
	var e *core.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error is %v, want code %d", err, code)
	}
}

// ingest waits until the events are durable.
func ingest(t testing.TB, a *core.Attachment, events ...core.Event) {
	t.Helper()
	done := make(chan error, 1)
	if err := a.Ingest(events, func(err error) { done <- err }); err != nil {
		t.Fatalf("Ingest: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("not stored: %v", err)
	}
}

// readAll reads what there is from a position.
func readAll(t testing.TB, h *core.Hub, from core.Position, partitions ...int) []core.StoredEvent {
	t.Helper()
	r, err := h.NewReader(t.Context(), from, partitions...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var list []core.StoredEvent
	for {
		e, err := r.TryNext(t.Context())
		if errors.Is(err, core.ErrNoEvent) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
}
