package mqttfront

import (
	"fmt"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// handle handles one packet after CONNECT. An error closes the connection: MQTT
// 3.1.1 has no other way to object (B.11).
func (c *conn) handle(frame []byte) error {
	switch t := mqtt.PacketType(frame); t {
	case mqtt.TypePublish:
		if c.registration != nil {
			return c.handleRegistration(frame)
		}
		return c.handlePublish(frame)
	case mqtt.TypePingreq:
		if err := mqtt.DecodeEmpty(frame); err != nil {
			return err
		}
		c.out.send(pingresp) // [MQTT-3.12.4-1]
		return nil
	case mqtt.TypeSubscribe:
		return c.handleSubscribe(frame)
	case mqtt.TypeUnsubscribe:
		return c.handleUnsubscribe(frame)
	case mqtt.TypePuback:
		id, err := mqtt.DecodeAck(frame)
		if err == nil && c.att != nil {
			c.acknowledged(id)
		}
		return err
	case mqtt.TypeDisconnect:
		if err := mqtt.DecodeEmpty(frame); err != nil {
			return err
		}
		return errDisconnected // [MQTT-3.14.4-3]: the will is dropped
	case mqtt.TypeConnect:
		return fmt.Errorf("a second CONNECT [MQTT-3.1.0-2]")
	case mqtt.TypePubrec, mqtt.TypePubrel, mqtt.TypePubcomp:
		return fmt.Errorf("%v: IoT Hub does not support QoS 2", t)
	default:
		return fmt.Errorf("%v from a client", t)
	}
}

var pingresp = mqtt.AppendEmpty(nil, mqtt.TypePingresp)

func (c *conn) handlePublish(frame []byte) error {
	p, err := mqtt.DecodePublish(frame)
	if err != nil {
		return err
	}
	if p.QoS > 1 {
		return fmt.Errorf("PUBLISH with QoS 2, which IoT Hub does not support, to %q", p.Topic)
	}
	bag, ok := topic.ParseTelemetry(p.Topic, c.base)
	if !ok {
		return c.handleRequest(&p)
	}
	if c.front.faults {
		if handled, err := c.handleFault(bag, &p); handled {
			return err
		}
	}
	if len(bag)+len(p.Payload) <= core.MaxEventBytes && !c.front.throttled {
		c.out.add(bag, &p, len(frame))
		return nil
	}
	// It may be too large, which depends on its escapes, or too many. The hub
	// decides, about this message alone: the ones before it are good.
	if err := c.out.submit(); err != nil {
		return err
	}
	c.out.add(bag, &p, len(frame))
	return c.out.submit()
}

// handleRequest handles publishes that are not telemetry.
func (c *conn) handleRequest(p *mqtt.PublishPacket) error {
	switch kind, rest := topic.Classify(p.Topic, c.base); kind {
	case topic.MethodResponse:
		return c.handleMethodResponse(p, rest)
	case topic.TwinGet, topic.TwinPatchReported:
		return c.handleTwin(kind, rest, p)
	default:
		return fmt.Errorf("publish to %q: not a topic of %s (telemetry goes to %s/)", p.Topic, c.id, c.base)
	}
}
