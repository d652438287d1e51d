package mqtt

import "strconv"

// Type is the kind of a control packet, the high half of its first byte.
type Type byte

// The control packets of MQTT 3.1.1, section 2.2.1. The values 0 and 15 are
// reserved.
const (
	TypeConnect     Type = 1
	TypeConnack     Type = 2
	TypePublish     Type = 3
	TypePuback      Type = 4
	TypePubrec      Type = 5
	TypePubrel      Type = 6
	TypePubcomp     Type = 7
	TypeSubscribe   Type = 8
	TypeSuback      Type = 9
	TypeUnsubscribe Type = 10
	TypeUnsuback    Type = 11
	TypePingreq     Type = 12
	TypePingresp    Type = 13
	TypeDisconnect  Type = 14
)

var typeNames = [16]string{
	TypeConnect:     "CONNECT",
	TypeConnack:     "CONNACK",
	TypePublish:     "PUBLISH",
	TypePuback:      "PUBACK",
	TypePubrec:      "PUBREC",
	TypePubrel:      "PUBREL",
	TypePubcomp:     "PUBCOMP",
	TypeSubscribe:   "SUBSCRIBE",
	TypeSuback:      "SUBACK",
	TypeUnsubscribe: "UNSUBSCRIBE",
	TypeUnsuback:    "UNSUBACK",
	TypePingreq:     "PINGREQ",
	TypePingresp:    "PINGRESP",
	TypeDisconnect:  "DISCONNECT",
}

// String returns the name the specification gives the packet, such as
// "PUBLISH".
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return "Type(" + strconv.Itoa(int(t)) + ")"
}

const (
	// MaxRemaining is the largest remaining length that four bytes can carry.
	MaxRemaining = 1<<28 - 1
	// MaxPacketLen is the length of the largest packet the protocol allows.
	MaxPacketLen = MaxRemaining + 5
	// MaxStringLen is the length of the longest string or binary field.
	MaxStringLen = 1<<16 - 1
)

// Frame returns the length of the first whole packet of src, or 0 without an
// error when more bytes are needed. maxPacket bounds the length of the whole
// packet, header included. A packet that exceeds it, a malformed remaining
// length, a reserved type, wrong flags or a length impossible for the type is
// an error as soon as the header shows it, before the body has arrived.
func Frame(src []byte, maxPacket int) (n int, err error) {
	n, err = PacketLen(src, maxPacket)
	if err != nil || n > len(src) {
		return 0, err
	}
	return n, nil
}

// PacketLen is Frame for readers that size their buffer: it returns the length
// of the first packet of src once the header is complete, even if the body has
// not arrived, and 0 while the header is incomplete. Its errors are Frame's.
func PacketLen(src []byte, maxPacket int) (n int, err error) {
	if len(src) == 0 {
		return 0, nil
	}
	if err := checkFirstByte(src[0]); err != nil {
		return 0, err
	}
	// Section 2.2.3: seven bits a byte, low first, at most four bytes. The sum
	// so far is a lower bound, so an oversized packet is refused at once.
	rem := 0
	for i := 1; ; i++ {
		if i > 4 {
			return 0, errVarint
		}
		if i >= len(src) {
			return 0, nil
		}
		rem |= int(src[i]&0x7f) << (7 * (i - 1))
		if 1+i+rem > maxPacket {
			return 0, ErrTooLarge
		}
		if src[i] < 0x80 {
			n = 1 + i + rem
			break
		}
	}
	return n, checkRemaining(Type(src[0]>>4), rem)
}

// PacketType returns the type of the packet that begins with frame. It is 0,
// a reserved value, for an empty frame.
func PacketType(frame []byte) Type {
	if len(frame) == 0 {
		return 0
	}
	return Type(frame[0] >> 4)
}

// headerFlags returns the low half of the first byte that a packet other than
// PUBLISH must have. [MQTT-2.2.2-1]
func headerFlags(t Type) byte {
	switch t {
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		return 0x02 // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
	default:
		return 0
	}
}

// checkFirstByte validates the type and flags of a packet.
func checkFirstByte(b byte) error {
	switch t := Type(b >> 4); t {
	case 0, 15:
		return errType
	case TypePublish:
		qos := b >> 1 & 3
		if qos == 3 {
			return errQoS // [MQTT-3.3.1-4]
		}
		if qos == 0 && b&publishDup != 0 {
			return errDup // [MQTT-3.3.1-2]
		}
	default:
		if b&0x0f != headerFlags(t) {
			return errFlags // [MQTT-2.2.2-2]
		}
	}
	return nil
}

// checkRemaining refuses a remaining length that no packet of type t has.
func checkRemaining(t Type, rem int) error {
	ok := true
	switch t {
	case TypeConnect:
		ok = rem >= 10 // variable header of "MQTT"; shorter names do not exist
	case TypePublish:
		ok = rem >= 3 // topic length and one character
	case TypeConnack, TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeUnsuback:
		ok = rem == 2
	case TypeSubscribe:
		ok = rem >= 2
	case TypeSuback:
		ok = rem >= 2
	case TypeUnsubscribe:
		ok = rem >= 2
	case TypePingreq, TypePingresp, TypeDisconnect:
		ok = rem == 0
	}
	if !ok {
		return errLength
	}
	return nil
}

// body returns what follows the fixed header of frame, which must be exactly
// one packet of type t.
func body(frame []byte, t Type) ([]byte, error) {
	if PacketType(frame) != t {
		return nil, errWrongType
	}
	if err := checkFirstByte(frame[0]); err != nil {
		return nil, err
	}
	rem := 0
	for i := 1; i <= 4; i++ {
		if i >= len(frame) {
			return nil, errShort
		}
		rem |= int(frame[i]&0x7f) << (7 * (i - 1))
		if frame[i] < 0x80 {
			if len(frame) != 1+i+rem {
				return nil, errLength
			}
			return frame[1+i:], nil
		}
	}
	return nil, errVarint
}

// appendHeader appends a fixed header. rem must not exceed MaxRemaining.
func appendHeader(dst []byte, first byte, rem int) []byte {
	dst = append(dst, first)
	for rem >= 0x80 {
		dst = append(dst, byte(rem)|0x80)
		rem >>= 7
	}
	return append(dst, byte(rem))
}

// headerLen returns the length of the fixed header for a remaining length.
func headerLen(rem int) int {
	switch {
	case rem < 1<<7:
		return 2
	case rem < 1<<14:
		return 3
	case rem < 1<<21:
		return 4
	default:
		return 5
	}
}
