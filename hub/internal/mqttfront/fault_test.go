package mqttfront

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// fault is a message that asks for one, as the official SDKs send it.
func fault(kind, delay, duration string, qos byte, id uint16) []byte {
	const p = "AzIoTHub_FaultOperation"
	return publish(telemetry1+p+"Type="+kind+"&"+p+"CloseReason=boom&"+p+"DelayInSecs="+delay+"&"+p+"DurationInSecs="+duration, "f", qos, id)
}

var allowFaults = core.Config{FaultInjection: true}

// The faults of the connection: the message that asks is neither acknowledged
// nor stored, what came before and after is, and the next connection is well.
func TestFaultsOfTheConnection(t *testing.T) {
	for _, tt := range []struct {
		kind, delay string
		after       time.Duration
	}{
		{"KillTcp", "0", 0},
		{"KillTcp", "5", 5 * time.Second},
		{"ShutDownMqtt", "0", 0},
		{"ShutDownMqtt", "0.5", time.Second / 2},
	} {
		t.Run(tt.kind+" "+tt.delay, func(t *testing.T) {
			runWith(t, Config{}, allowFaults, func(t *testing.T, e *env) {
				other := e.connect("dev2")
				defer other.nc.Close()
				c := e.connect("dev1")
				start := time.Now()
				c.write(append(publish(telemetry1, "before", 1, 1), fault(tt.kind, tt.delay, "20", 1, 2)...))
				if id := c.puback(); id != 1 {
					t.Errorf("acknowledged %d", id)
				}
				stored := 1
				if tt.after > 0 {
					c.write(publish(telemetry1, "after", 1, 3))
					if id := c.puback(); id != 3 {
						t.Errorf("acknowledged %d", id)
					}
					stored = 2
				}
				if frame, err := c.next(); err == nil {
					t.Errorf("got %v", mqtt.PacketType(frame))
				}
				if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeFaultInjection}) {
					t.Error(err)
				}
				if got := time.Since(start); got != tt.after {
					t.Errorf("after %v, want %v", got, tt.after)
				}
				if got := len(e.events()); got != stored {
					t.Errorf("%d events, want %d", got, stored)
				}
				c = e.connect("dev1") // at once
				defer c.nc.Close()
				c.write(publish(telemetry1, "well", 1, 4))
				c.puback()
				other.ping()
				if want := "fault injection: " + tt.kind; !strings.Contains(e.log.String(), want) {
					t.Errorf("the log has no %q: %s", want, e.log)
				}
			})
		})
	}
}

// The faults that last: the message is acknowledged, the connection ends when
// the fault begins, and the identity is refused until it is over.
func TestFaultsThatLast(t *testing.T) {
	for _, tt := range []struct {
		kind    string
		code    int
		connack byte // while it lasts
	}{
		{"InvokeThrottling", core.CodeThrottling, 0},
		{"InvokeMaxMessageQuota", core.CodeQuotaExceeded, 0},
		{"InvokeAuthError", core.CodeUnauthorized, mqtt.ConnackNotAuthorized},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			runWith(t, Config{}, allowFaults, func(t *testing.T, e *env) {
				c := e.connect("dev1")
				c.write(fault(tt.kind, "1", "20", 1, 1))
				if id := c.puback(); id != 1 {
					t.Errorf("acknowledged %d", id)
				}
				c.write(publish(telemetry1, "still well", 1, 2))
				c.puback()
				if err := c.closed(); !errors.Is(err, &core.Error{Code: tt.code}) {
					t.Error(err)
				}
				began := time.Now()
				for range 4 {
					c := e.dial()
					c.write(connectBytes(t, e.connectPacket("dev1")))
					if _, code := c.connack(); code != tt.connack {
						t.Fatalf("code %d", code)
					}
					if tt.connack == 0 {
						c.write(publish(telemetry1, "refused", 1, 3))
					}
					if err := c.closed(); !errors.Is(err, &core.Error{Code: tt.code}) {
						t.Error(err)
					}
					other := e.connect("dev1/mod1") // another identity
					other.write(publish("devices/dev1/modules/mod1/messages/events/", "x", 1, 1))
					other.puback()
					_ = other.nc.Close()
					advance(5 * time.Second)
				}
				if got := time.Since(began); got != 20*time.Second {
					t.Errorf("lasted %v", got)
				}
				c = e.connect("dev1")
				defer c.nc.Close()
				c.write(publish(telemetry1, "well", 1, 4))
				c.puback()
				if got := len(e.events()); got != 2+4 {
					t.Errorf("%d events", got)
				}
			})
		})
	}
}

// A fault that lasts and begins at once is acknowledged all the same.
func TestFaultAtOnce(t *testing.T) {
	runWith(t, Config{}, allowFaults, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.write(append(fault("InvokeAuthError", "0", "5", 1, 1), publish(telemetry1, "too late", 1, 2)...))
		if id := c.puback(); id != 1 {
			t.Errorf("acknowledged %d", id)
		}
		if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeUnauthorized}) {
			t.Error(err)
		}
		if got := len(e.events()); got != 0 {
			t.Errorf("%d events", got)
		}
	})
}

func TestFaultWithQoS0(t *testing.T) {
	runWith(t, Config{}, allowFaults, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.write(fault("InvokeThrottling", "0", "5", 0, 0))
		if frame, err := c.next(); err == nil {
			t.Errorf("got %v", mqtt.PacketType(frame))
		}
		<-c.done
	})
}

// Messages that ask for what cannot be, and all of them where it is not allowed,
// are events.
func TestFaultsThatAreEvents(t *testing.T) {
	for _, tt := range []struct {
		cfg     core.Config
		packet  []byte
		warning string
	}{
		{core.Config{}, fault("KillTcp", "0", "0", 1, 1), ""},
		{allowFaults, fault("KillAmqpSession", "0", "0", 1, 1), "KillAmqpSession: the fault is one of AMQP"},
		{allowFaults, fault("ShutDownAmqp", "0", "0", 1, 1), "ShutDownAmqp: the fault is one of AMQP"},
		{allowFaults, fault("Meteor", "0", "0", 1, 1), "does not know"},
		{allowFaults, fault("KillTcp", "soon", "0", 1, 1), "DelayInSecs"},
	} {
		runWith(t, Config{}, tt.cfg, func(t *testing.T, e *env) {
			c := e.connect("dev1")
			defer c.nc.Close()
			c.write(tt.packet)
			c.puback()
			advance(time.Minute)
			c.ping()
			if got := len(e.events()); got != 1 {
				t.Errorf("%d events", got)
			}
			if log := e.log.String(); !strings.Contains(log, tt.warning) || tt.warning == "" && strings.Contains(log, "fault") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// The client that shuts down in the orderly way gets all its acknowledgements,
// also of what the storage has not taken yet.
func TestShutDownWaitsForTheStorage(t *testing.T) {
	runWith(t, Config{}, allowFaults, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		c.write(fault("ShutDownMqtt", "1", "0", 1, 1))
		open := e.gate.close()
		defer open()
		c.write(publish(telemetry1, "slow", 1, 2))
		advance(3 * time.Second)
		c.nothing()
		open()
		if id := c.puback(); id != 2 {
			t.Errorf("acknowledged %d", id)
		}
		if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeFaultInjection}) {
			t.Error(err)
		}
	})
}

// Disconnect is a network failure to the client, and to its will.
func TestDisconnect(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		p := e.connectPacket("dev1")
		p.Will = &mqtt.Will{Topic: telemetry1, Payload: []byte("the will"), QoS: 1}
		c := e.connectWith(p)
		if !e.hub.Disconnect("dev1", "") {
			t.Error("there is a connection")
		}
		if _, err := c.next(); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
		if err := <-c.done; !errors.Is(err, &core.Error{Code: core.CodeFaultInjection}) {
			t.Error(err)
		}
		advance(time.Second)
		if got := e.events(); len(got) != 1 || string(got[0].Body) != "the will" {
			t.Errorf("%+v", got)
		}
		if e.hub.Disconnect("dev1", "") {
			t.Error("it is gone")
		}
		e.connect("dev1").nc.Close()
	})
}
