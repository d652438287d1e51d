package engine

import (
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// FuzzReceive feeds what a hub might send to a client that wants everything:
// nothing panics, requests are answered at most once, and what is kept stays
// bounded.
func FuzzReceive(f *testing.F) {
	publish := func(t, payload string, id uint16) []byte {
		p := &mqtt.PublishPacket{Topic: []byte(t), Payload: []byte(payload), PacketID: id}
		if id > 0 {
			p.QoS = 1
		}
		b, err := mqtt.AppendPublish(nil, p)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	f.Add(publish("devices/dev1/messages/devicebound/%24.mid=1&a=b", "x", 5), uint8(1))
	f.Add(publish("devices/dev1/modules/mod1/inputs/in/%24.cdid=d", "x", 5), uint8(0))
	f.Add(publish("$iothub/methods/POST/m/?$rid=1", "null", 0), uint8(2))
	f.Add(publish("$iothub/twin/res/200/?$rid=1", `{"desired":{"$version":3,"a":{"b":null}},"reported":{"$version":1}}`, 0), uint8(3))
	f.Add(publish("$iothub/twin/res/204/?$rid=2&$version=7", "", 0), uint8(3))
	f.Add(publish("$iothub/twin/PATCH/properties/desired/?$version=4", `{"a":1,"$version":4}`, 9), uint8(4))
	f.Add(mqtt.AppendSuback(nil, 2, []byte{0x80}), uint8(5))
	f.Fuzz(func(t *testing.T, in []byte, mode uint8) {
		now := time.Now()
		id := iothub.Identity{DeviceID: "dev1"}
		if mode%2 == 0 {
			id.ModuleID = "mod1"
		}
		m := NewMQTT(MQTTConfig{Identity: id, ClientID: id.String(), Window: 10, WindowBytes: 1 << 20}, now)
		m.Subscribe(now, featureEnd-1)
		answers := 0
		m.Follow(now, TwinState{Known: mode&4 != 0, Version: 2})
		m.Request(now, []byte("{}"), time.Minute, false, func(Response) { answers++ })
		if err := m.Open(now, Auth{}); err != nil {
			t.Fatal(err)
		}
		m.Feed(now, mqtt.AppendConnack(nil, false, 0))
		for asked, f := range m.link.inbound.asked {
			m.Feed(now, mqtt.AppendSuback(nil, asked, make([]byte, len(m.filters(f)))))
		}
		m.Feed(now, in)
		events := m.events
		m.events = nil
		for _, e := range events {
			switch {
			case e.Kind == EventCall:
				e.Call()
			case e.Kind == EventInbound && e.In.Delivery.link != 0:
				m.Settle(e.In.Delivery, iothub.Disposition(mode%3))
			case e.Kind == EventInbound && e.In.Kind == InboundMethod:
				m.Respond(e.In.Call, 200, nil)
			}
		}
		if n := len(m.link.inbound.unsettled); n > maxUnsettled {
			t.Errorf("%d messages are kept", n)
		}
		m.Drop()
		m.failRequests(iothub.ErrClosed)
		for _, e := range m.events {
			if e.Kind == EventCall {
				e.Call()
			}
		}
		if answers != 1 {
			t.Errorf("a request was answered %d times", answers)
		}
	})
}
