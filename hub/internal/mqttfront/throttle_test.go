package mqttfront

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// use takes n operations from the throttle.
func (e *env) use(op core.Operation, n, bytes int) {
	e.t.Helper()
	for i := range n {
		if _, err := e.hub.Reserve(op, bytes); err != nil {
			e.t.Fatal(i, err)
		}
	}
}

// Above the rate acknowledgements come late, each when its turn has come, and in
// order.
func TestTelemetryIsShaped(t *testing.T) {
	runWith(t, Config{}, core.Config{Tier: "S1"}, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		defer c.nc.Close()
		e.use(core.OpSend, 6000-2, 0) // all but two of the minute's worth
		start := time.Now()
		var packets []byte
		for id := uint16(1); id <= 6; id++ {
			packets = append(packets, publish(telemetry1, "x", 1, id)...)
		}
		c.write(packets)
		for id := uint16(1); id <= 6; id++ {
			if got := c.puback(); got != id {
				t.Errorf("acknowledged %d, want %d", got, id)
			}
			if got, want := time.Since(start), time.Duration(max(0, int(id)-2))*10*time.Millisecond; got != want {
				t.Errorf("%d acknowledged after %v, want %v", id, got, want)
			}
		}
		if got := len(e.events()); got != 6 {
			t.Errorf("%d events", got)
		}
		if u := e.hub.Usage().Operations[core.OpSend]; u.Accepted != 6004 || u.Delayed != 4 || u.Rejected != 0 {
			t.Errorf("%+v", u)
		}
	})
}

func TestTelemetryBeyondTheBacklog(t *testing.T) {
	runWith(t, Config{}, core.Config{Tier: "S1"}, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.write(publish(telemetry1, "good", 1, 1))
		c.puback()
		e.use(core.OpSend, 6000+1000-1, 0)
		c.write(publish(telemetry1, "too much", 1, 2))
		if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeThrottleBacklog}) {
			t.Error(err)
		}
		if got := e.events(); len(got) != 1 {
			t.Errorf("%d events", len(got))
		}
		advance(71 * time.Second)
		c = e.connect("dev1")
		defer c.nc.Close()
		c.write(publish(telemetry1, "again", 1, 2))
		c.puback()
	})
}

// Who waits for a turn and loses the connection, or the hub, does not wait on.
func TestTelemetryThatWaitsAtTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		end    func(e *env, c *client)
		stored int
	}{
		{"kicked", func(e *env, _ *client) { e.hub.Disconnect("dev1", "") }, 0},
		{"drained", func(e *env, c *client) { c.puback() }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runWith(t, Config{}, core.Config{Tier: "S1"}, func(t *testing.T, e *env) {
				c := e.connect("dev1")
				e.use(core.OpSend, 6500, 0)
				start := time.Now()
				c.write(publish(telemetry1, "x", 1, 1))
				c.nothing()
				if tt.stored > 0 {
					done := make(chan struct{})
					go func() { e.close(); close(done) }()
					tt.end(e, c)
					<-c.done
					<-done
				} else {
					tt.end(e, c)
					if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeFaultInjection}) {
						t.Error(err)
					}
					if got := len(e.events()); got != 0 {
						t.Errorf("%d events", got)
					}
				}
				if got := time.Since(start); got > 2*time.Second {
					t.Errorf("it took %v", got)
				}
			})
		})
	}
}

func TestConnectsAreThrottled(t *testing.T) {
	runWith(t, Config{}, core.Config{Tier: "S1"}, func(t *testing.T, e *env) {
		e.use(core.OpConnect, 6000, 0)
		start := time.Now()
		e.connect("dev1").nc.Close()
		if got := time.Since(start); got != 10*time.Millisecond {
			t.Errorf("it took %v", got)
		}
		// Who cannot prove who it is costs nothing.
		for range 10 {
			c := e.dial()
			p := e.connectPacket("dev1")
			p.Password = e.password("dev2", time.Hour)
			c.write(connectBytes(t, p))
			if _, code := c.connack(); code != mqtt.ConnackNotAuthorized {
				t.Errorf("code %d", code)
			}
			_ = c.closed()
		}
		e.use(core.OpConnect, 1000, 0)
		c := e.dial()
		c.write(connectBytes(t, e.connectPacket("dev1")))
		if present, code := c.connack(); present || code != mqtt.ConnackUnavailable {
			t.Errorf("session present %v, code %d", present, code)
		}
		if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeThrottling}) {
			t.Error(err)
		}
	})
}

func TestTelemetryBeyondTheQuota(t *testing.T) {
	runWith(t, Config{}, core.Config{Tier: "F1"}, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		e.use(core.OpSend, 1599, 5*512)
		advance(time.Minute)
		for id := uint16(1); id <= 5; id++ {
			c.write(publish(telemetry1, "x", 1, id))
			c.puback()
		}
		c.write(append(publish(telemetry1, "x", 1, 6), publish(telemetry1, "x", 1, 7)...))
		if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeQuotaExceeded}) {
			t.Error(err)
		}
		if got := len(e.events()); got != 5 {
			t.Errorf("%d events", got)
		}
		if !strings.Contains(e.log.String(), "the 8000 messages a day of 1 unit of F1 are used up") {
			t.Errorf("log: %s", e.log)
		}
		// Bubbles begin at midnight UTC.
		advance(24 * time.Hour)
		c = e.connect("dev1")
		defer c.nc.Close()
		c.write(publish(telemetry1, "x", 1, 8))
		c.puback()
	})
}

// Requests about the twin have an answer that says so.
func TestTwinsAreThrottled(t *testing.T) {
	runWith(t, Config{}, core.Config{Tier: "S1"}, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		defer c.nc.Close()
		subscribe, err := mqtt.AppendSubscribe(nil, 1, []mqtt.Subscription{{Filter: "$iothub/twin/res/#"}})
		if err != nil {
			t.Fatal(err)
		}
		c.write(subscribe)
		c.mustNext(mqtt.TypeSuback)
		get := func() string {
			t.Helper()
			c.write(publish("$iothub/twin/GET/?$rid=1", "", 0, 0))
			p, err := mqtt.DecodePublish(c.mustNext(mqtt.TypePublish))
			if err != nil {
				t.Fatal(err)
			}
			return string(p.Topic) + " " + string(p.Payload)
		}
		e.use(core.OpTwinRead, 6000, 0)
		start := time.Now()
		if got := get(); !strings.HasPrefix(got, "$iothub/twin/res/200/?$rid=1") || time.Since(start) != 10*time.Millisecond {
			t.Errorf("after %v: %s", time.Since(start), got)
		}
		e.use(core.OpTwinRead, 1000, 0)
		if got := get(); !strings.HasPrefix(got, "$iothub/twin/res/429/?$rid=1") || !strings.Contains(got, `"errorCode":429001`) {
			t.Error(got)
		}
		c.ping()
	})
}
