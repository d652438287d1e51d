package core_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// BenchmarkReportedPatches lets devices patch their reported properties, each
// waiting for one patch to be durable before the next, as device clients do.
// What many do at once shares its writes, so the rate has to grow with them.
func BenchmarkReportedPatches(b *testing.B) {
	for _, s := range []struct {
		name string
		open func(b *testing.B) core.Storage
	}{
		{"memory", func(*testing.B) core.Storage { return memory.New(nil) }},
		{"jetstream-synced", func(b *testing.B) core.Storage { return openJetStream(b, false) }},
	} {
		for _, devices := range []int{1, 16, 256, 2048} {
			b.Run(fmt.Sprintf("%s/%d", s.name, devices), func(b *testing.B) {
				benchmarkPatches(b, newHub(b, core.Config{}, s.open(b)), devices)
			})
		}
	}
}

func benchmarkPatches(b *testing.B, h *core.Hub, devices int) {
	list := make([]*core.Attachment, devices)
	// The registry has no part in this, and its writes would take longer.
	for i := range list {
		if i%50 == 0 {
			createDevice(b, h, core.Device{DeviceID: fmt.Sprintf("d%d", i/50)})
		}
		m := createModule(b, h, core.Module{DeviceID: fmt.Sprintf("d%d", i/50), ModuleID: fmt.Sprintf("m%d", i)})
		list[i] = attach(b, h, login(b, h, m.DeviceID, m.ModuleID, m.Authentication), nil)
		mustReport(b, list[i], `{"firmware":{"version":"1.2.3","date":"2026-01-31"},"battery":{"level":80,"charging":false},"interfaces":["eth0","wlan0"],"location":"north"}`)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, a := range list {
		n := b.N / devices
		if i < b.N%devices {
			n++
		}
		wg.Go(func() {
			for k := range n {
				if _, err := report(a, fmt.Sprintf(`{"battery":{"level":%d},"temp":21.5}`, k)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "patches/s")
	for _, a := range list {
		a.Detach()
	}
}
