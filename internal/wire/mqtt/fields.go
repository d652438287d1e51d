package mqtt

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// cursor reads the fields of a packet body in order. Every read checks what is
// left, so lengths claimed by the peer are never trusted.
type cursor struct{ b []byte }

func (c *cursor) byte() (byte, error) {
	if len(c.b) < 1 {
		return 0, errShort
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v, nil
}

func (c *cursor) uint16() (uint16, error) {
	if len(c.b) < 2 {
		return 0, errShort
	}
	v := binary.BigEndian.Uint16(c.b)
	c.b = c.b[2:]
	return v, nil
}

// packetID reads a packet identifier. [MQTT-2.3.1-1]
func (c *cursor) packetID() (uint16, error) {
	id, err := c.uint16()
	if err == nil && id == 0 {
		err = errPacketID
	}
	return id, err
}

// binary reads a length-prefixed field, aliasing the packet.
func (c *cursor) binary() ([]byte, error) {
	n, err := c.uint16()
	if err != nil {
		return nil, err
	}
	if int(n) > len(c.b) {
		return nil, errShort
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v, nil
}

// text reads a UTF-8 encoded string, section 1.5.3, aliasing the packet. A
// leading U+FEFF is kept. [MQTT-1.5.3-3]
func (c *cursor) text() ([]byte, error) {
	v, err := c.binary()
	if err != nil {
		return nil, err
	}
	return v, checkText(v)
}

// end refuses bytes after the last field.
func (c *cursor) end() error {
	if len(c.b) != 0 {
		return errTrailing
	}
	return nil
}

func appendUint16(dst []byte, v uint16) []byte { return append(dst, byte(v>>8), byte(v)) }

// appendString appends a length-prefixed field of at most MaxStringLen bytes.
func appendString(dst []byte, s string) []byte {
	return append(appendUint16(dst, uint16(len(s))), s...)
}

func appendBinary(dst, b []byte) []byte {
	return append(appendUint16(dst, uint16(len(b))), b...)
}

// checkText validates the bytes of a UTF-8 encoded string. Control characters
// other than U+0000 and non-characters are legal, if discouraged.
func checkText(b []byte) error {
	for _, c := range b {
		if c == 0 {
			return errNUL // [MQTT-1.5.3-2]
		}
	}
	if !utf8.Valid(b) {
		return errUTF8 // [MQTT-1.5.3-1]
	}
	return nil
}

// checkString is checkText, and the length limit, for a string to be sent.
func checkString(s string) error {
	if len(s) > MaxStringLen {
		return errStringLen
	}
	if strings.IndexByte(s, 0) >= 0 {
		return errNUL // [MQTT-1.5.3-2]
	}
	if !utf8.ValidString(s) {
		return errUTF8 // [MQTT-1.5.3-1]
	}
	return nil
}

const (
	ones  = 0x0101010101010101
	low7  = 0x7f * ones
	high1 = 0x80 * ones
)

// checkTopicName validates the bytes of a topic name: not empty, UTF-8, no
// U+0000, no wildcard. It looks at eight bytes at a time as long as they are
// plain ASCII, which the topics of a hub are.
func checkTopicName(b []byte) error {
	if len(b) < 8 {
		return checkTopicNameSlow(b)
	}
	// In a word w of ASCII bytes, the sum w+low7 has the high bit of a byte
	// clear only where the byte is zero, and no carry leaves a byte. '#' (0x23)
	// and '+' (0x2b) differ in bit 3 alone, so one comparison finds both. With
	// a byte above 0x7f the sums mean nothing, and the slow path decides.
	nonASCII, legal := uint64(0), uint64(high1)
	s := b
	for ; len(s) >= 16; s = s[16:] {
		v, w := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[8:])
		nonASCII |= v | w
		legal &= (v + low7) & ((v&^(0x08*ones) ^ 0x23*ones) + low7) &
			(w + low7) & ((w&^(0x08*ones) ^ 0x23*ones) + low7)
	}
	if len(s) > 8 {
		w := binary.LittleEndian.Uint64(s)
		nonASCII |= w
		legal &= (w + low7) & ((w&^(0x08*ones) ^ 0x23*ones) + low7)
	}
	w := binary.LittleEndian.Uint64(b[len(b)-8:]) // the tail, overlapping what was seen
	nonASCII |= w
	legal &= (w + low7) & ((w&^(0x08*ones) ^ 0x23*ones) + low7)
	if nonASCII&high1 != 0 || legal != high1 {
		return checkTopicNameSlow(b)
	}
	return nil
}

func checkTopicNameSlow(b []byte) error {
	if len(b) == 0 {
		return errTopicEmpty // [MQTT-4.7.3-1]
	}
	for _, c := range b {
		switch c {
		case 0:
			return errNUL // [MQTT-4.7.3-2]
		case '#', '+':
			return errTopicWildcard // [MQTT-3.3.2-2] [MQTT-4.7.1-1]
		}
	}
	if !utf8.Valid(b) {
		return errUTF8 // [MQTT-3.3.2-1]
	}
	return nil
}

// checkFilter validates the levels of a topic filter that is valid text.
func checkFilter[T string | []byte](f T) error {
	if len(f) == 0 {
		return errTopicEmpty // [MQTT-4.7.3-1]
	}
	for i := 0; i < len(f); i++ {
		switch f[i] {
		case '#': // [MQTT-4.7.1-2]
			if i != len(f)-1 || i > 0 && f[i-1] != '/' {
				return errFilterHash
			}
		case '+': // [MQTT-4.7.1-3]
			if i > 0 && f[i-1] != '/' || i < len(f)-1 && f[i+1] != '/' {
				return errFilterPlus
			}
		}
	}
	return nil
}
