package mqttfront

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

func TestConnack(t *testing.T) {
	user := func(s string) func(*env, *mqtt.ConnectPacket) {
		return func(_ *env, p *mqtt.ConnectPacket) { p.Username = s }
	}
	for _, tt := range []struct {
		name   string
		change func(*env, *mqtt.ConnectPacket)
		code   byte
	}{
		{"good", func(*env, *mqtt.ConnectPacket) {}, 0},
		{"legacy user name", user(hostName + "/dev1/api-version=2018-06-30"), 0},
		{"host name with a port and another case", user("HUB.test:8883/dev1/?api-version=2018-06-30"), 0},
		{"will", func(_ *env, p *mqtt.ConnectPacket) { p.Will = &mqtt.Will{Topic: telemetry1, QoS: 1} }, 0},
		{"MQTT 3.1", func(_ *env, p *mqtt.ConnectPacket) { p.ProtocolName, p.ProtocolLevel = "MQIsdp", 3 }, 1},
		{"MQTT 5", func(_ *env, p *mqtt.ConnectPacket) { p.ProtocolLevel = 5 }, 1},
		{"no client id", func(_ *env, p *mqtt.ConnectPacket) { p.ClientID = "" }, 2},
		{"client id of another", func(_ *env, p *mqtt.ConnectPacket) { p.ClientID = "dev2" }, 5},
		{"client id in another case", func(_ *env, p *mqtt.ConnectPacket) { p.ClientID = "DEV1" }, 5},
		{"no user name", func(_ *env, p *mqtt.ConnectPacket) { p.Username, p.Password = "", nil }, 5},
		{"user name without api-version", user(hostName + "/dev1/"), 5},
		{"another hub", user("other.test/dev1/?api-version=2021-04-12"), 5},
		{"no password", func(_ *env, p *mqtt.ConnectPacket) { p.Password = nil }, 5},
		{"no token", func(_ *env, p *mqtt.ConnectPacket) { p.Password = []byte("secret") }, 5},
		{"expired token", func(e *env, p *mqtt.ConnectPacket) { p.Password = e.password("dev1", -6*time.Minute) }, 5},
		{"token of another", func(e *env, p *mqtt.ConnectPacket) { p.Password = e.password("dev2", time.Hour) }, 5},
		{"unknown device", func(e *env, p *mqtt.ConnectPacket) {
			p.ClientID, p.Username = "dev9", hostName+"/dev9/?api-version=2021-04-12"
		}, 5},
		{"disabled device", func(e *env, p *mqtt.ConnectPacket) {
			d, err := e.hub.GetDevice("dev1")
			if err == nil {
				d.Status = core.StatusDisabled
				_, err = e.hub.UpdateDevice(context.Background(), d, core.AnyETag)
			}
			if err != nil {
				e.t.Fatal(err)
			}
		}, 5},
		{"hub that is closing", func(e *env, p *mqtt.ConnectPacket) { _ = e.hub.Close(context.Background()) }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				p := e.connectPacket("dev1")
				tt.change(e, p)
				c := e.dial()
				c.write(connectBytes(t, p))
				present, code := c.connack()
				if code != tt.code || present {
					t.Fatalf("code %d, session present %v; want code %d", code, present, tt.code)
				}
				if code == 0 {
					c.ping()
					return
				}
				if err := c.closed(); err == nil {
					t.Error("a refused connection ended without an error")
				}
				if log := e.log.String(); !strings.Contains(log, "CONNECT refused") || len(p.Password) > 0 && strings.Contains(log, string(p.Password)) {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

func TestConnectThatIsNotAnswered(t *testing.T) {
	whole := func(e *env, change func(*mqtt.ConnectPacket)) []byte {
		p := e.connectPacket("dev1")
		change(p)
		return connectBytes(e.t, p)
	}
	for _, tt := range []struct {
		name  string
		bytes func(*env) []byte
	}{
		{"nothing", func(*env) []byte { return nil }},
		{"half a packet", func(e *env) []byte { return whole(e, func(*mqtt.ConnectPacket) {})[:40] }},
		{"PUBLISH first", func(*env) []byte { return publish(telemetry1, "x", 0, 0) }},
		{"TLS", func(*env) []byte { return []byte("\x16\x03\x01\x02\x00\x01") }},
		{"HTTP", func(*env) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }},
		{"claims 256 MiB", func(*env) []byte { return []byte{0x10, 0xff, 0xff, 0xff, 0x7f} }},
		{"reserved flag", func(e *env) []byte {
			b := whole(e, func(*mqtt.ConnectPacket) {})
			b[3+2+4+1] |= 1
			return b
		}},
		{"will to a foreign topic", func(e *env) []byte {
			return whole(e, func(p *mqtt.ConnectPacket) { p.Will = &mqtt.Will{Topic: "devices/dev2/messages/events/"} })
		}},
		{"will with QoS 2", func(e *env) []byte {
			return whole(e, func(p *mqtt.ConnectPacket) { p.Will = &mqtt.Will{Topic: telemetry1, QoS: 2} })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				start := time.Now()
				c := e.dial()
				if b := tt.bytes(e); b != nil {
					c.write(b)
				}
				if frame, err := c.next(); err == nil {
					t.Fatalf("answered with %v", mqtt.PacketType(frame))
				}
				if err := <-c.done; err == nil {
					t.Error("ended without an error")
				}
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				if len(e.events()) != 0 {
					t.Error("something was stored")
				}
			})
		})
	}
}

// Clients may send without waiting for CONNACK; what they send is held until it
// has gone out, and refused with it.
func TestPipelinedBehindConnect(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		b := connectBytes(t, e.connectPacket("dev1"))
		b = append(b, publish(telemetry1+"a=1", "first", 1, 7)...)
		b = append(b, mqtt.AppendEmpty(nil, mqtt.TypePingreq)...)
		c := e.dial()
		c.write(b)
		if _, code := c.connack(); code != 0 {
			t.Fatal(code)
		}
		c.mustNext(mqtt.TypePingresp)
		if id := c.puback(); id != 7 {
			t.Errorf("PUBACK %d", id)
		}
		p := e.connectPacket("dev1")
		p.Password = nil
		c = e.dial()
		if err := c.tryWrite(append(connectBytes(t, p), publish(telemetry1, "second", 1, 7)...)); err != nil {
			t.Fatal(err)
		}
		if _, code := c.connack(); code != 5 {
			t.Fatal(code)
		}
		_ = c.closed()
		if got := e.events(); len(got) != 1 || string(got[0].Body) != "first" {
			t.Errorf("stored: %+v", got)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	for _, tt := range []struct {
		keepAlive uint16
		window    time.Duration
	}{{60, 90 * time.Second}, {1, 1500 * time.Millisecond}, {0, 1767 * time.Second}, {65535, 1767 * time.Second}} {
		t.Run(tt.window.String(), func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				p := e.connectPacket("dev1")
				p.KeepAlive = tt.keepAlive
				p.Password = e.password("dev1", 24*time.Hour)
				c := e.connectWith(p)
				for range 3 { // any packet starts it anew
					advance(tt.window - time.Millisecond)
					c.write(publish(telemetry1, "x", 0, 0))
				}
				synctest.Wait()
				start := time.Now()
				err := c.closed()
				if took := time.Since(start); took != tt.window || !errors.Is(err, errKeepAlive) {
					t.Errorf("closed after %v: %v", took, err)
				}
			})
		})
	}
}

func TestTokenExpiresWhileConnected(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		start := time.Now().Truncate(time.Second)
		p := e.connectPacket("dev1")
		p.Password = e.password("dev1", 10*time.Minute)
		c := e.connectWith(p)
		for time.Since(start) < 14*time.Minute+30*time.Second {
			advance(20 * time.Second)
			c.ping()
		}
		err := c.closed()
		// The expiry and the skew of five minutes that the hub allows (A.9).
		if took := time.Since(start); took != 15*time.Minute || !errors.Is(err, errTokenExpired) {
			t.Errorf("closed after %v: %v", took, err)
		}
	})
}

// A busy connection never waits long enough for a read to time out.
func TestTokenExpiresWhileBusy(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c := e.connect("dev1")
		end := time.Now().Add(2 * time.Hour)
		for time.Now().Before(end) {
			advance(time.Second)
			if c.tryWrite(publish(telemetry1, "x", 0, 0)) != nil {
				break
			}
		}
		if err := <-c.done; !errors.Is(err, errTokenExpired) {
			t.Error(err)
		}
		if left := time.Until(end); left < 54*time.Minute || left > 56*time.Minute {
			t.Errorf("closed %v before the end", left)
		}
	})
}

func TestNewerConnectionWins(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		p := e.connectPacket("dev1")
		p.Will = &mqtt.Will{Topic: telemetry1 + "w=1", Payload: []byte("gone")}
		older := e.connectWith(p)
		module, other := e.connect("dev1/mod1"), e.connect("dev2")
		newer := e.connect("dev1")
		err := older.closed()
		if !errors.Is(err, &core.Error{Code: core.CodeConnectionForcefullyClosed}) {
			t.Error(err)
		}
		newer.write(publish(telemetry1, "hello", 1, 1))
		newer.puback()
		for _, c := range []*client{newer, module, other} {
			c.ping()
		}
		got := e.events()
		if len(got) != 2 || string(got[0].Body) != "gone" || got[0].Properties["iothub-MessageType"] != "Will" {
			t.Errorf("the will of the displaced connection: %+v", got)
		}
		if d, _ := e.hub.GetDevice("dev1"); d.ConnectionState != core.Connected {
			t.Errorf("the device is %s", d.ConnectionState)
		}
	})
}

// Disabling an identity ends its connection, and only that.
func TestIdentityChangeEndsConnection(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		c, other := e.connect("dev1"), e.connect("dev2")
		if err := e.hub.DeleteDevice(t.Context(), "dev1", core.AnyETag); err != nil {
			t.Fatal(err)
		}
		if err := c.closed(); !errors.Is(err, &core.Error{Code: core.CodeUnauthorized}) {
			t.Error(err)
		}
		other.ping()
	})
}
