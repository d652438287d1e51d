package mqttfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

func TestTelemetry(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		b := publish(telemetry1+"a=1&%24.mid=m%2F1", "one", 1, 1)
		b = append(b, publish("devices/dev1/messages/events", "two", 0, 0)...)
		b = append(b, publish(telemetry1+"?b=x%20y/", "three", 1, 65535)...)
		b[len(b)-len("three")-2-len(telemetry1+"?b=x%20y/")-4] |= 1 // retain
		c.write(b)
		if a, b := c.puback(), c.puback(); a != 1 || b != 65535 {
			t.Errorf("PUBACK %d, %d", a, b)
		}
		m := e.connect("dev1/mod1")
		m.write(publish("devices/dev1/modules/mod1/messages/events/%24.on=out", "four", 1, 9))
		m.puback()
		got := e.events()
		if len(got) != 4 {
			t.Fatalf("stored: %+v", got)
		}
		for i, body := range []string{"one", "two", "three", "four"} {
			if string(got[i].Body) != body || got[i].DeviceID != "dev1" {
				t.Errorf("%d: %+v", i, got[i])
			}
		}
		if got[0].Properties["a"] != "1" || got[0].System["message-id"] != "m/1" {
			t.Errorf("properties: %+v", got[0])
		}
		if got[2].Properties["b"] != "x y" || got[2].Properties["mqtt-retain"] != "true" {
			t.Errorf("properties: %+v", got[2])
		}
		if got[3].ModuleID != "mod1" || got[3].System["iothub-outputname"] != "out" {
			t.Errorf("module: %+v", got[3])
		}
	})
}

// The packets may arrive in any pieces and be of any size up to the limit.
func TestPiecesAndSizes(t *testing.T) {
	for _, piece := range []int{1, 7, 1023, 1024, 1025, 16 << 10, 1 << 20} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				sizes := []int{0, 1, 900, 1000, 1024, 5000, 64<<10 - 40, 64 << 10, 100_000, 3, core.MaxEventBytes, 17}
				if piece == 1 {
					sizes = sizes[:6]
				}
				c := e.connect("dev1")
				var b []byte
				for i, n := range sizes {
					b = append(b, publish(telemetry1, strings.Repeat(string(rune('a'+i)), n), 1, uint16(i+1))...)
				}
				go func() {
					for len(b) > 0 {
						n := min(piece, len(b))
						if c.tryWrite(b[:n]) != nil {
							return
						}
						b = b[n:]
					}
				}()
				for i := range sizes {
					if id := c.puback(); int(id) != i+1 {
						t.Fatalf("PUBACK %d, want %d", id, i+1)
					}
				}
				for i, ev := range e.events() {
					if want := strings.Repeat(string(rune('a'+i)), sizes[i]); string(ev.Body) != want {
						t.Errorf("event %d has %d bytes, want %d", i, len(ev.Body), len(want))
					}
				}
			})
		})
	}
}

func TestWhatClosesTheConnection(t *testing.T) {
	pub := func(topic, payload string, qos byte) func(*env) []byte {
		return func(*env) []byte { return publish(topic, payload, qos, uint16(min(qos, 1))) }
	}
	sub := func(filters ...string) func(*env) []byte {
		var subs []mqtt.Subscription
		for _, f := range filters {
			subs = append(subs, mqtt.Subscription{Filter: f})
		}
		return func(*env) []byte {
			b, err := mqtt.AppendSubscribe(nil, 1, subs)
			if err != nil {
				panic(err)
			}
			return b
		}
	}
	raw := func(b ...byte) func(*env) []byte { return func(*env) []byte { return b } }
	for _, tt := range []struct {
		name   string
		bytes  func(*env) []byte
		reason string
	}{
		{"QoS 2", pub(telemetry1, "x", 2), "QoS 2"},
		{"another device", pub("devices/dev2/messages/events/", "x", 1), "not a topic of dev1"},
		{"longer device id", pub("devices/dev1x/messages/events/", "x", 1), "not a topic of dev1"},
		{"its module", pub("devices/dev1/modules/mod1/messages/events/", "x", 1), "not a topic of dev1"},
		{"any topic", pub("a/b", "x", 0), "not a topic of dev1"},
		{"too large", pub(telemetry1, strings.Repeat("x", core.MaxEventBytes+1), 1), "413001"},
		{"too large with a bag", pub(telemetry1+"a=1", strings.Repeat("x", core.MaxEventBytes-1), 0), "413001"},
		{"packet far too large", raw(0x30, 0xff, 0xff, 0x7f), mqtt.ErrTooLarge.Error()},
		{"subscription to everything", sub("#"), "subscription to"},
		{"of another device", sub("devices/dev2/messages/devicebound/#"), "subscription to"},
		{"one of several", sub("$iothub/methods/POST/#", "$iothub/#"), "subscription to"},
		{"inputs of a device", sub("devices/dev1/#"), "subscription to"},
		{"wildcard topic", raw(0x30, 4, 0, 2, 'a', '#'), "wildcard"},
		{"QoS 3", raw(0x36, 3, 0, 1, 'a'), "QoS 3"},
		{"packet id 0", raw(0x32, 5, 0, 1, 'a', 0, 0), "identifier is zero"},
		{"reserved type", raw(0xf0, 0), "reserved"},
		{"PINGREQ with flags", raw(0xc1, 0), "reserved header flags"},
		{"PUBREL", raw(0x62, 2, 0, 1), "QoS 2"},
		{"CONNACK", raw(0x20, 2, 0, 0), "CONNACK from a client"},
		{"second CONNECT", func(e *env) []byte { return connectBytes(e.t, e.connectPacket("dev1")) }, "second CONNECT"},
		{"no filters", raw(0x82, 2, 0, 1), "filter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				c := e.connect("dev1")
				// What was sent before counts.
				_ = c.tryWrite(append(publish(telemetry1, "good", 0, 0), tt.bytes(e)...))
				err := c.closed()
				if err == nil || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("closed because of %v, want %q", err, tt.reason)
				}
				synctest.Wait()
				if got := e.events(); len(got) != 1 || string(got[0].Body) != "good" {
					t.Errorf("stored %d events", len(got))
				}
				if log := e.log.String(); !strings.Contains(log, "client=dev1") || !strings.Contains(log, "level=WARN") {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

func TestSubscribe(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		b, _ := mqtt.AppendSubscribe(nil, 5, []mqtt.Subscription{
			{Filter: "devices/dev1/messages/devicebound/#", QoS: 1},
			{Filter: "$iothub/methods/POST/#", QoS: 0},
			{Filter: "$iothub/twin/res/#", QoS: 2},
			{Filter: "$iothub/twin/PATCH/properties/desired/#", QoS: 1},
		})
		c.write(b)
		id, codes, err := mqtt.DecodeSuback(c.mustNext(mqtt.TypeSuback))
		if err != nil || id != 5 || !bytes.Equal(codes, []byte{1, 0, 1, 1}) {
			t.Errorf("SUBACK %d %v %v", id, codes, err)
		}
		b, _ = mqtt.AppendUnsubscribe(nil, 6, []string{"$iothub/twin/res/#", "never/subscribed"})
		c.write(b)
		if id, err := mqtt.DecodeAck(c.mustNext(mqtt.TypeUnsuback)); err != nil || id != 6 {
			t.Errorf("UNSUBACK %d %v", id, err)
		}
		m := e.connect("dev1/mod1")
		b, _ = mqtt.AppendSubscribe(nil, 7, []mqtt.Subscription{
			{Filter: "devices/dev1/modules/mod1/#", QoS: 1}, {Filter: "devices/dev1/modules/mod1/inputs/#", QoS: 1},
			{Filter: "devices/dev1/modules/mod1/messages/devicebound/#"},
		})
		m.write(b)
		m.mustNext(mqtt.TypeSuback)
	})
}

func TestSessionPresent(t *testing.T) {
	runWith(t, Config{MaxSessions: 2}, core.Config{}, func(t *testing.T, e *env) {
		connect := func(id string, clean, want bool) {
			t.Helper()
			p := e.connectPacket(id)
			p.CleanSession = clean
			c := e.dial()
			c.write(connectBytes(t, p))
			if present, code := c.connack(); code != 0 || present != want {
				t.Errorf("%s clean %v: session present %v, code %d", id, clean, present, code)
			}
			c.write(mqtt.AppendEmpty(nil, mqtt.TypeDisconnect))
			if err := c.closed(); err != nil {
				t.Error(err)
			}
		}
		connect("dev1", false, false)
		connect("dev1", false, true)
		connect("dev1", true, false)
		connect("dev1", false, false)
		connect("dev2", false, false)
		connect("dev1/mod1", false, false) // one of the others is forgotten
		if n := len(e.front.sessions.byID); n != 2 {
			t.Errorf("%d sessions are remembered", n)
		}
		// A device created anew has no session.
		connect("dev2", false, e.front.sessions.byID[e.sessionKey("dev2")] != nil)
		if err := e.hub.DeleteDevice(t.Context(), "dev2", core.AnyETag); err != nil {
			t.Fatal(err)
		}
		e.addDevice("dev2")
		connect("dev2", false, false)
	})
}

func (e *env) sessionKey(id string) sessionKey {
	d, err := e.hub.GetDevice(id)
	if err != nil {
		e.t.Fatal(err)
	}
	return sessionKey{id, d.GenerationID}
}

func TestWill(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*env, *client)
		want bool
	}{
		{"DISCONNECT", func(_ *env, c *client) { c.write(mqtt.AppendEmpty(nil, mqtt.TypeDisconnect)) }, false},
		{"lost connection", func(_ *env, c *client) { _ = c.nc.Close() }, true},
		{"silence", func(_ *env, c *client) { _ = c.closed() }, true},
		{"violation", func(_ *env, c *client) { c.write(publish("a", "", 0, 0)) }, true},
		{"shutdown of the hub", func(e *env, c *client) { _ = e.front.Shutdown(context.Background()) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				p := e.connectPacket("dev1")
				p.Will = &mqtt.Will{Topic: telemetry1 + "?why=will", Payload: []byte("bye"), Retain: true}
				c := e.connectWith(p)
				tt.end(e, c)
				advance(time.Hour)
				got := e.events()
				if !tt.want {
					if len(got) != 0 {
						t.Errorf("stored: %+v", got)
					}
					return
				}
				if len(got) != 1 || string(got[0].Body) != "bye" || got[0].Properties["why"] != "will" ||
					got[0].Properties["iothub-MessageType"] != "Will" || got[0].Properties["mqtt-retain"] != "true" {
					t.Errorf("stored: %+v", got)
				}
			})
		})
	}
}

// FuzzConn sends arbitrary bytes behind a good CONNECT, or instead of one. The
// connection must end, and take the hub with it in no way.
func FuzzConn(f *testing.F) {
	f.Add(true, publish(telemetry1, "x", 1, 1))
	f.Add(true, mqtt.AppendEmpty(nil, mqtt.TypePingreq))
	f.Add(true, []byte{0x82, 2, 0, 1})
	f.Add(true, []byte{0x30, 0xff, 0xff, 0x0f, 0, 1, 'a'})
	f.Add(false, []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, connected bool, data []byte) {
		runWith(t, Config{}, core.Config{}, func(t *testing.T, e *env) {
			c, other := e.dial(), e.connect("dev2")
			if connected {
				c.write(connectBytes(t, e.connectPacket("dev1")))
				c.connack()
			}
			go func() {
				for len(data) > 0 {
					n := min(1+int(data[0]), len(data))
					if c.tryWrite(data[:n]) != nil {
						return
					}
					data = data[n:]
				}
				_ = c.nc.Close()
			}()
			for {
				if _, err := c.next(); err != nil {
					break
				}
			}
			_ = c.nc.Close()
			if err := <-c.done; errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			other.ping()
		})
	})
}
