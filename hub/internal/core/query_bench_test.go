package core_test

import (
	"fmt"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// BenchmarkQuery asks questions that have to look at each of 20 000 twins.
func BenchmarkQuery(b *testing.B) {
	h := memoryHub(b)
	const twins = 20_000
	for i := range twins {
		id := fmt.Sprintf("device-%06d", i)
		createDevice(b, h, core.Device{DeviceID: id})
		patch := fmt.Sprintf(`{"tags":{"room":"room %d","floor":%d},"properties":{"desired":{"interval":%d,"temperature":%d.5}}}`, i%20, i%5, i%60, i%31)
		if _, err := h.UpdateTwin(b.Context(), id, "", []byte(patch), core.AnyETag); err != nil {
			b.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"condition": "SELECT * FROM devices WHERE tags.room = 'room 7' AND properties.desired.temperature > 29.5",
		"group":     "SELECT COUNT() AS n, AVG(properties.desired.temperature) AS t, tags.room FROM devices GROUP BY tags.room",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.Query(b.Context(), text, 100, ""); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/twins, "ns/twin")
		})
	}
}
