package mqtt

// AppendAck appends a packet that consists of a packet identifier: t is
// TypePuback, TypePubrec, TypePubrel, TypePubcomp or TypeUnsuback. id must not
// be 0; it is the one of the packet that is acknowledged. [MQTT-2.3.1-6]
// [MQTT-2.3.1-7]
func AppendAck(dst []byte, t Type, id uint16) []byte {
	return append(dst, byte(t)<<4|headerFlags(t), 2, byte(id>>8), byte(id))
}

// DecodeAck decodes a packet of one of the types that AppendAck encodes. A
// packet identifier of 0, which acknowledges nothing, is malformed.
func DecodeAck(frame []byte) (id uint16, err error) {
	t := PacketType(frame)
	switch t {
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeUnsuback:
	default:
		return 0, errWrongType
	}
	b, err := body(frame, t)
	if err != nil {
		return 0, err
	}
	if len(b) != 2 {
		return 0, errLength
	}
	id = uint16(b[0])<<8 | uint16(b[1])
	if id == 0 {
		return 0, errPacketID
	}
	return id, nil
}

// AppendEmpty appends a packet that is a fixed header only: t is TypePingreq,
// TypePingresp or TypeDisconnect.
func AppendEmpty(dst []byte, t Type) []byte {
	return append(dst, byte(t)<<4, 0)
}

// DecodeEmpty checks a packet of one of the types that AppendEmpty encodes.
// [MQTT-3.14.1-1]
func DecodeEmpty(frame []byte) error {
	t := PacketType(frame)
	switch t {
	case TypePingreq, TypePingresp, TypeDisconnect:
	default:
		return errWrongType
	}
	b, err := body(frame, t)
	if err != nil {
		return err
	}
	if len(b) != 0 {
		return errLength
	}
	return nil
}
