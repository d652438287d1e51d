package mqtt

// The protocol of this package, as a CONNECT packet names it.
const (
	ProtocolName  = "MQTT"
	ProtocolLevel = 4
)

const (
	connectClean     = 0x02
	connectWill      = 0x04
	connectWillQoS   = 0x18
	connectRetain    = 0x20
	connectPassword  = 0x40
	connectUsername  = 0x80
	connectReserved  = 0x01
	connectQoSShift  = 3
	connectFixedPart = 1 + 1 + 2 // level, flags, keep-alive
)

// ConnectPacket is the content of a CONNECT packet, section 3.1.
type ConnectPacket struct {
	ProtocolName  string // "" encodes as ProtocolName
	ProtocolLevel byte   // 0 encodes as ProtocolLevel
	CleanSession  bool
	KeepAlive     uint16 // seconds, 0 for none
	// ClientID may be empty; with CleanSession false a server has to refuse
	// that with ConnackBadClientID. [MQTT-3.1.3-8]
	ClientID string
	// Username is sent when HasUsername is set or it is not empty.
	Username    string
	HasUsername bool
	// Password is sent when HasPassword is set or it is not empty; a password
	// without user name is malformed. [MQTT-3.1.2-22]
	Password    []byte
	HasPassword bool
	Will        *Will // nil for none
}

// Will is the message a server publishes when a connection ends abnormally.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

// AppendConnect appends a CONNECT packet.
func AppendConnect(dst []byte, c *ConnectPacket) ([]byte, error) {
	name, level := c.ProtocolName, c.ProtocolLevel
	if name == "" {
		name = ProtocolName
	}
	if level == 0 {
		level = ProtocolLevel
	}
	flags, err := connectFlags(c)
	if err != nil {
		return dst, err
	}
	if err := checkString(name); err != nil {
		return dst, err
	}
	if err := checkString(c.ClientID); err != nil {
		return dst, err // [MQTT-3.1.3-4]
	}
	rem := 2 + len(name) + connectFixedPart + 2 + len(c.ClientID)
	if c.Will != nil {
		rem += 2 + len(c.Will.Topic) + 2 + len(c.Will.Payload)
	}
	if flags&connectUsername != 0 {
		rem += 2 + len(c.Username)
	}
	if flags&connectPassword != 0 {
		rem += 2 + len(c.Password)
	}
	dst = appendHeader(dst, byte(TypeConnect)<<4, rem)
	dst = appendString(dst, name)
	dst = append(dst, level, flags)
	dst = appendUint16(dst, c.KeepAlive)
	// The order of the payload is fixed. [MQTT-3.1.3-1]
	dst = appendString(dst, c.ClientID) // [MQTT-3.1.3-3]
	if c.Will != nil {
		dst = appendString(dst, c.Will.Topic)
		dst = appendBinary(dst, c.Will.Payload)
	}
	if flags&connectUsername != 0 {
		dst = appendString(dst, c.Username)
	}
	if flags&connectPassword != 0 {
		dst = appendBinary(dst, c.Password)
	}
	return dst, nil
}

// connectFlags validates the optional fields of c and returns its flag byte.
func connectFlags(c *ConnectPacket) (flags byte, err error) {
	if c.CleanSession {
		flags |= connectClean
	}
	if w := c.Will; w != nil {
		if w.QoS > 2 {
			return 0, errWillQoS // [MQTT-3.1.2-14]
		}
		if len(w.Topic) > MaxStringLen || len(w.Payload) > MaxStringLen {
			return 0, errStringLen
		}
		if err := checkTopicName([]byte(w.Topic)); err != nil {
			return 0, err // [MQTT-3.1.3-10]
		}
		flags |= connectWill | w.QoS<<connectQoSShift
		if w.Retain {
			flags |= connectRetain
		}
	}
	if c.HasUsername || c.Username != "" {
		if err := checkString(c.Username); err != nil {
			return 0, err // [MQTT-3.1.3-11]
		}
		flags |= connectUsername
	}
	if c.HasPassword || len(c.Password) > 0 {
		if flags&connectUsername == 0 {
			return 0, errPassword // [MQTT-3.1.2-22]
		}
		if len(c.Password) > MaxStringLen {
			return 0, errStringLen
		}
		flags |= connectPassword
	}
	return flags, nil
}

// DecodeConnect decodes a CONNECT packet. Everything in the result is a copy.
// When the packet is of another protocol or protocol level the error is
// ErrProtocolLevel and the result holds the name and level only.
func DecodeConnect(frame []byte) (ConnectPacket, error) {
	b, err := body(frame, TypeConnect)
	if err != nil {
		return ConnectPacket{}, err
	}
	r := cursor{b}
	name, err := r.text()
	if err != nil {
		return ConnectPacket{}, err
	}
	level, err := r.byte()
	if err != nil {
		return ConnectPacket{}, err
	}
	// [MQTT-3.1.2-1] leaves the reaction to a wrong name open, [MQTT-3.1.2-2]
	// wants return code 1 for a wrong level; both are told alike, because the
	// name changed with the level (3.1 says "MQIsdp", 3).
	if string(name) != ProtocolName || level != ProtocolLevel {
		return ConnectPacket{ProtocolName: string(name), ProtocolLevel: level}, ErrProtocolLevel
	}
	flags, err := r.byte()
	if err != nil {
		return ConnectPacket{}, err
	}
	if err := checkConnectFlags(flags); err != nil {
		return ConnectPacket{}, err
	}
	c := ConnectPacket{
		ProtocolName:  ProtocolName,
		ProtocolLevel: ProtocolLevel,
		CleanSession:  flags&connectClean != 0,
	}
	if c.KeepAlive, err = r.uint16(); err != nil {
		return ConnectPacket{}, err
	}
	if err := decodeConnectPayload(&r, &c, flags); err != nil {
		return ConnectPacket{}, err
	}
	return c, nil
}

func checkConnectFlags(flags byte) error {
	if flags&connectReserved != 0 {
		return errConnectFlags // [MQTT-3.1.2-3]
	}
	if flags&connectWill == 0 {
		if flags&(connectWillQoS|connectRetain) != 0 {
			return errWillUnset // [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15]
		}
	} else if flags&connectWillQoS == connectWillQoS {
		return errWillQoS // [MQTT-3.1.2-14]
	}
	if flags&connectPassword != 0 && flags&connectUsername == 0 {
		return errPassword // [MQTT-3.1.2-22]
	}
	return nil
}

// decodeConnectPayload reads the fields that flags announce, in their fixed
// order. [MQTT-3.1.3-1]
func decodeConnectPayload(r *cursor, c *ConnectPacket, flags byte) error {
	id, err := r.text() // [MQTT-3.1.3-3] [MQTT-3.1.3-4]
	if err != nil {
		return err
	}
	c.ClientID = string(id)
	if flags&connectWill != 0 { // [MQTT-3.1.2-9]
		topic, err := r.binary()
		if err != nil {
			return err
		}
		if err := checkTopicName(topic); err != nil {
			return err // [MQTT-3.1.3-10]
		}
		payload, err := r.binary()
		if err != nil {
			return err
		}
		c.Will = &Will{
			Topic:   string(topic),
			Payload: append([]byte{}, payload...),
			QoS:     flags & connectWillQoS >> connectQoSShift,
			Retain:  flags&connectRetain != 0,
		}
	}
	if flags&connectUsername != 0 { // [MQTT-3.1.2-18] [MQTT-3.1.2-19]
		name, err := r.text() // [MQTT-3.1.3-11]
		if err != nil {
			return err
		}
		c.Username, c.HasUsername = string(name), true
	}
	if flags&connectPassword != 0 { // [MQTT-3.1.2-20] [MQTT-3.1.2-21]
		password, err := r.binary()
		if err != nil {
			return err
		}
		c.Password, c.HasPassword = append([]byte{}, password...), true
	}
	return r.end()
}
