package mqttfront

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/guid"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

const (
	// twinReadWeight is what the answer to the request for a twin counts for
	// until it is written: few of them wait at a time.
	twinReadWeight = 32 << 10
	// maxRequestID leaves room for the rest of the answer's topic.
	maxRequestID = 1 << 10
)

// twinAnswer is what goes back for a request about the twin when its turn in the
// line of acknowledgements has come. Its fields are set before the batch that it
// belongs to is complete.
type twinAnswer struct {
	rid     []byte
	status  int
	version uint64 // 0 for none
	payload []byte
}

// handleTwin handles a request for the twin or a patch of the reported
// properties. It gets a place in the line of acknowledgements, so that answers
// go out in the order of the requests, each behind its PUBACK (B.9).
func (c *conn) handleTwin(kind topic.PublishKind, query []byte, p *mqtt.PublishPacket) error {
	rid, ok := topic.RequestID(query)
	if !ok || len(rid) > maxRequestID {
		return fmt.Errorf("publish to %.100q: a request about the twin needs a request id of 1 to %d bytes: ?$rid=…", p.Topic, maxRequestID)
	}
	if err := c.out.submit(); err != nil { // what was read before it goes first
		return err
	}
	if err := c.out.wait(); err != nil { // an answer is larger than its request
		return err
	}
	a := &twinAnswer{rid: bytes.Clone(rid)}
	b := c.out.newBatch()
	b.answer = a
	b.bytes = len(p.Topic) + len(p.Payload)
	op := core.OpTwinUpdate
	if kind == topic.TwinGet {
		b.bytes += twinReadWeight
		op = core.OpTwinRead
	}
	if p.QoS > 0 {
		b.acks = mqtt.AppendAck(b.acks, mqtt.TypePuback, p.PacketID)
	}
	c.out.enqueue(b)
	if err := c.admitted(op, len(p.Payload)); err != nil {
		c.failed(a, err)
		b.finish(nil)
		return nil
	}
	if kind == topic.TwinGet {
		c.att.ReadTwin(func(twin []byte, err error) {
			a.status, a.payload = 200, twin
			c.failed(a, err)
			b.finish(nil)
		})
		return nil
	}
	c.att.PatchReported(p.Payload, func(version uint64, err error) {
		a.status, a.version = 204, version
		c.failed(a, err)
		b.finish(nil)
	})
	return nil
}

// failed makes a the answer to a request that failed, if err is not nil.
func (c *conn) failed(a *twinAnswer, err error) {
	if err == nil {
		return
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		e = core.NewError(core.CodeServerError, "the request failed")
	}
	a.status, a.version = e.Status, 0
	a.payload = head.ErrorBody(e, guid.New(), c.front.cfg.Hub.Now())
}

// answerLocked sends the answer, if the client has subscribed to answers.
func (c *conn) answerLocked(a *twinAnswer) {
	qos, ok := c.session.granted(featureTwinResponses)
	if !ok || c.dead {
		return
	}
	// "?$rid=" comes first, and the slash before it is there (B.8).
	t := strconv.AppendInt([]byte("$iothub/twin/res/"), int64(a.status), 10)
	t = append(append(t, "/?$rid="...), a.rid...)
	if a.version > 0 {
		t = strconv.AppendUint(append(t, "&$version="...), a.version, 10)
	}
	p := mqtt.PublishPacket{Topic: t, Payload: a.payload, QoS: qos}
	if qos > 0 {
		p.PacketID = c.deliver.noticeIDLocked()
	}
	if err := c.out.publishLocked(&p); err != nil {
		c.front.log.Error("mqtt: an answer cannot be encoded", "client", c.id, "error", err)
	}
}

// notifyDesired passes a change of the desired properties on to a client that has
// subscribed to them. Nothing is queued for the others. The hub calls it, which
// it must not hold up: a client that reads too slowly loses its connection, and
// not a notice.
func (c *conn) notifyDesired(version uint64, patch []byte) {
	qos, ok := c.session.granted(featureDesired)
	if !ok {
		return
	}
	t := strconv.AppendUint([]byte("$iothub/twin/PATCH/properties/desired/?$version="), version, 10)
	c.publish(t, patch, qos)
}
