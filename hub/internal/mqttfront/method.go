package mqttfront

import (
	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// sendMethod sends a method request to the client. It is not kept: a client that
// does not answer is the caller's to wait for (B.10).
func (c *conn) sendMethod(r core.MethodRequest) bool {
	qos, ok := c.session.granted(featureMethods)
	if !ok {
		return false
	}
	// SDKs want $rid first and the slash before it (B.8).
	name := []byte("$iothub/methods/POST/" + r.Name + "/?$rid=" + r.RequestID)
	sent, err := c.offer(name, r.Payload, qos)
	if err != nil {
		c.front.log.Error("mqtt: a method request cannot be encoded", "client", c.id, "method", r.Name, "error", err)
	}
	return sent && err == nil
}

// handleMethodResponse passes an answer on. It is acknowledged whether somebody
// waits for it or not: clients wait for every PUBACK (B.4).
func (c *conn) handleMethodResponse(p *mqtt.PublishPacket, rest []byte) error {
	status, query, ok := topic.ParseMethodResponse(rest)
	if rid, found := topic.RequestID(query); found {
		c.att.AnswerMethod(rid, status, ok, p.Payload)
	}
	return c.out.acknowledge(p)
}
