package core_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/jetstream"
)

func startHub(t *testing.T, dir string, relaxed bool) (*core.Hub, *jetstream.Store, time.Duration) {
	t.Helper()
	began := time.Now()
	s, err := jetstream.Open(jetstream.Config{Dir: dir, Relaxed: relaxed})
	if err != nil {
		t.Fatal(err)
	}
	h, err := core.New(t.Context(), core.Config{}, s)
	if err != nil {
		t.Fatal(err)
	}
	return h, s, time.Since(began)
}

// TestStartTime measures the budgets of a start: 50 ms empty, 2 s with 100,000
// devices. It only fails far above, since a test machine may be busy.
func TestStartTime(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("makes 100,000 devices and measures")
	}
	h, s, took := startHub(t, t.TempDir(), false)
	t.Logf("empty: %v", took)
	if took > 2*time.Second {
		t.Errorf("an empty hub took %v to start", took)
	}
	closeHub(t, h)
	s.Close()

	const devices = 100_000
	dir := t.TempDir()
	h, s, _ = startHub(t, dir, true)
	var wg sync.WaitGroup
	const makers = 50
	for i := range makers {
		wg.Go(func() {
			for n := i; n < devices; n += makers {
				if _, err := h.CreateDevice(t.Context(), core.Device{DeviceID: fmt.Sprintf("device-%06d", n)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	closeHub(t, h)
	s.Close()
	h, s, took = startHub(t, dir, false)
	t.Logf("%d devices: %v", devices, took)
	if n := h.Statistics().TotalDeviceCount; n != devices {
		t.Errorf("%d devices after a restart, want %d", n, devices)
	}
	if took > 10*time.Second {
		t.Errorf("a hub with %d devices took %v to start", devices, took)
	}
	closeHub(t, h)
	s.Close()
}
