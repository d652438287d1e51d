package hub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// BenchmarkServerIngest sends 256-byte messages with three properties over TLS
// on the loopback interface, QoS 1, many in flight, and counts the
// acknowledgements. The client shares the processors; "cpu-µs/msg" is of both,
// kernel included.
func BenchmarkServerIngest(b *testing.B) {
	for _, bb := range []struct {
		name    string
		conns   int
		options func(b *testing.B) *hub.Options
	}{
		{"synced/conns=1", 1, func(b *testing.B) *hub.Options { return &hub.Options{DataDir: b.TempDir()} }},
		{"synced/conns=4", 4, func(b *testing.B) *hub.Options { return &hub.Options{DataDir: b.TempDir()} }},
		{"memory/conns=1", 1, func(b *testing.B) *hub.Options { return &hub.Options{RetentionBytes: 64 << 20} }},
	} {
		b.Run(bb.name, func(b *testing.B) { benchmarkIngest(b, bb.options(b), bb.conns) })
	}
}

func benchmarkIngest(b *testing.B, o *hub.Options, conns int) {
	s := start(b, o)
	devices := make([]*device, conns)
	for i := range devices {
		id := fmt.Sprintf("bench%d", i)
		if _, err := s.CreateDevice(context.Background(), id); err != nil {
			b.Fatal(err)
		}
		cs, err := s.DeviceConnectionString(id)
		if err != nil {
			b.Fatal(err)
		}
		devices[i] = dial(b, s, cs)
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	done := make(chan struct{})
	for _, d := range devices {
		go func() {
			d.pump(b.N/conns+1, 4000)
			done <- struct{}{}
		}()
	}
	for range devices {
		<-done
	}
	n := float64((b.N/conns + 1) * conns)
	b.ReportMetric(n/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/n, "cpu-µs/msg")
}

// pump sends n messages, at most window of them unacknowledged.
func (d *device) pump(n, window int) {
	const batch = 200
	packet, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{
		Topic:   []byte(d.base + "temperature=21.5&line=north&unit=c"),
		Payload: []byte(strings.Repeat("x", 256)), QoS: 1, PacketID: 1,
	})
	if err != nil {
		panic(err)
	}
	credit := make(chan int, window)
	for range window / batch {
		credit <- batch
	}
	go func() {
		out := make([]byte, 0, batch*len(packet))
		id := 0
		for sent := 0; sent < n; {
			k := min(<-credit, n-sent)
			out = out[:0]
			for range k {
				id = id%65535 + 1
				start := len(out)
				out = append(out, packet...)
				mqtt.SetPublishID(out[start:], uint16(id))
			}
			if _, err := d.nc.Write(out); err != nil {
				d.t.Error(err)
				return
			}
			sent += k
		}
	}()
	for acked, want := 0, 1; acked < n; acked++ {
		frame, err := d.next()
		if err != nil {
			d.t.Error(err)
			return
		}
		if id, err := mqtt.DecodeAck(frame); err != nil || int(id) != want {
			d.t.Errorf("PUBACK %d, want %d: %v", id, want, err)
			return
		}
		want = want%65535 + 1
		if (acked+1)%batch == 0 {
			select {
			case credit <- batch:
			default:
			}
		}
	}
}
