package core_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/jetstream"
)

func startHub(tb testing.TB, dir string, relaxed bool) (stop func(), h *core.Hub) {
	tb.Helper()
	s, err := jetstream.Open(jetstream.Config{Dir: dir, Relaxed: relaxed})
	if err != nil {
		tb.Fatal(err)
	}
	h, err = core.New(tb.Context(), core.Config{}, s)
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		if err := h.Close(tb.Context()); err != nil {
			tb.Error(err)
		}
		s.Close()
	}, h
}

// makeDevices fills dir with n devices, without syncing each.
func makeDevices(tb testing.TB, dir string, n int) {
	tb.Helper()
	stop, h := startHub(tb, dir, true)
	defer stop()
	var wg sync.WaitGroup
	const makers = 50
	for i := range makers {
		wg.Go(func() {
			for d := i; d < n; d += makers {
				if _, err := h.CreateDevice(tb.Context(), core.Device{DeviceID: fmt.Sprintf("device-%06d", d)}); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Thousands of devices are all there after a restart.
func TestManyDevicesAfterRestart(t *testing.T) {
	const devices = 2000
	dir := t.TempDir()
	makeDevices(t, dir, devices)
	stop, h := startHub(t, dir, false)
	defer stop()
	if n := h.Statistics().TotalDeviceCount; n != devices {
		t.Errorf("%d devices after a restart, want %d", n, devices)
	}
}

// BenchmarkStart measures a start: budgets are 50 ms for an empty hub and 2 s
// for one with 100,000 devices.
func BenchmarkStart(b *testing.B) {
	for _, devices := range []int{0, 100_000} {
		b.Run(fmt.Sprint(devices, "-devices"), func(b *testing.B) {
			dir := b.TempDir()
			makeDevices(b, dir, devices)
			for b.Loop() {
				stop, _ := startHub(b, dir, false)
				b.StopTimer()
				stop()
				b.StartTimer()
			}
		})
	}
}
