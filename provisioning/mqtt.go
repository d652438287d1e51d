package provisioning

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/transport"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// maxPacket bounds a packet of the service, in bytes.
const maxPacket = maxAnswer + 1<<10

type dial func(ctx context.Context) (net.Conn, error)

// dialer says how to reach the service.
func (r *registration) dialer() (dial, error) {
	host, port := link.SplitHost(r.Endpoint)
	path := link.Path{Port: "8883"}
	switch r.Transport {
	case HTTPS:
		path.Port = "443"
	case MQTTWebSocket:
		path = link.Path{Port: "443", WebSocket: &link.WebSocket{Path: "/$iothub/websocket", Subprotocol: "mqtt"}}
	}
	if port != "" {
		path.Port = port
	}
	d, err := link.NewDialer(host, r.Attestation.cert, r.Options, path)
	if err != nil {
		return nil, err
	}
	return d.Dial, nil
}

// mqttConversation is a connection over MQTT. One request is under way at a time, so it
// needs no goroutine but the caller's. (wire-device F.2)
type mqttConversation struct {
	r    *registration
	conn net.Conn
	in   []byte // what has arrived: whole packets and the beginning of one
	used int    // bytes of in that were taken
	id   uint16 // of the last packet, and the last request
}

func (r *registration) openMQTT(ctx context.Context) (conversation, error) {
	token, err := r.Attestation.token(ctx, r.Config)
	if err != nil {
		return nil, err
	}
	conn, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &mqttConversation{r: r, conn: conn}
	if err := c.connect(ctx, token); err != nil {
		link.HardClose(conn)
		return nil, err
	}
	return c, nil
}

// connect says who is there, and asks for the answers.
func (c *mqttConversation) connect(ctx context.Context, token string) error {
	packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
		// No keep-alive: what is waited for is bounded, one answer at a time.
		ClientID: c.r.RegistrationID, CleanSession: true, Password: []byte(token),
		Username: c.r.IDScope + "/registrations/" + c.r.RegistrationID +
			"/api-version=" + apiVersion + "&ClientVersion=" + url.QueryEscape(transport.ProductInfo(c.r.Options.ProductInfo)),
	})
	if err != nil {
		return invalid("CONNECT: %w", err)
	}
	return c.bounded(ctx, func() error {
		if err := c.write(packet); err != nil {
			return err
		}
		frame, err := c.await(mqtt.TypeConnack)
		if err != nil {
			return err
		}
		_, code, err := mqtt.DecodeConnack(frame)
		if err != nil {
			return errBroken("CONNACK: %w", err)
		}
		if code != 0 {
			return c.refused(code)
		}
		c.id++
		packet, err := mqtt.AppendSubscribe(nil, c.id, []mqtt.Subscription{{Filter: topic.RegistrationFilter, QoS: 1}})
		if err != nil {
			return err
		}
		if err := c.write(packet); err != nil {
			return err
		}
		if frame, err = c.await(mqtt.TypeSuback); err != nil {
			return err
		}
		if _, codes, err := mqtt.DecodeSuback(frame); err != nil || len(codes) != 1 || codes[0] > 1 {
			return errBroken("the provisioning service does not grant the subscription for its answers")
		}
		return nil
	})
}

// refused makes an error of a return code of CONNACK (MQTT 3.1.1 table 3.1).
func (c *mqttConversation) refused(code byte) error {
	e := &iothub.Error{Op: op, Kind: iothub.KindUnauthorized, Code: int(code), Err: c.r.unauthorized("MQTT return code " + fmt.Sprint(code))}
	switch code {
	case 1:
		e.Kind, e.Err = iothub.KindProtocol, errors.New("the end point does not speak MQTT 3.1.1: is it a provisioning service?")
	case 3:
		e.Kind, e.Retryable, e.Err = iothub.KindUnavailable, true, errors.New("the provisioning service is not available")
	}
	return e
}

// ask implements conversation.
func (c *mqttConversation) ask(ctx context.Context, operation string) (a *answer, err error) {
	c.id++
	name, body := topic.AppendRegister(nil, c.id), c.r.request
	if operation != "" {
		name, body = topic.AppendOperation(nil, c.id, operation), nil
	}
	packet, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: name, Payload: body, QoS: 1, PacketID: c.id})
	if err != nil {
		return nil, invalid("the request: %w", err)
	}
	err = c.bounded(ctx, func() error {
		if err := c.write(packet); err != nil {
			return err
		}
		for a == nil {
			frame, err := c.await(mqtt.TypePublish)
			if err != nil {
				return err
			}
			if a, err = c.answered(frame); err != nil {
				return err
			}
		}
		return nil
	})
	return a, err
}

// answered takes a PUBLISH packet; it is nil when that answers another request.
func (c *mqttConversation) answered(frame []byte) (*answer, error) {
	p, err := mqtt.DecodePublish(frame)
	if err != nil {
		return nil, errBroken("PUBLISH: %w", err)
	}
	if p.QoS == 1 {
		if err := c.write(mqtt.AppendAck(nil, mqtt.TypePuback, p.PacketID)); err != nil {
			return nil, err
		}
	}
	result, ok := topic.ParseRegistrationResult(p.Topic)
	if !ok || result.RequestID != c.id {
		return nil, nil
	}
	wait := time.Duration(result.RetryAfter) * time.Second
	if result.Status >= 300 {
		return nil, c.r.refused(result.Status, p.Payload, wait)
	}
	a, err := parseAnswer(p.Payload)
	if err == nil {
		a.retryAfter = wait
	}
	return a, err
}

// close says goodbye.
func (c *mqttConversation) close() {
	_ = c.conn.SetDeadline(time.Now().Add(time.Second))
	_ = c.write(mqtt.AppendEmpty(nil, mqtt.TypeDisconnect)) // what matters is over
	_ = c.conn.Close()
}

// bounded runs f with a limit on how long reading and writing may take, and makes it
// end when ctx does.
func (c *mqttConversation) bounded(ctx context.Context, f func() error) error {
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return networkError(err)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = c.conn.SetDeadline(time.Unix(1, 0)) // long ago
	})
	err := f()
	if !stop() {
		<-interrupted // or it would cut what comes next
		if err != nil {
			return ctx.Err()
		}
	}
	return err
}

func (c *mqttConversation) write(p []byte) error {
	_, err := c.conn.Write(p)
	return networkError(err)
}

// await returns the next packet of a type, past the acknowledgements of this side's
// own, which may come before the answers or behind them. It is good until the next call.
func (c *mqttConversation) await(want mqtt.Type) ([]byte, error) {
	for {
		frame, err := c.next()
		if err != nil {
			return nil, err
		}
		switch got := mqtt.PacketType(frame); got {
		case want:
			return frame, nil
		case mqtt.TypePuback, mqtt.TypePublish:
		default:
			return nil, errBroken("%v came where %v was due", got, want)
		}
	}
}

func (c *mqttConversation) next() ([]byte, error) {
	c.in = append(c.in[:0], c.in[c.used:]...)
	c.used = 0
	for {
		n, err := mqtt.Frame(c.in, maxPacket)
		if err != nil {
			return nil, errBroken("a packet: %w", err)
		}
		if n > 0 {
			c.used = n
			return c.in[:n], nil
		}
		var buf [4 << 10]byte
		n, err = c.conn.Read(buf[:])
		if n == 0 && err != nil {
			return nil, networkError(err)
		}
		c.in = append(c.in, buf[:n]...)
	}
}

// networkError says what became of the connection.
func networkError(err error) error {
	if err == nil {
		return nil
	}
	e := &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true, Err: fmt.Errorf("the connection to the provisioning service: %w", err)}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		e.Kind, e.Err = iothub.KindTimeout, errNoAnswer
	}
	return e
}

var _ conversation = (*mqttConversation)(nil)
