package mqtt

import (
	"strings"
	"testing"
)

var (
	benchTopic   = []byte("devices/device-0001/messages/events/%24.mid=7f0d6a2e-2b1b-4a9b-9a2f-2f6d5a0d8a11&%24.ct=application%2Fjson&%24.ce=utf-8&level=highest")
	benchPayload = []byte(strings.Repeat("0123456789abcdef", 16))
)

// TestNoAllocations holds the publish and acknowledge paths to zero.
func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	p := PublishPacket{Topic: benchTopic, Payload: benchPayload, PacketID: 7, QoS: 1}
	frame, err := AppendPublish(nil, &p)
	if err != nil {
		t.Fatal(err)
	}
	bad := []byte("\x30\x03\x00\x01#")
	ack := AppendAck(nil, TypePuback, 7)
	suback := AppendSuback(nil, 7, []byte{1})
	ping := AppendEmpty(nil, TypePingreq)
	connack := AppendConnack(nil, false, 0)
	for name, f := range map[string]func(){
		"Frame":               func() { _, _ = Frame(frame, 1<<18) },
		"AppendPublish":       func() { _, _ = AppendPublish(buf, &p) },
		"AppendPublishHeader": func() { _ = AppendPublishHeader(buf, 1, 100, 1000) },
		"DecodePublish":       func() { _, _ = DecodePublish(frame) },
		"DecodePublish error": func() { _, _ = DecodePublish(bad) },
		"SetPublishID":        func() { SetPublishID(frame, 8); SetPublishDup(frame) },
		"AppendAck":           func() { _ = AppendAck(buf, TypePuback, 7) },
		"DecodeAck":           func() { _, _ = DecodeAck(ack) },
		"AppendSuback":        func() { _ = AppendSuback(buf, 7, suback[4:]) },
		"DecodeSuback":        func() { _, _, _ = DecodeSuback(suback) },
		"AppendEmpty":         func() { _ = AppendEmpty(buf, TypePingresp) },
		"DecodeEmpty":         func() { _ = DecodeEmpty(ping) },
		"AppendConnack":       func() { _ = AppendConnack(buf, false, 0) },
		"DecodeConnack":       func() { _, _, _ = DecodeConnack(connack) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestRefusalAllocatesNothing: lengths that the peer only claims, and filters
// in front of a mistake, cost no memory.
func TestRefusalAllocatesNothing(t *testing.T) {
	subs := append([]byte("\x82\xd5\x60\x00\x01"), strings.Repeat("\x00\x01a\x00", 3092)...)
	subs = append(subs, "\x00\x01a"...)
	if n := len(subs) - 3; n>>7 != 0x60 || n&0x7f != 0x55 {
		t.Fatalf("the test's packet has a remaining length of %#x", n)
	}
	for name, f := range map[string]func() error{
		"subscribe": func() error { _, _, err := DecodeSubscribe(subs); return err },
		"connect": func() error {
			_, err := DecodeConnect([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\xff\xff"))
			return err
		},
		"publish": func() error { _, err := DecodePublish([]byte("\x30\x05\xff\xffabc")); return err },
	} {
		if n := testing.AllocsPerRun(10, func() {
			if f() == nil {
				t.Errorf("%s: no error", name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	frame, _ := AppendPublish(nil, &PublishPacket{Topic: benchTopic, Payload: benchPayload, PacketID: 7, QoS: 1})
	b.ReportAllocs()
	for b.Loop() {
		if n, err := Frame(frame, 1<<18); n != len(frame) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	buf := make([]byte, 0, 4096)
	p := PublishPacket{Topic: benchTopic, Payload: benchPayload, PacketID: 7, QoS: 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendPublish(buf, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkDecodePublish(b *testing.B, topic []byte) {
	frame, err := AppendPublish(nil, &PublishPacket{Topic: topic, Payload: benchPayload, PacketID: 7, QoS: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodePublish(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	b.Run("130-byte topic", func(b *testing.B) { benchmarkDecodePublish(b, benchTopic) })
	b.Run("short topic", func(b *testing.B) { benchmarkDecodePublish(b, []byte("a/b/c")) })
	b.Run("UTF-8 topic", func(b *testing.B) { benchmarkDecodePublish(b, append([]byte("ä"), benchTopic...)) })
}

func BenchmarkAck(b *testing.B) {
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if id, err := DecodeAck(AppendAck(buf, TypePuback, 7)); id != 7 || err != nil {
			b.Fatal(id, err)
		}
	}
}

func BenchmarkDecodeConnect(b *testing.B) {
	frame, err := AppendConnect(nil, &ConnectPacket{
		KeepAlive: 240, ClientID: "device-0001",
		Username: "hub1.azure-devices.net/device-0001/?api-version=2021-04-12&DeviceClientType=iothub",
		Password: benchPayload,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeConnect(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeSubscribe(b *testing.B) {
	frame, err := AppendSubscribe(nil, 1, []Subscription{{"devices/device-0001/messages/devicebound/#", 1}, {"$iothub/twin/res/#", 0}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeSubscribe(frame); err != nil {
			b.Fatal(err)
		}
	}
}
