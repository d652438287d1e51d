package core

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/iothub-go/iothub/internal/wire/topic"
)

// Property is a name with a value. NoValue tells a property that was sent
// without a value from one with the empty value.
type Property struct {
	Name    string `json:"n"`
	Value   string `json:"v,omitempty"`
	NoValue bool   `json:"null,omitempty"`
}

// Message is one on its way to a device or to an input of a module. What a
// [Receiver] gives out is shared and must not be changed.
type Message struct {
	// SequenceNumber names the message in its queue; larger ones are newer.
	SequenceNumber uint64    `json:"seq"`
	EnqueuedTime   time.Time `json:"at,omitzero"`
	// DeliveryCount is how often it was given back explicitly.
	DeliveryCount int `json:"count,omitempty"`
	// LockToken is what settles a message taken by [Hub.LockC2D].
	LockToken string `json:"-"`

	// Input is the module input it is for, ConnectionDeviceID and
	// ConnectionModuleID who has sent it there; all are empty in a
	// cloud-to-device message.
	Input              string `json:"input,omitempty"`
	ConnectionDeviceID string `json:"cdid,omitempty"`
	ConnectionModuleID string `json:"cmid,omitempty"`

	MessageID       string `json:"mid,omitempty"`
	CorrelationID   string `json:"cid,omitempty"`
	UserID          string `json:"uid,omitempty"`
	ContentType     string `json:"ct,omitempty"`
	ContentEncoding string `json:"ce,omitempty"`
	// To is the destination in the form of IoT Hub, set by it.
	To string `json:"to,omitempty"`
	// Ack is the feedback asked for: "", "none", "positive", "negative", "full".
	Ack string `json:"ack,omitempty"`
	// Expiry is when the sender wants it gone; zero leaves it to the hub.
	Expiry time.Time `json:"exp,omitzero"`
	// Properties are the application properties and, of an input, the remaining
	// system properties under their names on MQTT.
	Properties []Property `json:"props,omitempty"`
	Payload    []byte     `json:"body,omitempty"`
}

// size counts a message as IoT Hub does.
func (m *Message) size() int {
	n := len(m.Payload) + len(m.MessageID) + len(m.CorrelationID) + len(m.UserID) +
		len(m.ContentType) + len(m.ContentEncoding)
	for _, p := range m.Properties {
		n += len(p.Name) + len(p.Value)
	}
	return n
}

// messageOverhead is what a queued message is taken to cost beside its bytes.
const messageOverhead = 256

// inputMessage makes the message that an event becomes at the input of a module.
// A bag is whatever a device has sent: a wrong escape stays as it is. What a
// sender says about itself does not count.
func inputMessage(from identityKey, e *Event, payload []byte) Message {
	m := Message{ConnectionDeviceID: from.device, ConnectionModuleID: from.module, Payload: payload}
	known := map[string]*string{
		topic.MessageID: &m.MessageID, topic.CorrelationID: &m.CorrelationID, topic.UserID: &m.UserID,
		topic.ContentType: &m.ContentType, topic.ContentEncoding: &m.ContentEncoding,
	}
	bag := topic.NewBagReader(e.Bag)
	for {
		key, value, hasValue, ok := bag.Next()
		if !ok {
			break
		}
		name, text := unescaped(key), unescaped(value)
		switch field := known[name]; {
		case field != nil:
			*field = text
		case name == topic.To, name == topic.Expiry, name == topic.ConnectionDeviceID, name == topic.ConnectionModuleID:
		default:
			m.Properties = append(m.Properties, Property{Name: name, Value: text, NoValue: !hasValue})
		}
	}
	if e.Retain {
		m.Properties = append(m.Properties, Property{Name: topic.Retain, Value: "true"})
	}
	return m
}

// outputOf finds the output that an event leaves by; "" when it names none.
func outputOf(bag []byte) (output string) {
	if !bytes.Contains(bag, []byte(".on")) && !bytes.Contains(bag, []byte("%")) {
		return "" // the usual telemetry
	}
	r := topic.NewBagReader(bag)
	for {
		key, value, _, ok := r.Next()
		if !ok {
			return output
		}
		if topic.KeyIs(key, topic.OutputName) {
			output = unescaped(value)
		}
	}
}

func unescaped(src []byte) string {
	out, err := topic.AppendUnescaped(nil, src)
	if err != nil {
		return string(src)
	}
	return string(out)
}

// mailDoc is what the storage keeps: messages of one queue that became durable
// together, until the last of them is gone.
type mailDoc struct {
	Generation string     `json:"gen"` // of the identity
	Messages   []*Message `json:"messages"`

	key  string
	left int // messages still in the queue
}

// shed lets go of messages that are not stored again, so that each is freed when
// it has left the queue.
func (d *mailDoc) shed(b *mailbox) {
	if b.key.module != "" {
		d.Messages = nil
	}
}

func (d *mailDoc) encode() ([]byte, error) { return json.Marshal(d) }
