package amqpfront

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// openDeviceBound is where back ends send messages to devices. (wire-service D4)
func openDeviceBound(l *link) (serve, error) {
	// Each is durable before it is settled, and they are taken one after the
	// other, so that those to one device keep their order.
	l.window, l.maxMessage = 50, 128<<10
	return func(ctx context.Context) error { return l.receive(ctx, l.sendToDevice) }, nil
}

func (l *link) sendToDevice(ctx context.Context, d *delivery) error {
	hub := l.c.front.hub
	m, err := d.Message()
	if err == nil {
		err = hub.Admit(ctx, core.OpSendToDevice, len(d.Payload))
	}
	if err == nil {
		var deviceID string
		var msg core.Message
		if deviceID, msg, err = deviceMessage(m); err == nil {
			err = hub.SendC2D(ctx, deviceID, msg)
		}
	}
	switch {
	case err == nil:
		d.settle(amqp.Accepted)
	case ctx.Err() != nil:
		return nil // nobody is there to be told
	default:
		d.reject(err)
	}
	return nil
}

// deviceMessage makes the hub's message of one of AMQP.
func deviceMessage(m *amqp.Message) (deviceID string, msg core.Message, err error) {
	p := m.Properties
	if p == nil {
		p = &amqp.Properties{}
	}
	if deviceID, err = boundFor(p.To); err != nil {
		return "", msg, err
	}
	msg = core.Message{
		MessageID: amqp.IDText(p.MessageID), CorrelationID: amqp.IDText(p.CorrelationID), UserID: string(p.UserID),
		ContentType: string(p.ContentType), ContentEncoding: string(p.ContentEncoding), Payload: m.Body(),
	}
	if p.AbsoluteExpiryTime.OK {
		msg.Expiry = p.AbsoluteExpiryTime.V.Time()
	}
	for _, e := range m.ApplicationProperties {
		name, isText := e.Key.(string)
		if !isText {
			return "", msg, core.NewError(core.CodeArgumentInvalid, "the name of an application property is no string")
		}
		if strings.EqualFold(name, "iothub-ack") {
			msg.Ack = strings.ToLower(propertyText(e.Value))
			continue
		}
		msg.Properties = append(msg.Properties, core.Property{Name: name, Value: propertyText(e.Value), NoValue: e.Value == nil})
	}
	return deviceID, msg, nil
}

// propertyText is a property of a simple type as text, which is all that devices
// get.
func propertyText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case amqp.Symbol:
		return string(v)
	case []byte:
		return string(v)
	case amqp.Timestamp:
		return v.Time().Format("2006-01-02T15:04:05.000Z")
	case amqp.Char:
		return string(rune(v))
	}
	return fmt.Sprint(v)
}

// boundFor finds the device in the destination of a message. Some clients escape
// the id and some do not.
func boundFor(to string) (string, error) {
	bad := core.NewError(core.CodeArgumentInvalid,
		"the destination (to) is %q; it has to be /devices/{device id}/messages/devicebound", to)
	if _, rest, ok := strings.Cut(to, "://"); ok {
		_, to, _ = strings.Cut(rest, "/")
	}
	words := strings.Split(strings.Trim(to, "/"), "/")
	if len(words) != 4 || !strings.EqualFold(words[0], "devices") || !strings.EqualFold(words[2], "messages") || !strings.EqualFold(words[3], "devicebound") {
		return "", bad
	}
	id, err := url.PathUnescape(words[1])
	if err != nil {
		id = words[1] // a % that escapes nothing: it is not escaped at all
	}
	if id == "" {
		return "", bad
	}
	return id, nil
}
