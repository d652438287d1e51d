// Package packet encodes the few MQTT 3.1.1 packets that the bare benchmark
// loops send, apart from the codec that is measured.
package packet

import "encoding/binary"

// Connect returns a CONNECT with a clean session. Empty user and password are
// left out.
func Connect(clientID, user, password string) []byte {
	flags := byte(0x02)
	body := appendString(nil, "MQTT")
	if user != "" {
		flags |= 0x80
	}
	if password != "" {
		flags |= 0x40
	}
	body = append(body, 4, flags, 0, 240)
	body = appendString(body, clientID)
	if user != "" {
		body = appendString(body, user)
	}
	if password != "" {
		body = appendString(body, password)
	}
	return append(appendLength([]byte{0x10}, len(body)), body...)
}

// AppendPublish appends a PUBLISH with QoS 1.
func AppendPublish(dst []byte, topic string, id uint16, payload []byte) []byte {
	dst = appendLength(append(dst, 0x32), 2+len(topic)+2+len(payload))
	dst = appendString(dst, topic)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(dst, payload...)
}

// Batch returns as many equal PUBLISH packets, with ids from firstID on, as fit
// into limit bytes (at least one), their number, and the next id.
func Batch(topic string, payload []byte, limit int, firstID uint16) (batch []byte, n int, next uint16) {
	id := firstID
	for {
		if id == 0 {
			id = 1
		}
		batch = AppendPublish(batch, topic, id, payload)
		n++
		id++
		if size := len(batch) / n; len(batch)+size > limit {
			return batch, n, id
		}
	}
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func appendLength(dst []byte, n int) []byte {
	for {
		b := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(dst, b)
		}
		dst = append(dst, b|0x80)
	}
}
