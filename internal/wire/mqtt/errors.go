package mqtt

import "errors"

// ErrMalformed is matched, through errors.Is, by every error about a packet
// that violates the specification, received or about to be sent, except those
// that match ErrTooLarge or ErrProtocolLevel. On receiving such a packet the
// connection must be closed. [MQTT-4.8.0-1]
var ErrMalformed = errors.New("mqtt: malformed packet")

// ErrTooLarge is returned for a packet that exceeds the limit given by the
// caller, or the protocol's own limit when encoding.
var ErrTooLarge = errors.New("mqtt: packet too large")

// ErrProtocolLevel is returned by DecodeConnect for a CONNECT of a protocol
// other than MQTT 3.1.1; a server answers it with the CONNACK return code
// ConnackBadProtocol. [MQTT-3.1.2-2]
var ErrProtocolLevel = errors.New("mqtt: protocol name or level is not MQTT 3.1.1")

// violation is one broken rule. The values are package variables, so that
// refusing a packet allocates nothing.
type violation struct {
	tag  string // normative statement, or section when the rule has no tag
	text string
}

func (v *violation) Error() string { return "mqtt: " + v.text + " [" + v.tag + "]" }

func (v *violation) Unwrap() error { return ErrMalformed }

var (
	errShort         = &violation{"section 2.2.3", "packet ends inside a field"}
	errTrailing      = &violation{"section 2.2.3", "bytes left over after the last field"}
	errLength        = &violation{"section 2.2.3", "remaining length does not match the packet"}
	errVarint        = &violation{"section 2.2.3", "remaining length is longer than four bytes"}
	errType          = &violation{"section 2.2.1", "packet type is reserved"}
	errWrongType     = &violation{"section 2.2.1", "packet is of another type"}
	errFlags         = &violation{"MQTT-2.2.2-2", "reserved header flags are wrong"}
	errUTF8          = &violation{"MQTT-1.5.3-1", "string is not valid UTF-8"}
	errNUL           = &violation{"MQTT-1.5.3-2", "string contains U+0000"}
	errStringLen     = &violation{"section 1.5.3", "string or binary field exceeds 65535 bytes"}
	errPacketID      = &violation{"MQTT-2.3.1-1", "packet identifier is zero"}
	errQoS           = &violation{"MQTT-3.3.1-4", "publish with QoS 3"}
	errDup           = &violation{"MQTT-3.3.1-2", "DUP set on a QoS 0 publish"}
	errIDOnQoS0      = &violation{"MQTT-2.3.1-5", "packet identifier on a QoS 0 publish"}
	errTopicEmpty    = &violation{"MQTT-4.7.3-1", "topic name or filter is empty"}
	errTopicWildcard = &violation{"MQTT-3.3.2-2", "topic name contains a wildcard"}
	errFilterHash    = &violation{"MQTT-4.7.1-2", "'#' is not the last level of the filter"}
	errFilterPlus    = &violation{"MQTT-4.7.1-3", "'+' does not fill a level of the filter"}
	errNoFilters     = &violation{"MQTT-3.8.3-3", "no topic filter in the payload"}
	errNoUnfilters   = &violation{"MQTT-3.10.3-2", "no topic filter in the payload"}
	errSubQoS        = &violation{"MQTT-3-8.3-4", "requested QoS is not 0, 1 or 2"}
	errSubackCode    = &violation{"MQTT-3.9.3-2", "reserved SUBACK return code"}
	errSubackEmpty   = &violation{"MQTT-3.8.4-5", "SUBACK without a return code"}
	errConnectFlags  = &violation{"MQTT-3.1.2-3", "reserved connect flag is set"}
	errWillUnset     = &violation{"MQTT-3.1.2-11", "will QoS or retain without will flag"}
	errWillQoS       = &violation{"MQTT-3.1.2-14", "will QoS is 3"}
	errPassword      = &violation{"MQTT-3.1.2-22", "password without user name"}
	errConnackFlags  = &violation{"section 3.2.2", "reserved CONNACK flags are set"}
)
