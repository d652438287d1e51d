package mqttfront

import (
	"fmt"
	"strings"
	"sync"

	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// feature is what a topic filter subscribes to.
type feature uint8

const (
	featureCloudToDevice feature = iota
	featureInputs
	featureMethods
	featureTwinResponses
	featureDesired
	featureRegistration
	featureCount
)

// filters of the features that devices and modules share (B.7).
var sharedFilters = map[string]feature{
	"$iothub/methods/POST/#":                  featureMethods,
	"$iothub/twin/res/#":                      featureTwinResponses,
	"$iothub/twin/PATCH/properties/desired/#": featureDesired,
}

// featureOf finds what filter means for the identity of the connection.
func (c *conn) featureOf(filter string) (feature, bool) {
	if c.registration != nil {
		return featureRegistration, filter == topic.RegistrationFilter
	}
	if f, ok := sharedFilters[filter]; ok {
		return f, true
	}
	rest, ok := strings.CutPrefix(filter, "devices/")
	if !ok {
		return 0, false
	}
	device, module, isModule := strings.Cut(c.id, "/")
	if rest, ok = strings.CutPrefix(rest, device+"/"); !ok {
		return 0, false
	}
	if isModule {
		if rest, ok = strings.CutPrefix(rest, "modules/"+module+"/"); !ok {
			return 0, false
		}
	}
	switch {
	case rest == "messages/devicebound/#":
		return featureCloudToDevice, true
	case isModule && (rest == "inputs/#" || rest == "#"):
		return featureInputs, true
	}
	return 0, false
}

// handleSubscribe switches features on. The subscription is live when SUBACK is
// queued, because clients send their first request as soon as they see it.
func (c *conn) handleSubscribe(frame []byte) error {
	id, subs, err := mqtt.DecodeSubscribe(frame)
	if err != nil {
		return err
	}
	var features []feature
	var granted []byte // of features
	codes := make([]byte, len(subs))
	for i, s := range subs {
		f, ok := c.featureOf(s.Filter)
		if !ok && !c.front.gateway { // IoT Edge lets it be (G.3)
			return fmt.Errorf("subscription to %q: not a topic filter of %s (B.7)", s.Filter, c.id)
		}
		codes[i] = min(s.QoS, 1) // [MQTT-3.8.4-6]
		if ok {
			features = append(features, f)
			granted = append(granted, codes[i])
		}
	}
	for i, f := range features {
		c.session.set(f, granted[i]+1)
	}
	// A client that sees SUBACK gets what it has subscribed to, behind it.
	c.out.cork()
	defer c.out.uncork()
	c.out.send(mqtt.AppendSuback(nil, id, codes)) // [MQTT-3.8.4-1] [MQTT-3.8.4-5]
	for _, f := range features {
		c.enabled(f)
	}
	return nil
}

// enabled begins what a subscription asks for, when it is made and when an older
// session remembers it.
func (c *conn) enabled(f feature) {
	if c.registration != nil {
		return
	}
	switch f {
	case c.queueFeature():
		c.startDelivery()
	case featureMethods:
		c.att.ServeMethods(c.sendMethod)
	}
}

// resume begins what the session remembers, without waiting for a SUBSCRIBE that
// need not come (B.5).
func (c *conn) resume() {
	for f := range featureCount {
		if _, ok := c.session.granted(f); ok {
			c.enabled(f)
		}
	}
}

// handleUnsubscribe switches features off. What was never subscribed to is
// confirmed all the same. [MQTT-3.10.4-5]
func (c *conn) handleUnsubscribe(frame []byte) error {
	id, filters, err := mqtt.DecodeUnsubscribe(frame)
	if err != nil {
		return err
	}
	for _, filter := range filters {
		if f, ok := c.featureOf(filter); ok {
			c.session.set(f, 0)
			if f == featureMethods {
				c.att.ServeMethods(nil)
			}
		}
	}
	c.out.send(mqtt.AppendAck(nil, mqtt.TypeUnsuback, id))
	return nil
}

// session is what outlives a connection without clean session: for each feature
// 0 when it is not subscribed to, otherwise the granted QoS plus one.
type session struct {
	mu         sync.Mutex
	subscribed [featureCount]byte
	unacked    map[uint64]uint16 // messages of the queue that wait for their PUBACK, and its id
}

func (s *session) set(f feature, v byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribed[f] = v
}

// granted is the QoS that a feature was subscribed with; ok is false when it was
// not, or not any more.
func (s *session) granted(f feature) (qos byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.subscribed[f]
	return max(v, 1) - 1, v > 0
}

// sessionKey names the identity, with its generation: a device that was deleted
// and created again starts afresh.
type sessionKey struct{ id, generation string }

// sessions remembers those of clients that asked for it, in memory. IoT Hub's
// clients subscribe anew whenever they connect, so what a restart or the bound
// forgets is told by "session present" and costs them nothing.
type sessions struct {
	max int

	mu   sync.Mutex
	byID map[sessionKey]*session
}

// openSession gives the connection its session and reports whether it is an
// older one. [MQTT-3.1.2-4] [MQTT-3.1.2-6]
func (c *conn) openSession(clean bool) (present bool) {
	s := &c.front.sessions
	key := sessionKey{c.id, c.att.Principal().GenerationID}
	s.mu.Lock()
	defer s.mu.Unlock()
	if clean {
		delete(s.byID, key)
		c.session = new(session)
		return false
	}
	if c.session, present = s.byID[key]; present {
		return true
	}
	c.session = new(session)
	if s.byID == nil {
		s.byID = make(map[sessionKey]*session)
	}
	if len(s.byID) >= s.max {
		for k := range s.byID { // whichever comes first
			delete(s.byID, k)
			break
		}
	}
	s.byID[key] = c.session
	return false
}
