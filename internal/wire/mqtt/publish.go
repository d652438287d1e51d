package mqtt

import "encoding/binary"

const (
	publishRetain   = 0x01
	publishQoSShift = 1
	publishDup      = 0x08
)

// PublishPacket is the content of a PUBLISH packet, section 3.3. PacketID is 0
// exactly when QoS is 0.
type PublishPacket struct {
	Topic, Payload []byte
	PacketID       uint16
	QoS            byte
	Dup, Retain    bool
}

// AppendPublish appends a PUBLISH packet.
func AppendPublish(dst []byte, p *PublishPacket) ([]byte, error) {
	if p.QoS > 2 {
		return dst, errQoS // [MQTT-3.3.1-4]
	}
	if p.QoS == 0 {
		if p.Dup {
			return dst, errDup // [MQTT-3.3.1-2]
		}
		if p.PacketID != 0 {
			return dst, errIDOnQoS0 // [MQTT-2.3.1-5]
		}
	} else if p.PacketID == 0 {
		return dst, errPacketID // [MQTT-2.3.1-1]
	}
	if len(p.Topic) > MaxStringLen {
		return dst, errStringLen // [MQTT-4.7.3-3]
	}
	if err := checkTopicName(p.Topic); err != nil {
		return dst, err
	}
	if !publishFits(p.QoS, len(p.Topic), len(p.Payload)) {
		return dst, ErrTooLarge
	}
	start := len(dst)
	dst = AppendPublishHeader(dst, p.QoS, len(p.Topic), len(p.Payload))
	if p.Dup {
		dst[start] |= publishDup
	}
	if p.Retain {
		dst[start] |= publishRetain
	}
	dst = append(dst, p.Topic...)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	return append(dst, p.Payload...), nil
}

// AppendPublishHeader appends the fixed header and the topic length of a
// PUBLISH packet. The caller appends the topic, then, if qos is not 0, two
// bytes of packet identifier, then the payload, in exactly the given lengths.
// It does not check anything: qos is at most 2, topicLen at most MaxStringLen,
// the packet at most MaxPacketLen bytes (see PublishLen), and the topic valid.
func AppendPublishHeader(dst []byte, qos byte, topicLen, payloadLen int) []byte {
	dst = appendHeader(dst, byte(TypePublish)<<4|qos<<publishQoSShift, publishRemaining(qos, topicLen, payloadLen))
	return appendUint16(dst, uint16(topicLen))
}

// PublishLen returns the length of a whole PUBLISH packet.
func PublishLen(qos byte, topicLen, payloadLen int) int {
	rem := publishRemaining(qos, topicLen, payloadLen)
	return headerLen(rem) + rem
}

func publishRemaining(qos byte, topicLen, payloadLen int) int {
	rem := 2 + topicLen + payloadLen
	if qos > 0 {
		rem += 2
	}
	return rem
}

// publishFits reports whether the protocol can carry a packet this long. The
// sum is never made, because it may overflow an int of 32 bits.
func publishFits(qos byte, topicLen, payloadLen int) bool {
	return payloadLen <= MaxRemaining-publishRemaining(qos, topicLen, 0)
}

// DecodePublish decodes a PUBLISH packet without allocating: Topic and Payload
// of the result alias frame. The topic is valid UTF-8 and contains neither
// U+0000 nor wildcards.
func DecodePublish(frame []byte) (PublishPacket, error) {
	b, err := body(frame, TypePublish)
	if err != nil {
		return PublishPacket{}, err
	}
	if len(b) < 2 {
		return PublishPacket{}, errShort
	}
	topicEnd := 2 + int(binary.BigEndian.Uint16(b))
	if topicEnd > len(b) {
		return PublishPacket{}, errShort
	}
	p := PublishPacket{
		Topic:   b[2:topicEnd:topicEnd], // [MQTT-3.3.2-1]
		Payload: b[topicEnd:],
		QoS:     frame[0] >> publishQoSShift & 3,
		Dup:     frame[0]&publishDup != 0,
		Retain:  frame[0]&publishRetain != 0,
	}
	if err := checkTopicName(p.Topic); err != nil {
		return PublishPacket{}, err
	}
	if p.QoS > 0 {
		if len(p.Payload) < 2 {
			return PublishPacket{}, errShort
		}
		if p.PacketID = binary.BigEndian.Uint16(p.Payload); p.PacketID == 0 {
			return PublishPacket{}, errPacketID // [MQTT-2.3.1-1]
		}
		p.Payload = p.Payload[2:]
	}
	return p, nil
}

// SetPublishID sets the packet identifier of an encoded PUBLISH packet in
// place. It does nothing to a packet of QoS 0, which has none, and to anything
// that is not a PUBLISH packet.
func SetPublishID(packet []byte, id uint16) {
	if PacketType(packet) != TypePublish || packet[0]>>publishQoSShift&3 == 0 {
		return
	}
	i := 1
	for i < len(packet) && i < 4 && packet[i] >= 0x80 {
		i++
	}
	i++ // at the topic length
	if i+2 > len(packet) {
		return
	}
	i += 2 + int(binary.BigEndian.Uint16(packet[i:]))
	if i+2 > len(packet) {
		return
	}
	binary.BigEndian.PutUint16(packet[i:], id)
}

// SetPublishDup sets the DUP flag of an encoded PUBLISH packet in place, as its
// sender must before sending it again. [MQTT-3.3.1-1] It does nothing to a
// packet of QoS 0 [MQTT-3.3.1-2] and to anything that is not a PUBLISH packet.
func SetPublishDup(packet []byte) {
	if PacketType(packet) == TypePublish && packet[0]>>publishQoSShift&3 != 0 {
		packet[0] |= publishDup
	}
}
