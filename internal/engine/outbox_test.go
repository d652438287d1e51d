package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

var testIdentity = iothub.Identity{DeviceID: "dev1", ModuleID: "mod1"}

func newOutbox(messages, bytes int) *Outbox {
	return NewOutbox(NewMQTTEncoder(testIdentity, false), time.Now(), messages, bytes)
}

// decode returns what an encoded packet with a blank id says.
func decode(t *testing.T, packet []byte) (payload []byte, props map[string]string) {
	t.Helper()
	packet = bytes.Clone(packet)
	mqtt.SetPublishID(packet, 1)
	n, err := mqtt.Frame(packet, maxPublish)
	if err != nil || n != len(packet) {
		t.Fatalf("a frame of %d in a packet of %d: %v", n, len(packet), err)
	}
	p, err := mqtt.DecodePublish(packet)
	if err != nil {
		t.Fatal(err)
	}
	if p.QoS != 1 || p.Dup || p.Retain {
		t.Errorf("QoS %d, DUP %v, retain %v", p.QoS, p.Dup, p.Retain)
	}
	base := topic.AppendTelemetryBase(nil, testIdentity.DeviceID, testIdentity.ModuleID)
	bag, ok := topic.ParseTelemetry(p.Topic, base[:len(base)-1])
	if !ok {
		t.Fatalf("topic %q", p.Topic)
	}
	props = map[string]string{}
	err = topic.DecodeBag(bag, func(k, v string, _ bool) error {
		if _, twice := props[k]; twice {
			t.Errorf("property %q twice", k)
		}
		props[k] = v
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.Payload, props
}

// Whatever shares a chunk, outgrows it or has one of its own: every packet
// holds its message, and those before stay as they are.
func TestOutboxKeepsMessages(t *testing.T) {
	d := rand.New(rand.NewPCG(1, 1))
	o := newOutbox(1<<20, 1<<30)
	type sent struct {
		payload []byte
		props   map[string]string
	}
	var want []sent
	var got []Entry
	for i := range 5000 {
		m := &iothub.Message{Payload: make([]byte, d.IntN(400)), Properties: map[string]string{"n": fmt.Sprint(i)}}
		switch d.IntN(40) {
		case 0:
			m.Payload = make([]byte, d.IntN(40_000))
		case 1:
			m.Properties["long"] = strings.Repeat("/", d.IntN(20_000)) // outgrows every guess
		}
		for j := range m.Payload {
			m.Payload[j] = byte(d.Uint32())
		}
		if err := o.Add(time.Now(), m, nil, 0, false); err != nil {
			t.Fatal(err)
		}
		want = append(want, sent{m.Payload, m.Properties})
		if d.IntN(50) == 0 {
			got = append(got, o.Take(nil)...)
		}
	}
	got = append(got, o.Take(nil)...)
	if len(got) != len(want) {
		t.Fatalf("%d entries for %d messages", len(got), len(want))
	}
	total := 0
	for i := range want {
		payload, props := decode(t, got[i].packet())
		if !bytes.Equal(payload, want[i].payload) || fmt.Sprint(props) != fmt.Sprint(want[i].props) {
			t.Fatalf("message %d came out as %d bytes, %v", i, len(payload), props)
		}
		total += int(got[i].n)
	}
	if n, b := o.Len(); n != len(want) || b != total {
		t.Errorf("Len is %d, %d; want %d, %d", n, b, len(want), total)
	}
	o.Release(len(want), total)
	if n, b := o.Len(); n != 0 || b != 0 {
		t.Errorf("Len is %d, %d after all was released", n, b)
	}
	if o.chunk != nil {
		t.Error("an idle outbox keeps a chunk")
	}
}

func TestOutboxBounds(t *testing.T) {
	now := time.Now()
	one := &iothub.Message{Payload: make([]byte, 1000)}
	size := func() int {
		o := newOutbox(1, 1<<20)
		o.Add(now, one, nil, 0, false)
		_, n := o.Len()
		return n
	}()
	for _, c := range []struct{ messages, bytes, want int }{
		{1, 1 << 30, 1}, {7, 1 << 30, 7}, {1 << 20, 5 * size, 5}, {1 << 20, 5*size - 1, 4}, {3, 2 * size, 2},
		{1 << 20, 1, 1}, // one message always fits
	} {
		o := newOutbox(c.messages, c.bytes)
		n := 0
		var err error
		for err == nil {
			if err = o.Add(now, one, nil, 0, false); err == nil {
				n++
			}
		}
		if n != c.want || !errors.Is(err, iothub.ErrQueueFull) {
			t.Errorf("bounds of %d messages, %d bytes: took %d, then %v; want %d", c.messages, c.bytes, n, err, c.want)
		}
		if o.Staged() != n {
			t.Errorf("%d staged, %d accepted", o.Staged(), n)
		}
		o.Release(1, size)
		if err := o.Add(now, one, nil, 0, false); err != nil {
			t.Errorf("after a release: %v", err)
		}
	}
}

// A refused message leaves nothing behind.
func TestOutboxRefuses(t *testing.T) {
	o := newOutbox(10, 1<<20)
	for _, m := range []*iothub.Message{
		nil, {Payload: make([]byte, iothub.MaxMessageSize+1)}, {Properties: map[string]string{"": "v"}},
		{Properties: map[string]string{"a": "b", "k": "a\x00b"}}, {MessageID: "a b"},
	} {
		if err := o.Add(time.Now(), m, nil, 0, false); err == nil || !iothub.NotSent(err) {
			t.Errorf("%v: %v", m, err)
		}
	}
	if n, b := o.Len(); n != 0 || b != 0 || o.Staged() != 0 {
		t.Errorf("%d messages, %d bytes, %d staged after refusals", n, b, o.Staged())
	}
}

func TestOutboxDeadline(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		timeout, expiry, want time.Duration
	}{
		"none":          {0, 0, 0},
		"timeout":       {time.Minute, 0, time.Minute},
		"expiry":        {0, time.Hour, time.Hour},
		"both, timeout": {time.Minute, time.Hour, time.Minute},
		"both, expiry":  {time.Hour, time.Minute, time.Minute},
		"expired":       {time.Hour, -time.Minute, 0},
	} {
		o := NewOutbox(NewMQTTEncoder(testIdentity, false), now, 1, 1<<20)
		m := &iothub.Message{}
		if c.expiry != 0 {
			m.ExpiryTime = now.Add(c.expiry)
		}
		if err := o.Add(now, m, nil, c.timeout, false); err != nil {
			t.Fatal(err)
		}
		d := o.Take(nil)[0].deadline
		if (d == 0) != (c.want == 0 && c.expiry == 0) || d-c.want > time.Second || c.want-d > time.Second {
			t.Errorf("%s: deadline %v, want %v", name, d, c.want)
		}
	}
}

// heapPerMessage returns what n messages cost in a session without a link, and
// the size of one packet.
func heapPerMessage(t *testing.T, n int, m *iothub.Message) (heap float64, packet int) {
	t.Helper()
	o := newOutbox(n, 1<<30)
	s := NewSession(SessionConfig{MQTT: MQTTConfig{Window: 100, WindowBytes: 1 << 20}}, time.Now())
	confirm := func(iothub.Confirmation) {}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var spare []Entry
	for i := range n {
		if err := o.Add(time.Now(), m, confirm, 0, false); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			staged := o.Take(spare)
			s.Submit(time.Now(), staged)
			clear(staged)
			spare = staged
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	_, total := o.Len()
	runtime.KeepAlive(s)
	return float64(after.HeapAlloc-before.HeapAlloc) / float64(n), total / n
}

// A queued message costs its bytes and at most 150.
func TestQueuedMessageCost(t *testing.T) {
	props := map[string]string{"sensor": "thermometer-7", "unit": "celsius", "level": "normal"}
	for name, m := range map[string]*iothub.Message{
		"256 bytes":       {Payload: make([]byte, 256), Properties: props},
		"empty":           {},
		"4 KiB":           {Payload: make([]byte, 4096), Properties: props},
		"most properties": {Payload: make([]byte, 16), Properties: map[string]string{"k": strings.Repeat("v", 2000)}},
	} {
		heap, packet := heapPerMessage(t, 20_000, m)
		t.Logf("%s: %.0f bytes of heap for a packet of %d: %.0f more", name, heap, packet, heap-float64(packet))
		limit := float64(packet) + 150
		if packet > 1000 {
			limit += float64(packet) / 10 // the ends of chunks
		}
		if heap > limit {
			t.Errorf("%s: a packet of %d bytes costs %.0f", name, packet, heap)
		}
	}
}
