package engine

import (
	"fmt"
	"strings"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// apiVersion is the IoT Hub API the clients ask for.
const apiVersion = "2021-04-12"

// maxPublish is the largest PUBLISH packet that IoT Hub takes; a bigger one
// costs the connection.
const maxPublish = 256 << 10

// MQTTIdentity is what the MQTT engine says of itself.
type MQTTIdentity struct {
	Identity    iothub.Identity
	HostName    string // the hub's, also behind a gateway; a port is left out
	ProductInfo string
	ModelID     string
	AuthChain   string
}

// Validate reports why the identity cannot speak MQTT.
func (id *MQTTIdentity) Validate() error {
	if err := id.Identity.Validate(); err != nil {
		return err
	}
	if strings.ContainsAny(id.Identity.String(), "+#") {
		// [MQTT-3.3.2-2]: a topic name must not contain wildcards.
		return &iothub.Error{Kind: iothub.KindInvalidArgument,
			Err: fmt.Errorf("the id %q cannot be used over MQTT: + and # are wildcards in topics", id.Identity)}
	}
	return nil
}

// ClientID returns "device" or "device/module".
func (id *MQTTIdentity) ClientID() string { return id.Identity.String() }

// Username returns the user name for CONNECT.
func (id *MQTTIdentity) Username() string {
	return string(topic.AppendUsername(nil, &topic.Username{
		HostName: id.HostName, DeviceID: id.Identity.DeviceID, ModuleID: id.Identity.ModuleID,
		APIVersion: apiVersion, DeviceClientType: id.ProductInfo, ModelID: id.ModelID,
		AuthChain: id.AuthChain,
	}))
}

// mqttEncoder encodes telemetry as QoS 1 PUBLISH packets with a blank id.
type mqttEncoder struct {
	base    []byte
	reserve int // bytes by which the base may grow when a message is readdressed
}

// NewMQTTEncoder returns the encoder for events of identity id. Where the device may
// become another one before they are sent, reassignable, what it takes can be carried
// with the longest id too.
func NewMQTTEncoder(id iothub.Identity, reassignable bool) Encoder {
	e := &mqttEncoder{base: topic.AppendTelemetryBase(nil, id.DeviceID, id.ModuleID)}
	if reassignable {
		e.reserve = topic.MaxIDLen - len(id.DeviceID)
	}
	return e
}

// Readdress replaces the topic of a PUBLISH packet up to its properties.
func (e *mqttEncoder) Readdress(packet []byte, from Encoder) []byte {
	old := from.(*mqttEncoder)
	header := 1 // and the remaining length [MQTT-2.2.3]
	for packet[header]&0x80 != 0 {
		header++
	}
	header++
	topicLen := int(packet[header])<<8 | int(packet[header+1])
	rest := packet[header+2+len(old.base):] // properties, packet id, payload
	topicLen += len(e.base) - len(old.base)
	payload := len(rest) - (topicLen - len(e.base)) - 2
	dst := make([]byte, 0, mqtt.PublishLen(1, topicLen, payload))
	dst = mqtt.AppendPublishHeader(dst, 1, topicLen, payload)
	dst[0] = packet[0] // DUP, if it was sent
	return append(append(dst, e.base...), rest...)
}

// AppendMessage appends m as a PUBLISH packet with packet id 0.
func (e *mqttEncoder) AppendMessage(dst []byte, m *iothub.Message) ([]byte, error) {
	start := len(dst)
	// The header is as long as its length field, which is known only once
	// the properties are escaped: guess, and move the rest if wrong.
	guess := len(e.base) + 32*len(m.Properties)
	header := mqtt.PublishLen(1, guess, len(m.Payload)) - guess - len(m.Payload) - 2
	dst = append(dst, "\x00\x00\x00\x00\x00\x00\x00"[:header]...)
	topicStart := len(dst)
	dst = append(dst, e.base...)
	dst, plain := appendBag(dst, m)
	// A message whose text needed no escaping is ASCII throughout; for any
	// other, and any large one, it is worth looking closely.
	if !plain || len(dst)-start+len(m.Payload) > iothub.MaxMessageSize/2 {
		if err := m.Validate(); err != nil {
			return dst, err
		}
	}
	topicLen := len(dst) - topicStart
	if topicLen+e.reserve > 65535 { // [MQTT-1.5.3]
		return dst, &iothub.Error{Op: "send", Kind: iothub.KindInvalidArgument,
			Err: fmt.Errorf("the properties take %d bytes in the topic, MQTT allows 65535 with the topic name", topicLen)}
	}
	total := mqtt.PublishLen(1, topicLen, len(m.Payload))
	if total+e.reserve > maxPublish {
		return dst, &iothub.Error{Op: "send", Kind: iothub.KindMessageTooLarge, Code: 413001,
			Err: fmt.Errorf("message takes %d bytes as an MQTT packet (payload %d), the limit is %d", total, len(m.Payload), maxPublish)}
	}
	if real := total - topicLen - len(m.Payload) - 2; real != header {
		if real > header {
			dst = append(dst, "\x00\x00\x00"[:real-header]...)
		}
		copy(dst[start+real:], dst[topicStart:topicStart+topicLen])
		dst = dst[:start+real+topicLen]
	}
	mqtt.AppendPublishHeader(dst[start:start], 1, topicLen, len(m.Payload))
	dst = append(dst, 0, 0) // the packet id, set when it is written
	return append(dst, m.Payload...), nil
}

// appendBag appends the properties of m in the order of the C SDK:
// application properties, then system properties, then diagnostics. plain
// reports that they were certainly valid.
func appendBag(dst []byte, m *iothub.Message) (bag []byte, plain bool) {
	start := len(dst)
	plain = true
	for k, v := range m.Properties {
		if len(dst) > start {
			dst = append(dst, '&')
		}
		before := len(dst)
		dst = topic.AppendEscaped(dst, k)
		dst = append(dst, '=')
		dst = topic.AppendEscaped(dst, v)
		if k == "" || len(dst)-before != len(k)+len(v)+1 {
			plain = false
		}
	}
	if !hasSystemProperties(m) {
		return dst, plain
	}
	return appendSystemProperties(dst, start, m), false
}

func appendSystemProperties(dst []byte, start int, m *iothub.Message) []byte {
	dst = appendSystem(dst, start, topic.EscapedCorrelationID, m.CorrelationID)
	dst = appendSystem(dst, start, topic.EscapedMessageID, m.MessageID)
	dst = appendSystem(dst, start, topic.EscapedUserID, m.UserID)
	dst = appendSystem(dst, start, topic.EscapedContentType, m.ContentType)
	dst = appendSystem(dst, start, topic.EscapedContentEncoding, m.ContentEncoding)
	if !m.CreationTime.IsZero() {
		var b [32]byte
		t := m.CreationTime.UTC().AppendFormat(b[:0], "2006-01-02T15:04:05.000Z")
		dst = appendSystem(dst, start, topic.EscapedCreationTime, string(t))
	}
	dst = appendSystem(dst, start, topic.EscapedMessageSchema, m.Schema)
	iface := m.InterfaceID
	if m.Security {
		iface = iothub.SecurityInterfaceID
	}
	dst = appendSystem(dst, start, topic.EscapedInterfaceID, iface)
	dst = appendSystem(dst, start, topic.EscapedOutputName, m.OutputName)
	dst = appendSystem(dst, start, topic.EscapedComponentName, m.Component)
	dst = appendSystem(dst, start, topic.EscapedDiagnosticID, m.DiagnosticID)
	return appendSystem(dst, start, topic.EscapedDiagnosticContext, m.DiagnosticContext)
}

// hasSystemProperties spares the plain message a dozen looks.
func hasSystemProperties(m *iothub.Message) bool {
	return len(m.CorrelationID)|len(m.MessageID)|len(m.UserID)|len(m.ContentType)|len(m.ContentEncoding)|
		len(m.Schema)|len(m.InterfaceID)|len(m.OutputName)|len(m.Component)|
		len(m.DiagnosticID)|len(m.DiagnosticContext) != 0 || m.Security || !m.CreationTime.IsZero()
}

func appendSystem(dst []byte, start int, key, value string) []byte {
	if value == "" {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, '&')
	}
	dst = append(dst, key...)
	return topic.AppendEscaped(dst, value)
}
