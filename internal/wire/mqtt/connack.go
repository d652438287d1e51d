package mqtt

// Return codes of a CONNACK packet, section 3.2.2.3. Others are reserved.
const (
	ConnackAccepted       byte = 0 // connection accepted
	ConnackBadProtocol    byte = 1 // protocol level not supported
	ConnackBadClientID    byte = 2 // client identifier not allowed
	ConnackUnavailable    byte = 3 // server unavailable
	ConnackBadCredentials byte = 4 // malformed user name or password
	ConnackNotAuthorized  byte = 5 // not authorized
)

// AppendConnack appends a CONNACK packet. sessionPresent counts only together
// with ConnackAccepted. [MQTT-3.2.2-4]
func AppendConnack(dst []byte, sessionPresent bool, code byte) []byte {
	var flags byte
	if sessionPresent && code == ConnackAccepted {
		flags = 1
	}
	return append(dst, byte(TypeConnack)<<4, 2, flags, code)
}

// DecodeConnack decodes a CONNACK packet. A reserved code is handed on, since
// it refuses the connection like any other. The session present flag next to a
// refusal, which a server must not send, is ignored rather than let it hide the
// reason of the refusal. [MQTT-3.2.2-4]
func DecodeConnack(frame []byte) (sessionPresent bool, code byte, err error) {
	b, err := body(frame, TypeConnack)
	if err != nil {
		return false, 0, err
	}
	if len(b) != 2 {
		return false, 0, errLength
	}
	if b[0] > 1 {
		return false, 0, errConnackFlags
	}
	return b[0] == 1 && b[1] == ConnackAccepted, b[1], nil
}
