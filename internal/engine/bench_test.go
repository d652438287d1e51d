package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// BenchmarkSendAck is the engine alone: a message is accepted, handed to the
// writer, acknowledged and confirmed, a hundred at a time as under load.
func BenchmarkSendAck(b *testing.B) {
	for _, size := range []int{256, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchmarkSendAck(b, size) })
	}
}

func benchmarkSendAck(b *testing.B, size int) {
	const batch = 100
	now := time.Now()
	m := &iothub.Message{Payload: make([]byte, size),
		Properties: map[string]string{"sensor": "thermometer-7", "unit": "celsius", "level": "normal"}}
	o := newOutbox(1<<16, 1<<30)
	s := NewSession(SessionConfig{MQTT: MQTTConfig{ClientID: "c", Window: 65535, WindowBytes: 1 << 30},
		Retry: *iothub.DefaultRetryPolicy(), Random: func() float64 { return 0 }}, now)
	s.Start(now)
	s.LinkUp(now, Auth{})
	s.Feed(now, mqtt.AppendConnack(nil, false, 0))
	confirmed := 0
	confirm := func(iothub.Confirmation) { confirmed++ }
	var spare []Entry
	var events []Event
	var pieces [][]byte
	acks := make([]byte, 0, 4*batch)
	id := s.proto.lastID
	b.ReportAllocs()
	b.SetBytes(int64(size))
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		acks = acks[:0]
		for range batch {
			if err := o.Add(now, m, confirm, 0, false); err != nil {
				b.Fatal(err)
			}
			id = nextID(id)
			acks = mqtt.AppendAck(acks, mqtt.TypePuback, id)
		}
		staged := o.Take(spare)
		s.Submit(now, staged)
		clear(staged)
		spare = staged
		n := 0
		pieces = s.Pending(now, pieces[:0])
		for _, p := range pieces {
			n += len(p)
		}
		s.Wrote(now, n)
		s.Feed(now, acks)
		events = s.Events(events)
		for i := range events {
			if e := &events[i]; e.Kind == EventConfirm {
				o.Release(1, int(e.Size))
				e.Confirm(e.Confirmation)
			}
		}
		clear(events)
		events = events[:0]
	}
	if confirmed < b.N {
		b.Fatalf("%d of %d confirmed", confirmed, b.N)
	}
}
