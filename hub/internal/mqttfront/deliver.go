package mqttfront

import (
	"bytes"
	"errors"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

const (
	// maxBacklog is what may wait to be written to a client that reads slowly
	// before it gets no more answers and notices.
	maxBacklog = 1 << 20
	// maxInflight is how many messages of a queue may wait for their PUBACK.
	maxInflight = 32
	// lastTracked is the largest packet id of a message that is kept until it
	// is acknowledged. The ids above it are for what is sent and forgotten:
	// with a range for each, a late PUBACK of the one never stands for the
	// other.
	lastTracked = 1 << 14
)

// errSlow ends a connection that does not read what it has asked for.
var errSlow = errors.New("the client reads too slowly: 1 MiB waits for it")

// publish sends a message to the client and forgets it: answers, and notices
// that IoT Hub does not queue. It never blocks; a client that leaves too much
// unread is closed. Topic and payload are the caller's again when it returns.
func (c *conn) publish(topic, payload []byte, qos byte) {
	if sent, err := c.offer(topic, payload, qos); err != nil {
		c.front.log.Error("mqtt: a message cannot be encoded", "client", c.id, "topic", string(topic), "error", err)
	} else if !sent {
		c.Kill(errSlow)
	}
}

// offer is publish for callers that can do without: sent is false when the
// connection has ended or too much waits to be written already.
func (c *conn) offer(topic, payload []byte, qos byte) (sent bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || len(c.out.pending) > maxBacklog {
		return false, nil
	}
	p := mqtt.PublishPacket{Topic: topic, Payload: payload, QoS: min(qos, 1)} // never above QoS 1 (B.4)
	if p.QoS > 0 {
		p.PacketID = c.deliver.noticeIDLocked()
	}
	return true, c.out.publishLocked(&p)
}

// publishLocked queues one PUBLISH.
func (o *outbox) publishLocked(p *mqtt.PublishPacket) error {
	n := len(o.pending)
	pending, err := mqtt.AppendPublish(o.pending, p)
	if err != nil {
		o.pending = o.pending[:n]
		return err
	}
	o.pending = pending
	o.startLocked()
	return nil
}

// later gives a PUBLISH that is no telemetry its place in the line of
// acknowledgements, which has the order of the publishes. [MQTT-4.6.0-2] The
// returned function acknowledges it (nil) or ends the connection (an error). It
// is to be called once, from any goroutine, and does nothing for QoS 0.
func (o *outbox) later(p *mqtt.PublishPacket) (finish func(error), err error) {
	if p.QoS == 0 {
		return func(error) {}, nil
	}
	if err := o.submit(); err != nil { // what was read before it goes first
		return nil, err
	}
	b := o.newBatch()
	b.acks = mqtt.AppendAck(b.acks, mqtt.TypePuback, p.PacketID)
	b.bytes = len(p.Topic) + len(p.Payload)
	o.enqueue(b)
	return b.finish, nil
}

// acknowledge is later for a PUBLISH that is dealt with already.
func (o *outbox) acknowledge(p *mqtt.PublishPacket) error {
	finish, err := o.later(p)
	if err == nil {
		finish(nil)
	}
	return err
}

// delivery is what a connection delivers from the queue of its identity:
// cloud-to-device messages, or the inputs of a module. Messages are taken from
// the queue by the goroutine that writes, when it has room for them: a client
// that does not read leaves them in the queue, where they cost nothing more.
type delivery struct {
	// Guarded by conn.mu.
	receiver *core.Receiver    // nil until the client subscribes
	wanted   bool              // the queue may have something
	inflight map[uint16]uint64 // packet id to sequence number
	lastID   uint16            // of the messages of the queue
	lastNote uint16            // of what is forgotten, counted from lastTracked
}

// noticeIDLocked gives the next id of what is sent and forgotten.
func (d *delivery) noticeIDLocked() uint16 {
	d.lastNote++
	if d.lastNote > 0xFFFF-lastTracked {
		d.lastNote = 1
	}
	return lastTracked + d.lastNote
}

// idLocked gives a message its packet id: the one it had before, when that is
// free, otherwise one that is not in flight. [MQTT-2.3.1-2] [MQTT-4.4.0-1]
func (d *delivery) idLocked(before uint16) uint16 {
	if _, used := d.inflight[before]; before != 0 && !used {
		return before
	}
	for {
		d.lastID = d.lastID%lastTracked + 1
		if _, used := d.inflight[d.lastID]; !used {
			return d.lastID
		}
	}
}

// queueFeature is the subscription that the queue of the identity is delivered
// to. Cloud-to-device messages are for devices only (B.1).
func (c *conn) queueFeature() feature {
	if c.att.Principal().ModuleID != "" {
		return featureInputs
	}
	return featureCloudToDevice
}

// startDelivery begins to deliver from the queue, at once when there is something.
func (c *conn) startDelivery() {
	c.mu.Lock()
	started := c.deliver.receiver != nil
	c.mu.Unlock()
	if !started { // only the reader starts it
		r := c.att.Receive(c.wakeDelivery)
		c.mu.Lock()
		c.deliver.receiver = r
		c.deliver.inflight = make(map[uint16]uint64)
		c.mu.Unlock()
	}
	c.wakeDelivery()
}

// stopDelivery gives back what was not acknowledged, and has the session remember
// by which packet ids the client knows it.
func (c *conn) stopDelivery() {
	c.mu.Lock()
	r, inflight := c.deliver.receiver, c.deliver.inflight
	c.deliver.receiver, c.deliver.inflight = nil, nil
	c.mu.Unlock()
	if r == nil {
		return
	}
	c.session.keepUnacked(inflight)
	r.Close()
}

// wakeDelivery has the writer look at the queue.
func (c *conn) wakeDelivery() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deliver.wanted = true
	if c.deliverableLocked() {
		c.out.startLocked()
	}
}

// deliverableLocked reports whether it is worth looking at the queue.
func (c *conn) deliverableLocked() bool {
	d := &c.deliver
	return d.wanted && d.receiver != nil && len(d.inflight) < maxInflight && len(c.out.pending) <= maxOutbox &&
		!c.dead && !c.draining.Load()
}

// fill moves messages from the queue to the outbox while both allow it. Only the
// writer calls it.
func (c *conn) fill() {
	for {
		c.mu.Lock()
		if !c.deliverableLocked() {
			c.mu.Unlock()
			return
		}
		r := c.deliver.receiver
		c.deliver.wanted = false
		c.mu.Unlock()
		qos, ok := c.session.granted(c.queueFeature())
		if !ok {
			return // unsubscribed; what is in flight is still acknowledged [MQTT-3.10.4-3]
		}
		m, ok := r.Next()
		if !ok {
			return
		}
		c.deliverOne(r, &m, qos)
	}
}

// deliverOne queues one message. With QoS 0 it is completed by that (B.5).
func (c *conn) deliverOne(r *core.Receiver, m *core.Message, qos byte) {
	p := mqtt.PublishPacket{Topic: c.messageTopic(m), Payload: m.Payload, QoS: qos}
	c.mu.Lock()
	if c.dead || c.deliver.receiver != r {
		c.mu.Unlock()
		return // it is given back by the end of the connection
	}
	c.deliver.wanted = true
	if qos > 0 {
		before := c.session.takeUnacked(m.SequenceNumber)
		p.PacketID, p.Dup = c.deliver.idLocked(before), before != 0 // [MQTT-3.3.1-1]
	}
	err := c.out.publishLocked(&p)
	if err == nil && qos > 0 {
		c.deliver.inflight[p.PacketID] = m.SequenceNumber
	}
	c.mu.Unlock()
	switch {
	case err != nil:
		c.front.log.Warn("mqtt: a message cannot be delivered over MQTT and is rejected", "client", c.id,
			"sequence", m.SequenceNumber, "error", err)
		r.Settle(m.SequenceNumber, core.Reject)
	case qos == 0:
		r.Settle(m.SequenceNumber, core.Complete)
	}
}

// acknowledged completes the message of a PUBACK, in whatever order they come. An
// acknowledgement of nothing is one of a notice, or late: ignored (B.4).
func (c *conn) acknowledged(id uint16) {
	c.mu.Lock()
	seq, ok := c.deliver.inflight[id]
	r := c.deliver.receiver
	if ok {
		delete(c.deliver.inflight, id)
		if c.deliverableLocked() {
			c.out.startLocked()
		}
	}
	c.mu.Unlock()
	if ok {
		r.Settle(seq, core.Complete)
	}
}

// messageTopic makes the topic of a message from the queue (B.1, B.2). The escaped
// dollar of system properties is what the C SDK compares with.
func (c *conn) messageTopic(m *core.Message) []byte {
	dst := append([]byte(nil), bytes.TrimSuffix(c.base, []byte("/messages/events"))...)
	if m.Input == "" {
		dst = append(dst, "/messages/devicebound/"...)
	} else {
		dst = append(dst, "/inputs/"...)
		dst = append(dst, m.Input...)
		dst = append(dst, '/')
	}
	expiry := ""
	if !m.Expiry.IsZero() {
		expiry = m.Expiry.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	start := len(dst)
	for _, p := range [...]struct{ name, value string }{
		{topic.ConnectionDeviceID, m.ConnectionDeviceID},
		{topic.ConnectionModuleID, m.ConnectionModuleID},
		{topic.MessageID, m.MessageID},
		{topic.CorrelationID, m.CorrelationID},
		{topic.UserID, m.UserID},
		{topic.To, m.To},
		{topic.Expiry, expiry},
		{topic.ContentType, m.ContentType},
		{topic.ContentEncoding, m.ContentEncoding},
		{topic.Ack, m.Ack},
	} {
		if p.value != "" {
			dst = topic.AppendProperty(dst, start, p.name, p.value, true)
		}
	}
	for _, p := range m.Properties {
		dst = topic.AppendProperty(dst, start, p.Name, p.Value, !p.NoValue)
	}
	return dst
}

// keepUnacked remembers packet ids for the next connection.
func (s *session) keepUnacked(inflight map[uint16]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unacked == nil || len(s.unacked) > 4*maxInflight {
		// The rest are of messages that have expired meanwhile.
		s.unacked = make(map[uint64]uint16, len(inflight))
	}
	for id, seq := range inflight {
		s.unacked[seq] = id
	}
}

// takeUnacked gives the packet id that a message had on an earlier connection of
// the session, or 0.
func (s *session) takeUnacked(seq uint64) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.unacked[seq]
	delete(s.unacked, seq)
	return id
}
