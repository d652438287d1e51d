package mqttfront

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// refusal is a CONNECT that is answered with a return code.
type refusal struct {
	code byte
	err  error
}

func (r *refusal) Error() string {
	return fmt.Sprintf("CONNECT refused with code %d: %v", r.code, r.err)
}
func (r *refusal) Unwrap() error { return r.err }

func refuse(code byte, format string, args ...any) error {
	return &refusal{code, fmt.Errorf(format, args...)}
}

// connect reads CONNECT, lets the hub decide about it, and answers. Packets that
// came behind it stay in the buffer for the loop.
func (c *conn) connect() error {
	frame, err := c.readConnect()
	if err != nil {
		return err
	}
	p, err := mqtt.DecodeConnect(frame)
	c.in.r += len(frame)
	switch {
	case errors.Is(err, mqtt.ErrProtocolLevel):
		err = &refusal{mqtt.ConnackBadProtocol, err} // [MQTT-3.1.2-2]
	case err != nil:
		return err // [MQTT-3.1.4-1]: closed without an answer
	default:
		err = c.admit(&p)
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		c.answerRefused(r.code)
	}
	if err != nil {
		return err
	}
	if c.registration != nil {
		c.out.send(mqtt.AppendConnack(nil, false, mqtt.ConnackAccepted))
		return nil
	}
	connack := mqtt.AppendConnack(nil, c.openSession(p.CleanSession), mqtt.ConnackAccepted)
	c.out.cork()
	defer c.out.uncork()
	c.mu.Lock()
	c.out.appendLocked(connack)
	// A notice has to wait for the lock and so comes behind CONNACK.
	c.att.OnDesired(c.notifyDesired)
	c.mu.Unlock()
	c.resume()
	return nil
}

// readConnect waits for the whole CONNECT packet. Who has not proved anything
// gets little time, little memory and no answer.
func (c *conn) readConnect() ([]byte, error) {
	deadline := time.Now().Add(c.front.cfg.ConnectTimeout)
	for {
		src := c.in.unread()
		if t := mqtt.PacketType(src); len(src) > 0 && t != mqtt.TypeConnect {
			return nil, fmt.Errorf("the first packet is %v, not CONNECT [MQTT-3.1.0-1]", t)
		}
		n, err := mqtt.PacketLen(src, maxConnect)
		if err != nil {
			return nil, fmt.Errorf("CONNECT: %w", err)
		}
		if n > 0 && n <= len(src) {
			return src[:n:n], nil
		}
		got, err := c.readUntil(c.in.space(n), deadline)
		if err != nil {
			return nil, fmt.Errorf("waiting for CONNECT: %w", err)
		}
		c.in.w += got
	}
}

// answerRefused sends the return code and closes gracefully, so that the client
// gets to read it.
func (c *conn) answerRefused(code byte) {
	if c.nc.SetWriteDeadline(time.Now().Add(closeTimeout)) != nil {
		return
	}
	if _, err := c.nc.Write(mqtt.AppendConnack(nil, false, code)); err == nil {
		head.Linger(c.nc, c.raw, closeTimeout)
	}
}

// admit checks who the client says it is and attaches it to the hub (A.7, A.8).
func (c *conn) admit(p *mqtt.ConnectPacket) error {
	if p.ClientID == "" {
		// With clean session MQTT would let the server make one up; here the
		// client identifier names the identity. [MQTT-3.1.3-8]
		return refuse(mqtt.ConnackBadClientID, "the client identifier is empty: it has to be the device id, or device id/module id")
	}
	if scope, id, ok := topic.ParseRegistrationUsername(p.Username); ok && c.front.cfg.Provisioning != nil {
		return c.admitRegistration(p, scope, id)
	}
	user, err := topic.ParseUsername(p.Username)
	if err != nil {
		return &refusal{mqtt.ConnackNotAuthorized, err}
	}
	if p.ClientID != user.ClientID() {
		return refuse(mqtt.ConnackNotAuthorized, "the client identifier is %q but the user name is for %q", p.ClientID, user.ClientID())
	}
	c.id = p.ClientID
	base := topic.AppendTelemetryBase(nil, user.DeviceID, user.ModuleID)
	c.base = base[:len(base)-1]
	if c.will, err = c.acceptWill(p.Will); err != nil {
		return err
	}
	principal, err := c.front.cfg.Hub.Authenticate(time.Now(), core.AuthRequest{
		HostName: user.HostName, DeviceID: user.DeviceID, ModuleID: user.ModuleID,
		Token: string(p.Password), Certificates: c.certificates(), AuthChain: user.AuthChain,
	})
	if err != nil {
		return refused(err)
	}
	if err := c.admitted(core.OpConnect, 0); err != nil {
		return refused(err)
	}
	c.expires = principal.Expires
	c.window = c.front.keepAliveWindow(p.KeepAlive)
	if c.att, err = c.front.cfg.Hub.Attach(principal, user.ModelID, c.Kill); err != nil {
		return refused(err)
	}
	return nil
}

// refused gives an error of the hub its return code: 5 for whatever is wrong
// with the credentials, 3 for what is no fault of the client (A.8).
func refused(err error) error {
	if e, ok := errors.AsType[*core.Error](err); ok && e.Status >= 400 && e.Status < 500 && e.Status != 429 {
		return &refusal{mqtt.ConnackNotAuthorized, err}
	}
	return &refusal{mqtt.ConnackUnavailable, err}
}

// keepAliveWindow is how long a client may be silent. [MQTT-3.1.2-24]
func (f *Front) keepAliveWindow(seconds uint16) time.Duration {
	longest := maxWindow
	if f.gateway {
		longest = maxGatewayWindow
	}
	if window := time.Duration(seconds) * time.Second * 3 / 2; window > 0 {
		return min(window, longest)
	}
	return longest
}

func (c *conn) certificates() []*x509.Certificate {
	if t, ok := c.nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return t.ConnectionState().PeerCertificates
	}
	return nil
}

// acceptWill checks a will: only telemetry of the identity itself can be one
// (B.6). What the hub could not keep is refused now instead of being dropped
// silently later.
func (c *conn) acceptWill(w *mqtt.Will) (*core.Event, error) {
	if w == nil {
		return nil, nil
	}
	if w.QoS > 1 {
		return nil, errors.New("the will has QoS 2, which IoT Hub does not support")
	}
	bag, ok := topic.ParseTelemetry([]byte(w.Topic), c.base)
	if !ok {
		return nil, fmt.Errorf("the topic of the will is %q; it has to be the telemetry topic %s/", w.Topic, c.base)
	}
	return &core.Event{Bag: bag, Payload: w.Payload, Retain: w.Retain, Will: true}, nil
}
