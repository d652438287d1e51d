package core_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/jetstream"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// BenchmarkIngest sends batches of 64 events of 256 bytes with three properties,
// each attachment with at most 16 batches unanswered.
func BenchmarkIngest(b *testing.B) {
	stores := []struct {
		name string
		open func(b *testing.B) core.Storage
	}{
		{"memory", func(*testing.B) core.Storage { return memory.New(nil) }},
		{"jetstream-synced", func(b *testing.B) core.Storage { return openJetStream(b, false) }},
		{"jetstream-relaxed", func(b *testing.B) core.Storage { return openJetStream(b, true) }},
	}
	for _, s := range stores {
		for _, n := range []int{1, 10} {
			b.Run(fmt.Sprintf("%s/%d", s.name, n), func(b *testing.B) {
				benchmarkIngest(b, newHub(b, core.Config{RetentionBytes: 64 << 20}, s.open(b)), n)
			})
		}
	}
}

func openJetStream(b *testing.B, relaxed bool) core.Storage {
	s, err := jetstream.Open(jetstream.Config{Dir: b.TempDir(), Relaxed: relaxed})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

func benchmarkIngest(b *testing.B, h *core.Hub, attachments int) {
	const perBatch, window = 64, 16
	events := make([]core.Event, perBatch)
	for i := range events {
		events[i] = core.Event{Bag: []byte("%24.mid=4711&level=high&colour=dark%20red"), Payload: make([]byte, 256)}
	}
	list := make([]*core.Attachment, attachments)
	for i := range list {
		list[i] = attachNew(b, h, fmt.Sprintf("device-%d", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, a := range list {
		batches := b.N / attachments
		if i == 0 {
			batches += b.N % attachments
		}
		wg.Go(func() { send(b, a, events, batches, window) })
	}
	wg.Wait()
	b.StopTimer()
	total := float64(b.N * perBatch)
	b.ReportMetric(total/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/event")
}

func send(b *testing.B, a *core.Attachment, events []core.Event, batches, window int) {
	room := make(chan struct{}, window)
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
		<-room
	}
	for range batches {
		room <- struct{}{}
		if err := a.Ingest(events, done); err != nil {
			b.Error(err)
			return
		}
	}
	for range window {
		room <- struct{}{}
	}
}
