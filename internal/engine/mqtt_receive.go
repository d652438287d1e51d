package engine

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// callTimeout is how long a method call may stay unanswered before the engine
// answers for its handler.
const callTimeout = 30 * time.Second

// maxUnsettled bounds the received messages that wait for their handlers; an
// IoT Hub has at most 50 under way. A hub that sends more loses the link, and
// sends them again later.
const maxUnsettled = 8192

// maxCalls bounds the method calls of one link that are remembered so that one
// that arrives twice is answered once.
const maxCalls = 1024

// mqttInbound is what the engine knows of what arrives on the present link.
type mqttInbound struct {
	asked   map[uint16]Feature // SUBSCRIBE by packet id, until its SUBACK
	live    Feature            // granted
	askedAt time.Time          // of the oldest SUBSCRIBE in asked
	unasked Feature            // for want of a packet id

	// Messages with QoS 1 are acknowledged in the order of their arrival,
	// because hubs take an acknowledgement out of order for a fault.
	unsettled []delivery
	base      uint64 // sequence of unsettled[0]

	calls     map[string]time.Duration // method calls seen: until when to answer, 0 when answered
	openCalls int                      // of these, those not answered
}

// delivery is one received message that is not acknowledged yet.
type delivery struct {
	id      uint16 // 0: QoS 0, nothing to acknowledge
	settled bool
	ack     bool // acknowledge when settled and first
}

// filters returns the topic filter of each feature in f.
func (m *MQTT) filters(f Feature) []mqtt.Subscription {
	var subs []mqtt.Subscription
	add := func(g Feature, filter string, qos byte) {
		if f&g != 0 {
			subs = append(subs, mqtt.Subscription{Filter: filter, QoS: qos})
		}
	}
	id := m.cfg.Identity
	add(FeatureMessages, topic.MessagesFilter(id.DeviceID), 1)
	add(FeatureInputs, topic.InputsFilter(id.DeviceID, id.ModuleID), 1)
	add(FeatureMethods, topic.MethodsFilter, 0)
	add(FeatureTwinResponses, topic.TwinResponsesFilter, 0)
	add(FeatureDesired, topic.DesiredFilter, 0)
	return subs
}

// Subscribe asks for features, now and on every later link.
func (m *MQTT) Subscribe(now time.Time, f Feature) {
	f &^= m.wanted
	m.wanted |= f
	if m.link.connected {
		m.ask(now, f)
	}
}

// Unsubscribe gives features up.
func (m *MQTT) Unsubscribe(f Feature) {
	f &= m.wanted
	m.wanted &^= f
	m.link.inbound.live &^= f
	if f == 0 || !m.link.connected || m.link.closing {
		return
	}
	var filters []string
	for _, s := range m.filters(f) {
		filters = append(filters, s.Filter)
	}
	if id, ok := m.takeID(); ok {
		m.link.ctl, _ = mqtt.AppendUnsubscribe(m.link.ctl, id, filters) // our own filters are valid
	}
}

// ask sends SUBSCRIBE for f, or leaves that to the next acknowledgement when
// every packet id is taken.
func (m *MQTT) ask(now time.Time, f Feature) {
	in := &m.link.inbound
	f |= in.unasked
	in.unasked = 0
	if f == 0 {
		return
	}
	id, ok := m.takeID()
	if !ok {
		in.unasked = f
		return
	}
	if in.asked == nil {
		in.asked = map[uint16]Feature{}
	}
	if len(in.asked) == 0 {
		in.askedAt = now
	}
	in.asked[id] = f
	m.link.ctl, _ = mqtt.AppendSubscribe(m.link.ctl, id, m.filters(f)) // our own filters are valid
}

// takeID returns a packet id that nothing has.
func (m *MQTT) takeID() (uint16, bool) {
	id := nextID(m.lastID)
	// Ids grow along the ring, sent on this link or an earlier one, so the
	// oldest is the first that a new one can meet [MQTT-2.3.1-2].
	if m.ring.len() > 0 && m.ring.at(m.ring.head).id == id {
		return 0, false
	}
	m.lastID = id
	return id, true
}

func (m *MQTT) suback(now time.Time, frame []byte) *linkError {
	id, codes, err := mqtt.DecodeSuback(frame)
	if err != nil {
		return protocolError(err)
	}
	in := &m.link.inbound
	f, ok := in.asked[id]
	if !ok {
		return protocolError(errors.New("SUBACK that nobody asked for"))
	}
	subs := m.filters(f)
	if len(codes) != len(subs) {
		return protocolError(fmt.Errorf("SUBACK with %d codes for %d filters [MQTT-3.8.4-5]", len(codes), len(subs)))
	}
	for i, code := range codes {
		if code == mqtt.SubackFailure {
			return &linkError{reason: iothub.ReasonCommunicationError, err: &iothub.Error{Op: "subscribe",
				Kind: iothub.KindForbidden, Retryable: true, Err: fmt.Errorf("the hub refused the subscription %s", subs[i].Filter)}}
		}
	}
	delete(in.asked, id)
	in.askedAt = now
	in.live |= f & m.wanted
	m.sendRequests(now)
	return nil
}

// publish takes a message from the hub.
func (m *MQTT) publish(frame []byte) *linkError {
	p, err := mqtt.DecodePublish(frame)
	if err != nil {
		return protocolError(err)
	}
	if p.QoS == 2 {
		return protocolError(errors.New("PUBLISH with QoS 2"))
	}
	in := topic.ParseInbound(p.Topic, m.cfg.Identity.DeviceID, m.cfg.Identity.ModuleID)
	switch in.Kind {
	case topic.InboundMessage, topic.InboundInput:
		return m.message(&in, &p)
	case topic.InboundMethod:
		m.method(&in, &p)
	case topic.InboundTwinResponse:
		m.response(&in, p.Payload)
	case topic.InboundDesired:
		m.desired(&in, p.Payload)
	}
	if p.QoS == 1 {
		m.deliver(p.PacketID, true)
	}
	return nil
}

// deliver notes a delivery; settled ones are acknowledged as soon as all
// before them are.
func (m *MQTT) deliver(id uint16, settled bool) uint64 {
	in := &m.link.inbound
	seq := in.base + uint64(len(in.unsettled))
	in.unsettled = append(in.unsettled, delivery{id: id, settled: settled, ack: settled})
	m.acknowledge()
	return seq
}

// acknowledge queues PUBACK for what is settled at the head.
func (m *MQTT) acknowledge() {
	in := &m.link.inbound
	n := 0
	for n < len(in.unsettled) && in.unsettled[n].settled {
		if d := in.unsettled[n]; d.ack && d.id != 0 && !m.link.closing {
			m.link.ctl = mqtt.AppendAck(m.link.ctl, mqtt.TypePuback, d.id)
		}
		n++
	}
	in.unsettled = append(in.unsettled[:0], in.unsettled[n:]...)
	in.base += uint64(n)
}

func (m *MQTT) message(in *topic.Inbound, p *mqtt.PublishPacket) *linkError {
	feature, kind := FeatureMessages, InboundMessage
	if in.Kind == topic.InboundInput {
		feature, kind = FeatureInputs, InboundInput
	}
	msg, err := decodeMessage(in.Bag, p.Payload)
	if err != nil {
		return protocolError(fmt.Errorf("a message from the hub: %w", err))
	}
	if in.Kind == topic.InboundInput {
		msg.InputName = string(in.Name)
	}
	if len(m.link.inbound.unsettled) >= maxUnsettled {
		return protocolError(fmt.Errorf("%d messages wait to be handled", maxUnsettled))
	}
	seq := m.deliver(p.PacketID, p.QoS == 0)
	if m.wanted&feature == 0 {
		return nil // a subscription of an earlier session: it stays in the hub's queue
	}
	m.events = append(m.events, Event{Kind: EventInbound, In: &Inbound{
		Kind: kind, Message: msg, Delivery: Delivery{m.linkNumber, seq}}})
	return nil
}

func (m *MQTT) method(in *topic.Inbound, p *mqtt.PublishPacket) {
	rid, ok := topic.RequestID(in.Query)
	if !ok || m.wanted&FeatureMethods == 0 {
		return
	}
	l := &m.link.inbound
	if _, twice := l.calls[string(rid)]; twice {
		return // it is answered once
	}
	if l.calls == nil {
		l.calls = map[string]time.Duration{}
	}
	if len(l.calls) >= maxCalls {
		maps.DeleteFunc(l.calls, func(_ string, until time.Duration) bool { return until == 0 })
	}
	if l.openCalls >= maxCalls {
		t := topic.AppendMethodResponse(nil, 429, string(rid))
		m.link.ctl, _ = mqtt.AppendPublish(m.link.ctl, &mqtt.PublishPacket{Topic: t}) // rid came in a topic
		return
	}
	until := m.lastNow.Add(callTimeout).Sub(m.epoch)
	l.calls[string(rid)] = until
	l.openCalls++
	m.due(until)
	m.events = append(m.events, Event{Kind: EventInbound, In: &Inbound{
		Kind: InboundMethod, Method: string(in.Name), Call: Call{m.linkNumber, string(rid)},
		Payload: append([]byte(nil), p.Payload...)}})
}

// Settle settles a received message. The error is iothub.ErrLockLost when its
// link is gone.
func (m *MQTT) Settle(d Delivery, by iothub.Disposition) error {
	in := &m.link.inbound
	if !m.link.open || d.link != m.linkNumber || d.seq-in.base >= uint64(len(in.unsettled)) {
		return iothub.ErrLockLost
	}
	u := &in.unsettled[d.seq-in.base]
	if u.settled {
		return nil
	}
	u.settled, u.ack = true, by != iothub.DispositionAbandoned
	m.acknowledge()
	return nil
}

// Respond answers a method call. On a link that is gone the answer is dropped,
// because the hub no longer waits for it.
func (m *MQTT) Respond(c Call, status int, payload []byte) error {
	l := &m.link.inbound
	if !m.link.open || m.link.closing || c.link != m.linkNumber {
		return iothub.ErrLockLost
	}
	if l.calls[c.rid] == 0 {
		return nil // only the first answer counts
	}
	l.calls[c.rid] = 0
	l.openCalls--
	t := topic.AppendMethodResponse(nil, status, c.rid)
	ctl, err := mqtt.AppendPublish(m.link.ctl, &mqtt.PublishPacket{Topic: t, Payload: payload})
	if err == nil {
		m.link.ctl = ctl
	}
	return err
}

// expireCalls answers method calls for handlers that have not.
func (m *MQTT) expireCalls(at time.Duration) {
	for rid, until := range m.link.inbound.calls {
		switch {
		case until == 0:
		case until <= at:
			m.Respond(Call{m.linkNumber, rid}, 500, []byte(`{"message":"the method handler did not answer in time"}`))
		default:
			m.due(until)
		}
	}
}
