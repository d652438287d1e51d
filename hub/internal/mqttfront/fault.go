package mqttfront

import (
	"errors"
	"fmt"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

var errFaultOfAMQP = errors.New("the fault is one of AMQP connections, this is MQTT")

// handleFault takes a message for what it is when it asks for a fault. Such a
// message is a command and not stored. As in IoT Hub, where several official
// test suites rely on it, it is acknowledged only when its fault outlasts the
// connection: with the others the connection ends before.
func (c *conn) handleFault(bag []byte, p *mqtt.PublishPacket) (handled bool, err error) {
	f, err := core.ParseFault(bag)
	if f.Kind == core.FaultKillAMQP || f.Kind == core.FaultShutDownAMQP {
		err = fmt.Errorf("%s: %w", f.Type, errFaultOfAMQP)
	}
	if err != nil {
		c.front.log.Warn("mqtt: a message asks for a fault that cannot be; it is taken for an event", "client", c.id, "error", err)
		return false, nil
	}
	if f.Kind == 0 {
		return false, nil
	}
	// What came before it is good, and acknowledged first.
	if err := c.out.submit(); err != nil {
		return true, err
	}
	if f.Kind.Lasts() && p.QoS > 0 {
		b := c.out.newBatch()
		b.acks = mqtt.AppendAck(b.acks, mqtt.TypePuback, p.PacketID)
		c.out.enqueue(b)
		b.complete(nil)
	}
	c.out.flush()
	c.att.InjectFault(f, func(reason error) {
		if f.Kind == core.FaultShutDownMQTT {
			c.shutDown(reason)
			return
		}
		c.Kill(reason)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	return true, c.reason
}

// shutDown ends the connection in the orderly way: it is read no further, what
// was accepted is acknowledged, and the peer sees the end of the stream instead
// of a reset.
func (c *conn) shutDown(reason error) {
	c.stopped.CompareAndSwap(nil, &reason)
	c.Drain()
}

// drained is why a connection that is drained ends.
func (c *conn) drained() error {
	if reason := c.stopped.Load(); reason != nil {
		return *reason
	}
	return errDrained
}
