package mqttfront

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

const (
	twinGet       = "$iothub/twin/GET/"
	twinPatch     = "$iothub/twin/PATCH/properties/reported/"
	twinResponses = "$iothub/twin/res/#"
	desiredFilter = "$iothub/twin/PATCH/properties/desired/#"
	emptyTwin     = `{"desired":{"$version":1},"reported":{"$version":1}}`
)

// wantPublish reads a PUBLISH and checks all of it but the packet id.
func (c *client) wantPublish(topic, payload string, qos byte) mqtt.PublishPacket {
	c.t.Helper()
	p := c.message()
	if string(p.Topic) != topic || string(p.Payload) != payload || p.QoS != qos || p.Dup {
		c.t.Fatalf("got %s %.200s (QoS %d, dup %v)\nwant %s %.200s (QoS %d)", p.Topic, p.Payload, p.QoS, p.Dup, topic, payload, qos)
	}
	return p
}

func (e *env) update(device, module, patch string) {
	e.t.Helper()
	if _, err := e.hub.UpdateTwin(context.Background(), device, module, []byte(patch), core.AnyETag); err != nil {
		e.t.Fatal(err)
	}
}

func TestTwinRequests(t *testing.T) {
	for _, id := range []string{"dev1", "dev1/mod1"} {
		for qos := range byte(2) {
			t.Run(fmt.Sprintf("%s QoS %d", id, qos), func(t *testing.T) {
				run(t, func(t *testing.T, e *env) {
					c := e.connect(id)
					defer c.nc.Close()
					c.subscribe(twinResponses, qos)
					// As the C and the Node SDK do: QoS 0 and a space.
					c.write(publish(twinGet+"?$rid=42", " ", 0, 0))
					c.wantPublish("$iothub/twin/res/200/?$rid=42", emptyTwin, qos)
					// As the Python SDK does: QoS 1, and it waits for PUBACK.
					c.write(publish(twinPatch+"?$rid=a-b-c", `{"level":54.0,"o":{"p":1}}`, 1, 7))
					if id := c.puback(); id != 7 {
						t.Errorf("PUBACK %d", id)
					}
					p := c.wantPublish("$iothub/twin/res/204/?$rid=a-b-c&$version=2", "", qos)
					if qos > 0 {
						c.ack(p)
					}
					c.write(publish(twinPatch+"?$rid=%41%20&x=y", `{"o":{"p":null}}`, 0, 0))
					c.wantPublish("$iothub/twin/res/204/?$rid=%41%20&$version=3", "", qos)
					device, module, _ := strings.Cut(id, "/")
					e.update(device, module, `{"tags":{"hidden":1},"properties":{"desired":{"freq":"5m"}}}`)
					c.write(publish(twinGet+"?x=y&$rid=1", "", 1, 8))
					c.puback()
					c.wantPublish("$iothub/twin/res/200/?$rid=1",
						`{"desired":{"freq":"5m","$version":2},"reported":{"level":54.0,"o":{},"$version":3}}`, qos)
				})
			})
		}
	}
}

// Without a subscription nothing comes, and the patch counts all the same.
func TestTwinWithoutSubscription(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		defer c.nc.Close()
		c.write(publish(twinPatch+"?$rid=1", `{"a":1}`, 1, 1))
		c.puback()
		c.write(publish(twinGet+"?$rid=2", ``, 0, 0))
		e.update("dev1", "", `{"properties":{"desired":{"a":1}}}`)
		c.nothing()
		c.subscribe(twinResponses, 0)
		c.write(publish(twinGet+"?$rid=3", ``, 0, 0))
		c.wantPublish("$iothub/twin/res/200/?$rid=3", `{"desired":{"a":1,"$version":2},"reported":{"a":1,"$version":2}}`, 0)
		c.unsubscribe(twinResponses)
		c.write(publish(twinGet+"?$rid=4", ``, 0, 0))
		c.ping()
	})
}

func TestTwinErrorAnswers(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		defer c.nc.Close()
		c.subscribe(twinResponses, 0)
		for i, tt := range []struct {
			payload string
			code    int
			message string
		}{
			{``, core.CodeIotHubFormatError, "the body is empty"},
			{`{`, core.CodeIotHubFormatError, "not JSON"},
			{`[1]`, core.CodeArgumentInvalid, "properties.reported: it has to be a JSON object"},
			{`{"a":{"b c":1}}`, core.CodeArgumentInvalid, "properties.reported.a: the name"},
			{`{"$version":1}`, core.CodeArgumentInvalid, "'$'"},
			{`{"a":"` + strings.Repeat("x", 4097) + `"}`, core.CodeArgumentInvalid, "the limit is 4096"},
		} {
			c.write(publish(fmt.Sprintf(twinPatch+"?$rid=%d", i), tt.payload, 1, uint16(i+1)))
			c.puback()
			p := c.message()
			if want := fmt.Sprintf("$iothub/twin/res/400/?$rid=%d", i); string(p.Topic) != want {
				t.Errorf("%.50s: %s, want %s", tt.payload, p.Topic, want)
			}
			var body struct {
				ErrorCode                int
				Message                  string
				TrackingID, TimestampUTC string
			}
			if err := json.Unmarshal(p.Payload, &body); err != nil {
				t.Fatalf("%v: %s", err, p.Payload)
			}
			if body.ErrorCode != tt.code || !strings.Contains(body.Message, tt.message) || body.TrackingID == "" || body.TimestampUTC == "" {
				t.Errorf("%.50s: %s", tt.payload, p.Payload)
			}
		}
		c.write(publish(twinGet+"?$rid=9", ``, 0, 0))
		c.wantPublish("$iothub/twin/res/200/?$rid=9", emptyTwin, 0)
	})
}

func TestTwinRequestsWithoutID(t *testing.T) {
	for _, topic := range []string{
		twinGet, twinGet + "?$rid=", twinGet + "?$rid", twinGet + "$rid=1", twinPatch + "?rid=1", twinPatch,
		twinGet + "?$rid=" + strings.Repeat("1", maxRequestID+1),
	} {
		run(t, func(t *testing.T, e *env) {
			c := e.connect("dev1")
			c.write(publish(topic, "{}", 1, 1))
			if err := c.closed(); err == nil || !strings.Contains(err.Error(), "request id") {
				t.Errorf("%.60s: %v", topic, err)
			}
		})
	}
}

// Answers and acknowledgements keep the order of the requests, also behind
// telemetry that takes its time, and a later request sees what an earlier one did.
func TestTwinOrder(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		defer c.nc.Close()
		c.subscribe(twinResponses, 1)
		open := e.gate.close()
		b := publish(telemetry1, "x", 1, 1)
		for i := range 50 {
			b = append(b, publish(fmt.Sprintf(twinPatch+"?$rid=p%d", i), fmt.Sprintf(`{"n":%d}`, i), 1, uint16(2*i+2))...)
			b = append(b, publish(fmt.Sprintf(twinGet+"?$rid=g%d", i), ``, 1, uint16(2*i+3))...)
		}
		b = append(b, publish(telemetry1, "y", 1, 200)...)
		go func() { _ = c.tryWrite(b) }()
		c.nothing()
		open()
		if c.puback() != 1 {
			t.Error("telemetry comes first")
		}
		ids := map[uint16]bool{}
		for i := range 50 {
			if id := c.puback(); int(id) != 2*i+2 {
				t.Fatalf("PUBACK %d", id)
			}
			p := c.wantPublish(fmt.Sprintf("$iothub/twin/res/204/?$rid=p%d&$version=%d", i, i+2), "", 1)
			ids[p.PacketID] = true
			if id := c.puback(); int(id) != 2*i+3 {
				t.Fatalf("PUBACK %d", id)
			}
			p = c.wantPublish(fmt.Sprintf("$iothub/twin/res/200/?$rid=g%d", i),
				fmt.Sprintf(`{"desired":{"$version":1},"reported":{"n":%d,"$version":%d}}`, i, i+2), 1)
			ids[p.PacketID] = true
		}
		if c.puback() != 200 {
			t.Error("telemetry comes last")
		}
		if len(ids) != 100 {
			t.Errorf("%d packet ids for 100 messages", len(ids))
		}
	})
}

func TestDesiredNotices(t *testing.T) {
	const topic = "$iothub/twin/PATCH/properties/desired/?$version="
	run(t, func(t *testing.T, e *env) {
		c, _ := e.persistent("dev1")
		m := e.connect("dev1/mod1")
		defer m.nc.Close()
		c.subscribe(desiredFilter, 1)
		m.subscribe(desiredFilter, 0)
		e.update("dev1", "", `{"properties":{"desired":{"a":{"b":null,"c":[1]},"$version":9}}}`)
		c.wantPublish(topic+"2", `{"a":{"b":null,"c":[1]},"$version":2}`, 1)
		e.update("dev1", "mod1", `{"properties":{"desired":{}}}`)
		m.wantPublish(topic+"2", `{"$version":2}`, 0)
		e.update("dev1", "", `{"tags":{"x":1}}`)
		if _, err := e.hub.ReplaceTwin(context.Background(), "dev1", "", []byte(`{"properties":{"desired":{"d":1}}}`), core.AnyETag); err != nil {
			t.Fatal(err)
		}
		c.wantPublish(topic+"3", `{"a":null,"d":1,"$version":3}`, 1)
		c.unsubscribe(desiredFilter)
		e.update("dev1", "", `{"properties":{"desired":{"e":1}}}`)
		c.ping()
		c.subscribe(desiredFilter, 0)
		for i := range 20 {
			e.update("dev1", "", fmt.Sprintf(`{"properties":{"desired":{"n":%d}}}`, i))
		}
		for i := range 20 {
			c.wantPublish(fmt.Sprint(topic, i+5), fmt.Sprintf(`{"n":%d,"$version":%d}`, i, i+5), 0)
		}
		// What happens meanwhile is not queued, unacknowledged ones do not come
		// again; the subscription is remembered.
		c.disconnect()
		e.update("dev1", "", `{"properties":{"desired":{"meanwhile":1}}}`)
		c, present := e.persistent("dev1")
		defer c.nc.Close()
		if !present {
			t.Error("no session")
		}
		c.nothing()
		e.update("dev1", "", `{"properties":{"desired":{"z":1}}}`)
		c.wantPublish(topic+"26", `{"z":1,"$version":26}`, 0)
		m.nothing()
	})
}

// A client that does not read its notices loses the connection, and the back end
// notices nothing of it.
func TestDesiredNoticesOfASlowReader(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(desiredFilter, 0)
		patch := fmt.Sprintf(`{"properties":{"desired":{"a":%q,"b":%[1]q,"c":%[1]q}}}`, strings.Repeat("x", 4000))
		start := time.Now()
		for range 200 {
			e.update("dev1", "", patch)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the back end waited %v", took)
		}
		if err := c.closed(); err == nil || !strings.Contains(err.Error(), "reads too slowly") {
			t.Errorf("closed because of %v", err)
		}
	})
}

// Small requests with large answers: a client that does not read its answers is
// not read either, and gets them all when it does.
func TestTwinAnswersAreBounded(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		text := strings.Repeat("x", 4000)
		e.update("dev1", "", fmt.Sprintf(`{"properties":{"desired":{"a":%q,"b":%[1]q,"c":%[1]q,"d":%[1]q,"e":%[1]q,"f":%[1]q}}}`, text))
		c := e.connect("dev1")
		defer c.nc.Close()
		c.subscribe(twinResponses, 0)
		const requests = 3000
		var b []byte
		for i := range requests {
			b = append(b, publish(fmt.Sprintf(twinGet+"?$rid=%d", i), "", 0, 0)...)
		}
		go func() { _ = c.tryWrite(b) }()
		synctest.Wait()
		for _, hub := range e.front.conns.All() {
			hub.mu.Lock()
			if n := len(hub.out.pending); n > maxOutbox+64<<10 {
				t.Errorf("%d bytes wait for the client", n)
			}
			hub.mu.Unlock()
		}
		for i := range requests {
			if p := c.message(); string(p.Topic) != fmt.Sprintf("$iothub/twin/res/200/?$rid=%d", i) || len(p.Payload) < 6*len(text) {
				t.Fatalf("answer %d: %s, %d bytes", i, p.Topic, len(p.Payload))
			}
		}
	})
}

// What was sent before DISCONNECT counts, and is answered.
func TestTwinPatchBeforeDisconnect(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.subscribe(twinResponses, 0)
		c.write(append(publish(twinPatch+"?$rid=1", `{"a":1}`, 1, 1), mqtt.AppendEmpty(nil, mqtt.TypeDisconnect)...))
		c.puback()
		c.wantPublish("$iothub/twin/res/204/?$rid=1&$version=2", "", 0)
		if _, err := c.next(); err != io.EOF {
			t.Error(err)
		}
		c.nc.Close()
		if err := <-c.done; err != nil {
			t.Error(err)
		}
	})
}

// The model of CONNECT stands in the twin.
func TestTwinModel(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		p := e.connectPacket("dev1")
		p.Username += "&model-id=dtmi%3Acom%3Aexample%3BThermostat%3B1"
		e.connectWith(p).disconnect()
		synctest.Wait()
		twin, err := e.hub.GetTwin("dev1", "")
		if err != nil || twin.ModelID != "dtmi:com:example;Thermostat;1" || twin.ConnectionState != core.Disconnected {
			t.Errorf("%+v, %v", twin, err)
		}
	})
}
