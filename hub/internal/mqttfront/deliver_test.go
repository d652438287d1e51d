package mqttfront

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

const (
	devicebound1 = "devices/dev1/messages/devicebound/#"
	inputs1      = "devices/dev1/modules/mod1/inputs/#"
	methodsTopic = "$iothub/methods/POST/#"
)

// subscribe subscribes and waits for SUBACK. What was published before it is lost.
func (c *client) subscribe(filter string, qos byte) {
	c.t.Helper()
	b, err := mqtt.AppendSubscribe(nil, 1, []mqtt.Subscription{{Filter: filter, QoS: qos}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(b)
	if _, codes, err := mqtt.DecodeSuback(c.mustNext(mqtt.TypeSuback)); err != nil || len(codes) != 1 || codes[0] != min(qos, 1) {
		c.t.Fatalf("SUBACK %v, %v", codes, err)
	}
}

func (c *client) unsubscribe(filter string) {
	c.t.Helper()
	b, err := mqtt.AppendUnsubscribe(nil, 2, []string{filter})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(b)
	c.mustNext(mqtt.TypeUnsuback)
}

// message reads a PUBLISH of the hub.
func (c *client) message() mqtt.PublishPacket {
	c.t.Helper()
	p, err := mqtt.DecodePublish(slices.Clone(c.mustNext(mqtt.TypePublish)))
	if err != nil {
		c.t.Fatal(err)
	}
	if p.Retain {
		c.t.Error("a message has the retain flag (B.4)")
	}
	return p
}

// wantMessage reads a message with that payload.
func (c *client) wantMessage(payload string) mqtt.PublishPacket {
	c.t.Helper()
	p := c.message()
	if string(p.Payload) != payload {
		c.t.Fatalf("got %q, want %q", p.Payload, payload)
	}
	return p
}

func (c *client) ack(p mqtt.PublishPacket) {
	c.t.Helper()
	c.write(mqtt.AppendAck(nil, mqtt.TypePuback, p.PacketID))
}

// disconnect ends the connection as a client should.
func (c *client) disconnect() {
	c.t.Helper()
	c.write(mqtt.AppendEmpty(nil, mqtt.TypeDisconnect))
	_ = c.nc.Close()
	<-c.done
}

// persistent connects without clean session.
func (e *env) persistent(id string) (c *client, present bool) {
	e.t.Helper()
	p := e.connectPacket(id)
	p.CleanSession = false
	c = e.dial()
	c.write(connectBytes(e.t, p))
	present, code := c.connack()
	if code != 0 {
		e.t.Fatalf("CONNACK %d", code)
	}
	return c, present
}

func (e *env) send(device string, payloads ...string) {
	e.t.Helper()
	for _, payload := range payloads {
		e.sendMessage(device, core.Message{MessageID: payload, Payload: []byte(payload)})
	}
}

func (e *env) sendMessage(device string, m core.Message) {
	e.t.Helper()
	if err := e.hub.SendC2D(e.t.Context(), device, m); err != nil {
		e.t.Fatal(err)
	}
}

// queued is how many messages wait for a device.
func (e *env) queued(device string) int {
	e.t.Helper()
	synctest.Wait()
	d, err := e.hub.GetDevice(device)
	if err != nil {
		e.t.Fatal(err)
	}
	return d.CloudToDeviceMessageCount
}

func (e *env) wantQueued(n int) {
	e.t.Helper()
	if got := e.queued("dev1"); got != n {
		e.t.Errorf("%d messages are in the queue of dev1, want %d", got, n)
	}
}

// TestC2DTopic has the bytes that the SDKs parse (B.1, B.2).
func TestC2DTopic(t *testing.T) {
	const to = "%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound"
	for _, tt := range []struct {
		name string
		msg  core.Message
		want string
	}{
		{"nothing", core.Message{}, to},
		{"message id", core.Message{MessageID: "0c1f0c6e-2b1b"}, "%24.mid=0c1f0c6e-2b1b&" + to},
		{"all", core.Message{MessageID: "m", CorrelationID: "c", UserID: "u", ContentType: "application/json", ContentEncoding: "utf-8", Ack: "full",
			Expiry:     time.Date(2000, 1, 1, 3, 4, 5, 678e6, time.UTC),
			Properties: []core.Property{{Name: "colour", Value: "dark red"}}},
			"%24.mid=m&%24.cid=c&%24.uid=u&" + to + "&%24.exp=2000-01-01T03%3A04%3A05.678Z&" +
				"%24.ct=application%2Fjson&%24.ce=utf-8&iothub-ack=full&colour=dark%20red"},
		{"escapes", core.Message{Properties: []core.Property{{Name: "a/b", Value: "+&=#?"}, {Name: "ü", Value: "100%"}}},
			to + "&a%2Fb=%2B%26%3D%23%3F&%C3%BC=100%25"},
		{"empty and null", core.Message{Properties: []core.Property{{Name: "empty"}, {Name: "null", NoValue: true}}}, to + "&empty=&null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				c := e.connect("dev1")
				c.subscribe(devicebound1, 1)
				e.sendMessage("dev1", tt.msg)
				p := c.message()
				if got := string(p.Topic); got != "devices/dev1/messages/devicebound/"+tt.want {
					t.Errorf("topic\n%s, want\n%s", got, tt.want)
				}
				if p.QoS != 1 || p.Dup {
					t.Errorf("QoS %d, dup %v", p.QoS, p.Dup)
				}
			})
		})
	}
}

func TestC2DIsCompletedByPuback(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		e.send("dev1", "before")
		c.nothing() // not subscribed yet
		c.subscribe(devicebound1, 1)
		before := c.wantMessage("before")
		e.sendMessage("dev1", core.Message{MessageID: "m", Payload: []byte("after"), Ack: core.AckFull})
		after := c.wantMessage("after")
		if before.PacketID == after.PacketID {
			t.Error("two messages in flight share a packet id")
		}
		e.wantQueued(2)
		c.ack(after) // in any order
		e.wantQueued(1)
		if b := e.hub.TryFeedback(1); b == nil || b.Records[0].OriginalMessageID != "m" || b.Records[0].StatusCode != "Success" {
			t.Errorf("feedback %+v", b)
		}
		c.ack(after) // of nothing
		e.wantQueued(1)
		c.ack(before)
		e.wantQueued(0)
		c.nothing()
	})
}

// TestC2DQoS0 completes a message by sending it (B.5).
func TestC2DQoS0(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		e.send("dev1", "a", "b")
		c.subscribe(devicebound1, 0)
		for _, want := range []string{"a", "b"} {
			if p := c.wantMessage(want); p.QoS != 0 || p.PacketID != 0 {
				t.Errorf("QoS %d, id %d", p.QoS, p.PacketID)
			}
		}
		e.wantQueued(0)
	})
}

func TestC2DSubscriptions(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(devicebound1, 2) // granted 1
		e.send("dev1", "a")
		a := c.wantMessage("a")
		c.unsubscribe(devicebound1)
		e.send("dev1", "b")
		c.nothing()
		c.ack(a) // what is in flight is still completed [MQTT-3.10.4-3]
		e.wantQueued(1)
		c.subscribe(devicebound1, 0)
		if p := c.wantMessage("b"); p.QoS != 0 {
			t.Errorf("QoS %d after a new subscription with 0", p.QoS)
		}
		e.wantQueued(0)
	})
}

// TestC2DSessions has what a later connection of the device gets, and how, when
// the earlier one has left a message unacknowledged.
func TestC2DSessions(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second bool // clean session
		present       bool
		pushed        bool // before a SUBSCRIBE
		dup           bool
	}{
		{"remembered", false, false, true, true, true},
		{"never kept", true, false, false, false, false},
		{"discarded", false, true, false, false, false},
		{"both clean", true, true, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				connect := func(clean bool) (*client, bool) {
					if clean {
						return e.connect("dev1"), false
					}
					return e.persistent("dev1")
				}
				c, _ := connect(tt.first)
				c.subscribe(devicebound1, 1)
				e.send("dev1", "a", "b", "c")
				a, b := c.wantMessage("a"), c.wantMessage("b")
				c.wantMessage("c")
				c.ack(b)
				e.wantQueued(2)
				c.disconnect()
				e.send("dev1", "d")

				c, present := connect(tt.second)
				if present != tt.present {
					t.Errorf("session present is %v", present)
				}
				if !tt.pushed {
					c.nothing()
					c.subscribe(devicebound1, 1)
				}
				again := c.wantMessage("a")
				if again.Dup != tt.dup || tt.dup && again.PacketID != a.PacketID {
					t.Errorf("dup %v with id %d, want %v and %d", again.Dup, again.PacketID, tt.dup, a.PacketID)
				}
				if p := c.wantMessage("c"); p.Dup != tt.dup {
					t.Errorf("c: dup %v", p.Dup)
				}
				d := c.wantMessage("d")
				if d.Dup || d.PacketID == again.PacketID {
					t.Errorf("a new message has dup %v and id %d", d.Dup, d.PacketID)
				}
				c.ack(d)
				c.ack(again)
				e.wantQueued(1)
			})
		})
	}
}

// TestC2DRememberedSubscriptionWithoutMessages is about what is sent after CONNACK.
func TestC2DRememberedSubscription(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c, _ := e.persistent("dev1")
		c.subscribe(devicebound1, 1)
		c.disconnect()
		c, _ = e.persistent("dev1")
		c.nothing()
		e.send("dev1", "a")
		if p := c.wantMessage("a"); p.Dup {
			t.Error("a message that was never sent has DUP")
		}
	})
}

// TestC2DTakenOver hands what is in flight to the newer connection.
func TestC2DTakenOver(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		older, _ := e.persistent("dev1")
		older.subscribe(devicebound1, 1)
		e.send("dev1", "a")
		first := older.wantMessage("a")
		newer, _ := e.persistent("dev1")
		again := newer.wantMessage("a")
		if !again.Dup || again.PacketID != first.PacketID {
			t.Errorf("dup %v, id %d, want the id %d", again.Dup, again.PacketID, first.PacketID)
		}
		newer.ack(again)
		e.wantQueued(0)
		_ = older.closed()
	})
}

// TestC2DLockLapses is about a device that takes longer than the lock lasts: the
// message is not repeated on the connection (B.5), and its late acknowledgement
// counts while nobody else has it.
func TestC2DLockLapses(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		p := e.connectPacket("dev1")
		p.KeepAlive = 0
		c := e.connectWith(p)
		c.subscribe(devicebound1, 1)
		e.send("dev1", "a", "b")
		a, b := c.wantMessage("a"), c.wantMessage("b")
		advance(2 * time.Minute)
		c.nothing()
		c.ack(a)
		e.wantQueued(1)
		if m, ok, err := e.hub.LockC2D("dev1"); !ok || err != nil || string(m.Payload) != "b" {
			t.Errorf("another receiver got %q, %v", m.Payload, err)
		}
		c.ack(b) // lost
		e.wantQueued(1)
	})
}

// TestC2DWindow has at most maxInflight messages wait for their PUBACK.
func TestC2DWindow(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(devicebound1, 1)
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprint(i))
		}
		e.send("dev1", want...)
		var flight []mqtt.PublishPacket
		for _, w := range want[:maxInflight] {
			flight = append(flight, c.wantMessage(w))
		}
		c.nothing()
		for _, w := range want[maxInflight:] {
			c.ack(flight[len(flight)/2])
			flight = slices.Delete(flight, len(flight)/2, len(flight)/2+1)
			p := c.wantMessage(w)
			if slices.ContainsFunc(flight, func(x mqtt.PublishPacket) bool { return x.PacketID == p.PacketID }) {
				t.Fatalf("the packet id %d is in flight already", p.PacketID)
			}
			flight = append(flight, p)
		}
		c.nothing()
		e.wantQueued(maxInflight)
	})
}

// TestC2DSlowClient leaves the messages of a client that does not read in its
// queue, and serves others meanwhile.
func TestC2DSlowClient(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		slow, quick := e.connect("dev1"), e.connect("dev2")
		slow.subscribe(devicebound1, 1)
		quick.subscribe("devices/dev2/messages/devicebound/#", 1)
		large := strings.Repeat("x", 60<<10)
		for range 50 {
			e.sendMessage("dev1", core.Message{Payload: []byte(large)})
			e.sendMessage("dev2", core.Message{Payload: []byte("y")})
		}
		for range 50 {
			quick.ack(quick.wantMessage("y"))
		}
		synctest.Wait()
		for _, c := range e.front.conns.All() {
			c.mu.Lock()
			if n := len(c.out.pending); n > 3*maxOutbox {
				t.Errorf("%s: %d bytes wait to be written", c.id, n)
			}
			c.mu.Unlock()
		}
		for range 50 {
			slow.ack(slow.wantMessage(large))
		}
		e.wantQueued(0)
	})
}

// TestC2DUndeliverable gets a message out of the way that has no room in a topic.
func TestC2DUndeliverable(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(devicebound1, 1)
		e.sendMessage("dev1", core.Message{MessageID: "m", Ack: core.AckNegative,
			Properties: []core.Property{{Name: "a", Value: strings.Repeat("&", 30<<10)}}})
		e.send("dev1", "next")
		c.wantMessage("next")
		if b := e.hub.TryFeedback(1); b == nil || b.Records[0].StatusCode != "Rejected" {
			t.Errorf("feedback %+v", b)
		}
	})
}

// TestC2DOfModules is not supported: the subscription is harmless (B.7).
func TestC2DOfModules(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1/mod1")
		c.subscribe("devices/dev1/modules/mod1/messages/devicebound/#", 1)
		e.send("dev1", "for the device")
		c.nothing()
		e.wantQueued(1)
	})
}

// TestPacketIDsOfNotices keeps the ids of what is not kept apart from those of
// messages, so that no acknowledgement completes a wrong one.
func TestPacketIDsOfNotices(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(devicebound1, 1)
		e.send("dev1", "a")
		a := c.wantMessage("a")
		var hub *conn
		for _, hub = range e.front.conns.All() {
		}
		seen := map[uint16]bool{a.PacketID: true}
		for range 3 {
			hub.publish([]byte("notice"), nil, 1)
			p := c.message()
			if seen[p.PacketID] || p.PacketID <= lastTracked || p.QoS != 1 {
				t.Errorf("a notice has QoS %d and the id %d", p.QoS, p.PacketID)
			}
			seen[p.PacketID] = true
			c.ack(p)
		}
		hub.publish([]byte("notice"), []byte("x"), 0)
		if p := c.wantMessage("x"); p.QoS != 0 {
			t.Errorf("QoS %d", p.QoS)
		}
		hub.mu.Lock()
		hub.deliver.lastNote, hub.deliver.lastID = 0xFFFF-lastTracked, lastTracked
		hub.mu.Unlock()
		hub.publish([]byte("notice"), nil, 2)
		if p := c.message(); p.PacketID != lastTracked+1 || p.QoS != 1 {
			t.Errorf("after the last id comes %d, QoS %d", p.PacketID, p.QoS)
		}
		e.wantQueued(1)
		e.send("dev1", "b")
		if b := c.wantMessage("b"); b.PacketID == a.PacketID || b.PacketID != 2 {
			t.Errorf("after the last id comes %d, want 2: 1 is in flight", b.PacketID)
		}
	})
}

// TestPublishToAClientThatDoesNotRead ends a connection instead of gathering
// without bound.
func TestPublishToAClientThatDoesNotRead(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.ping()
		var hub *conn
		for _, hub = range e.front.conns.All() {
		}
		for range 40 {
			hub.publish([]byte("notice"), make([]byte, 64<<10), 0)
		}
		if err := c.closed(); err == nil || !strings.Contains(err.Error(), "reads too slowly") {
			t.Errorf("closed because of %v", err)
		}
	})
}

// inputEnv runs a test with a route from mod1 to the inputs of mod2 and back.
func inputEnv(t *testing.T, f func(t *testing.T, e *env)) {
	var cfg core.Config
	for _, text := range []string{
		`FROM /messages/modules/mod1/outputs/out INTO BrokeredEndpoint("/modules/mod2/inputs/in1")`,
		`FROM /messages/modules/mod2/* INTO BrokeredEndpoint("/modules/mod1/inputs/in2")`,
	} {
		r, err := core.ParseRoute("dev1", text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Routes = append(cfg.Routes, r)
	}
	runWith(t, Config{}, cfg, func(t *testing.T, e *env) {
		m, err := e.hub.CreateModule(t.Context(), core.Module{DeviceID: "dev1", ModuleID: "mod2"})
		if err != nil {
			t.Fatal(err)
		}
		e.addKey("dev1/mod2", m.Authentication)
		f(t, e)
	})
}

const output1 = "devices/dev1/modules/mod1/messages/events/"

func TestInputs(t *testing.T) {
	for _, filter := range []string{"devices/dev1/modules/mod2/inputs/#", "devices/dev1/modules/mod2/#"} {
		t.Run(filter, func(t *testing.T) {
			inputEnv(t, func(t *testing.T, e *env) {
				from, to := e.connect("dev1/mod1"), e.connect("dev1/mod2")
				from.write(publish(output1+"$.mid=m%201&%24.on=out&temp=21&null/", "before", 1, 7))
				if id := from.puback(); id != 7 {
					t.Errorf("PUBACK of %d", id)
				}
				to.nothing()
				to.subscribe(filter, 1)
				p := to.wantMessage("before")
				const want = "devices/dev1/modules/mod2/inputs/in1/%24.cdid=dev1&%24.cmid=mod1&%24.mid=m%201&%24.on=out&temp=21&null"
				if string(p.Topic) != want || p.QoS != 1 {
					t.Errorf("QoS %d, topic\n%s, want\n%s", p.QoS, p.Topic, want)
				}
				to.ack(p)
				from.write(publish(output1+"%24.on=out", "after", 0, 0))
				to.ack(to.wantMessage("after"))
				// Another output goes upstream.
				from.write(publish(output1+"%24.on=other", "event", 1, 8))
				from.puback()
				if all := e.events(); len(all) != 1 || string(all[0].Body) != "event" || all[0].System["iothub-outputname"] != "other" {
					t.Errorf("events: %+v", all)
				}
				to.nothing()
			})
		})
	}
}

func TestInputsAreRedelivered(t *testing.T) {
	inputEnv(t, func(t *testing.T, e *env) {
		from := e.connect("dev1/mod2")
		from.write(publish("devices/dev1/modules/mod2/messages/events/", "x", 1, 1))
		from.puback()
		to, _ := e.persistent("dev1/mod1")
		to.subscribe(inputs1, 1)
		p := to.wantMessage("x")
		to.disconnect()
		to, _ = e.persistent("dev1/mod1")
		again := to.wantMessage("x")
		if !again.Dup || again.PacketID != p.PacketID {
			t.Errorf("dup %v, id %d, want %d", again.Dup, again.PacketID, p.PacketID)
		}
		to.ack(again)
		to.disconnect()
		to, _ = e.persistent("dev1/mod1")
		to.nothing()
	})
}

// TestInputsInOrder sends more than a window at once.
func TestInputsInOrder(t *testing.T) {
	inputEnv(t, func(t *testing.T, e *env) {
		from, to := e.connect("dev1/mod1"), e.connect("dev1/mod2")
		to.subscribe("devices/dev1/modules/mod2/inputs/#", 1)
		var batch []byte
		for i := range 500 {
			batch = append(batch, publish(output1+"$.on=out", fmt.Sprint(i), 1, uint16(i+1))...)
		}
		go from.write(batch)
		for i := range 500 {
			to.ack(to.wantMessage(fmt.Sprint(i)))
		}
		for i := range 500 {
			if id := from.puback(); id != uint16(i+1) {
				t.Fatalf("PUBACK of %d, want %d", id, i+1)
			}
		}
	})
}
