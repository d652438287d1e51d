package engine

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// Feature is something a client receives once it has asked for it. They
// combine.
type Feature uint8

// The features.
const (
	FeatureMessages      Feature = 1 << iota // cloud-to-device messages
	FeatureInputs                            // messages to module inputs
	FeatureMethods                           // direct methods
	FeatureTwinResponses                     // answers to twin requests
	FeatureDesired                           // changes of desired properties
	featureEnd
)

// InboundKind is what a hub sends.
type InboundKind uint8

// The kinds of what arrives; those of twins stay inside the session.
const (
	InboundMessage InboundKind = iota + 1
	InboundInput
	InboundMethod
	InboundDesired // Change
)

// Inbound is one thing that arrived for the user.
type Inbound struct {
	Kind     InboundKind
	Message  iothub.Message // InboundMessage, InboundInput
	Delivery Delivery       // of a message, for Settle
	Method   string         // InboundMethod: its name
	Call     Call           // InboundMethod: for Respond
	Payload  []byte         // InboundMethod
	Change   *iothub.DesiredChange
}

// Delivery names a received message on the link it came on.
type Delivery struct {
	link uint64
	seq  uint64
}

// Call names a method call on the link it came on.
type Call struct {
	link uint64
	rid  string
}

// decodeMessage makes a message of a property bag and a payload, both of which
// it copies.
func decodeMessage(bag, payload []byte) (iothub.Message, error) {
	m := iothub.Message{Payload: append([]byte(nil), payload...)}
	err := topic.DecodeBag(bag, func(k, v string, hasValue bool) error {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("property %q is not UTF-8", k)
		}
		setProperty(&m, k, v)
		return nil
	})
	return m, err
}

func setProperty(m *iothub.Message, k, v string) {
	if p := systemProperty(m, k); p != nil {
		*p = v
		return
	}
	switch k {
	case topic.Expiry:
		m.ExpiryTime = parseTime(v)
	case topic.CreationTime:
		m.CreationTime = parseTime(v)
	default:
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		m.Properties[k] = v // system properties not known here stay visible
	}
}

func systemProperty(m *iothub.Message, k string) *string {
	switch k {
	case topic.MessageID:
		return &m.MessageID
	case topic.CorrelationID:
		return &m.CorrelationID
	case topic.UserID:
		return &m.UserID
	case topic.To:
		return &m.To
	case topic.ContentType:
		return &m.ContentType
	case topic.ContentEncoding:
		return &m.ContentEncoding
	case topic.OutputName:
		return &m.OutputName
	case topic.MessageSchema:
		return &m.Schema
	case topic.ComponentName:
		return &m.Component
	case topic.InterfaceID:
		return &m.InterfaceID
	case topic.ConnectionDeviceID:
		return &m.ConnectionDeviceID
	case topic.ConnectionModuleID:
		return &m.ConnectionModuleID
	case topic.DiagnosticID:
		return &m.DiagnosticID
	case topic.DiagnosticContext:
		return &m.DiagnosticContext
	case topic.Ack:
		return &m.Ack
	case topic.Operation:
		return &m.Operation
	}
	return nil
}

// parseTime reads the ISO 8601 forms that hubs write; anything else is no
// time.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
