package iothub

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of IoT Hub that the clients check before anything is sent.
const (
	// MaxMessageSize is the largest device-to-cloud message in bytes: the
	// payload, the names and values of the application properties and the
	// values of the system properties together (IoT Hub quotas).
	MaxMessageSize = 256 * 1024

	// MaxMessageIDLength is the longest message or correlation id, in
	// characters.
	MaxMessageIDLength = 128
)

// Message is one event to the hub, or one message from it. The zero value is
// an empty message and may be sent.
//
// A Message is not safe for concurrent modification. Sending copies it before
// the call returns; from then on it is the caller's again.
type Message struct {
	// Payload is the body. It may be empty.
	Payload []byte

	// Properties are the application properties. Names must not be empty
	// or begin with "$" (reserved for system properties); names and values
	// must be UTF-8 without NUL.
	Properties map[string]string

	// MessageID and CorrelationID are at most 128 characters of ASCII
	// letters, digits and -:.+%_#*?!(),=@;$'. Empty means absent, as for
	// every string below.
	MessageID     string
	CorrelationID string

	// UserID names the producer of the message.
	UserID string

	// ContentType and ContentEncoding describe the payload. Routing on the
	// body works only with "application/json" and "utf-8", "utf-16" or
	// "utf-32".
	ContentType     string
	ContentEncoding string

	// CreationTime is when the event happened, sent with milliseconds in
	// UTC. The zero time is absent.
	CreationTime time.Time

	// ExpiryTime is when the message becomes worthless. On a received
	// message it is what the sender set. On a sent one it bounds the wait:
	// a message that is not confirmed by then is confirmed with
	// ConfirmMessageTimeout; it is not put on the wire, because hubs drop
	// the connection of a device that sends it.
	ExpiryTime time.Time

	// OutputName is the module output that the message leaves by (IoT Edge
	// routes select on it). Only module clients send it.
	OutputName string

	// Component is the Plug and Play component that the telemetry belongs
	// to.
	Component string

	// Schema is the message schema, InterfaceID the digital twin interface.
	Schema      string
	InterfaceID string

	// Security marks the message for Defender for IoT; it sets InterfaceID
	// on the wire.
	Security bool

	// DiagnosticID and DiagnosticContext carry IoT Hub's distributed
	// tracing.
	DiagnosticID      string
	DiagnosticContext string

	// The rest is set on received messages and ignored when sending.

	// To is the destination the sender addressed.
	To string
	// InputName is the module input a message came in by.
	InputName string
	// ConnectionDeviceID and ConnectionModuleID name the identity that sent
	// a message routed to a module input.
	ConnectionDeviceID string
	ConnectionModuleID string
	// Ack is the feedback asked for: "none", "positive", "negative", "full".
	Ack string
	// Operation is IoT Hub's iothub-operation tag.
	Operation string
	// SequenceNumber, EnqueuedTime and DeliveryCount are what the hub noted
	// on a cloud-to-device message, on the transports that carry them.
	SequenceNumber int64
	EnqueuedTime   time.Time
	DeliveryCount  int
}

// SecurityInterfaceID is the interface id that marks a security message.
const SecurityInterfaceID = "urn:azureiot:Security:SecurityAgent:1"

// Size returns the size of m in bytes as IoT Hub meters it: payload, names and
// values of application properties, values of the textual system properties
// that a sender sets.
func (m *Message) Size() int {
	n := len(m.Payload)
	for k, v := range m.Properties {
		n += len(k) + len(v)
	}
	n += len(m.MessageID) + len(m.CorrelationID) + len(m.UserID) +
		len(m.ContentType) + len(m.ContentEncoding) +
		len(m.OutputName) + len(m.Component) + len(m.Schema) + len(m.InterfaceID) +
		len(m.DiagnosticID) + len(m.DiagnosticContext)
	return n
}

// Validate reports why m cannot be sent as an event: it is nil, too large
// (more than [MaxMessageSize] bytes), or a property cannot be carried. The
// error is an *[Error] of kind [KindMessageTooLarge] or [KindInvalidArgument]
// and names the property and the limit. Every send calls it.
func (m *Message) Validate() error {
	if m == nil {
		return invalid("message is nil: pass a *iothub.Message")
	}
	size := len(m.Payload)
	for k, v := range m.Properties {
		if err := validateProperty(k, v); err != nil {
			return err
		}
		size += len(k) + len(v)
	}
	// The common message sets few system properties: look at lengths first.
	if len(m.MessageID)|len(m.CorrelationID) != 0 {
		if err := validateID("MessageID", m.MessageID); err != nil {
			return err
		}
		if err := validateID("CorrelationID", m.CorrelationID); err != nil {
			return err
		}
	}
	for _, p := range [...]struct {
		name  string
		value string
	}{
		{"UserID", m.UserID}, {"ContentType", m.ContentType}, {"ContentEncoding", m.ContentEncoding},
		{"OutputName", m.OutputName}, {"Component", m.Component}, {"Schema", m.Schema},
		{"InterfaceID", m.InterfaceID}, {"DiagnosticID", m.DiagnosticID}, {"DiagnosticContext", m.DiagnosticContext},
	} {
		if !carriable(p.value) {
			return invalid("%s is not UTF-8 text without NUL", p.name)
		}
		size += len(p.value)
	}
	if m.Security && m.InterfaceID != "" && m.InterfaceID != SecurityInterfaceID {
		return invalid("a security message cannot have InterfaceID %q: leave it empty", m.InterfaceID)
	}
	size += len(m.MessageID) + len(m.CorrelationID)
	if size > MaxMessageSize {
		return &Error{Op: "send", Kind: KindMessageTooLarge, Code: 413001,
			Err: fmt.Errorf("message is %d bytes (payload %d), the limit is %d", size, len(m.Payload), MaxMessageSize)}
	}
	return nil
}

// ForOutput returns a shallow copy of m that leaves by the module output named
// output, or an *[Error] of kind [KindInvalidArgument] when there is no message
// or no name.
func (m *Message) ForOutput(output string) (*Message, error) {
	if m == nil {
		return nil, invalid("message is nil: pass a *iothub.Message")
	}
	if output == "" {
		return nil, invalid("the output name is empty")
	}
	c := *m
	c.OutputName = output
	return &c, nil
}

func validateProperty(k, v string) error {
	switch {
	case k == "":
		return invalid("a property has an empty name")
	case k[0] == '$':
		return invalid("property %q: names beginning with $ are reserved for system properties; use the field of Message", k)
	case !carriable(k):
		return invalid("property name %q is not UTF-8 text without NUL", k)
	case !carriable(v):
		return invalid("the value of property %q is not UTF-8 text without NUL", k)
	}
	return nil
}

// carriable reports whether s can stand in an MQTT topic, an AMQP string and
// an HTTP header after escaping: UTF-8 without U+0000 [MQTT-1.5.3-1, -2].
func carriable(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			return false
		}
		if s[i] >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii || utf8.ValidString(s)
}

func validateID(name, id string) error {
	if len(id) > MaxMessageIDLength {
		return invalid("%s has %d characters, the limit is %d", name, len(id), MaxMessageIDLength)
	}
	if i := strings.IndexFunc(id, func(r rune) bool { return !idRune(r) && r != ';' }); i >= 0 {
		return invalid("%s %q has a character that IoT Hub does not take at byte %d: use ASCII letters, digits and -:.+%%_#*?!(),=@;$'", name, id, i)
	}
	return nil
}

// idRune reports whether r may stand in a device or module id.
func idRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	}
	return r < utf8.RuneSelf && strings.ContainsRune("-:.+%_#*?!(),=@$'", r)
}
