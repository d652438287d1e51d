package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// vector is one packet in both forms. decode turns the bytes into value, encode
// value into the bytes.
type vector struct {
	name  string
	bytes string
	value any
}

type (
	connackValue struct {
		sessionPresent bool
		code           byte
	}
	ackValue struct {
		t  Type
		id uint16
	}
	subscribeValue struct {
		id   uint16
		subs []Subscription
	}
	subackValue struct {
		id    uint16
		codes []byte
	}
	unsubscribeValue struct {
		id      uint16
		filters []string
	}
	emptyValue struct{ t Type }
)

var vectors = []vector{
	{
		"connect minimal", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
		ConnectPacket{ProtocolName: "MQTT", ProtocolLevel: 4, CleanSession: true},
	},
	{
		"connect device with empty password", "\x10\x15\x00\x04MQTT\x04\xc0\x00\xf0\x00\x04dev1\x00\x01u\x00\x00",
		ConnectPacket{
			ProtocolName: "MQTT", ProtocolLevel: 4, KeepAlive: 240, ClientID: "dev1",
			Username: "u", HasUsername: true, Password: []byte{}, HasPassword: true,
		},
	},
	{
		"connect with empty user name", "\x10\x12\x00\x04MQTT\x04\x82\x00\x3c\x00\x04dev1\x00\x00",
		ConnectPacket{
			ProtocolName: "MQTT", ProtocolLevel: 4, CleanSession: true, KeepAlive: 60, ClientID: "dev1", HasUsername: true,
		},
	},
	{
		"connect with everything",
		"\x10\x39\x00\x04MQTT\x04\xee\xff\xff\x00\x09dev1/mod1\x00\x09devices/x\x00\x04gone\x00\x07hub/dev\x00\x08\x00\xff\xfe\x01pass",
		ConnectPacket{
			ProtocolName: "MQTT", ProtocolLevel: 4, CleanSession: true, KeepAlive: 65535, ClientID: "dev1/mod1",
			Username: "hub/dev", HasUsername: true, Password: []byte("\x00\xff\xfe\x01pass"), HasPassword: true,
			Will: &Will{Topic: "devices/x", Payload: []byte("gone"), QoS: 1, Retain: true},
		},
	},
	{
		"connect with empty will QoS 2", "\x10\x15\x00\x04MQTT\x04\x14\x00\x00\x00\x02id\x00\x03a/b\x00\x00",
		ConnectPacket{
			ProtocolName: "MQTT", ProtocolLevel: 4, ClientID: "id",
			Will: &Will{Topic: "a/b", Payload: []byte{}, QoS: 2},
		},
	},
	{"connack accepted", "\x20\x02\x00\x00", connackValue{false, ConnackAccepted}},
	{"connack session present", "\x20\x02\x01\x00", connackValue{true, ConnackAccepted}},
	{"connack not authorized", "\x20\x02\x00\x05", connackValue{false, ConnackNotAuthorized}},
	{"connack reserved code", "\x20\x02\x00\xff", connackValue{false, 255}},
	{"publish QoS 0", "\x30\x07\x00\x03a/bhi", PublishPacket{Topic: []byte("a/b"), Payload: []byte("hi")}},
	{"publish empty payload", "\x30\x05\x00\x03a/b", PublishPacket{Topic: []byte("a/b"), Payload: []byte{}}},
	{
		"publish retained", "\x31\x05\x00\x01a\x00\x00",
		PublishPacket{Topic: []byte("a"), Payload: []byte{0, 0}, Retain: true},
	},
	{
		"publish QoS 1", "\x32\x09\x00\x03a/b\x12\x34hi",
		PublishPacket{Topic: []byte("a/b"), Payload: []byte("hi"), PacketID: 0x1234, QoS: 1},
	},
	{
		"publish QoS 2 dup retained", "\x3d\x07\x00\x03a/b\xff\xff",
		PublishPacket{Topic: []byte("a/b"), Payload: []byte{}, PacketID: 0xffff, QoS: 2, Dup: true, Retain: true},
	},
	{
		"publish long ASCII topic", "\x30\x1b\x00\x18devices/d/messages/event{",
		PublishPacket{Topic: []byte("devices/d/messages/event"), Payload: []byte("{")},
	},
	{
		"publish UTF-8 topic", "\x30\x12\x00\x10devices/ä/\U0001f600!",
		PublishPacket{Topic: []byte("devices/ä/\U0001f600!"), Payload: []byte{}},
	},
	{
		"publish topic with BOM and control character", "\x30\x08\x00\x06\ufeff\x01\u0085",
		PublishPacket{Topic: []byte("\ufeff\x01\u0085"), Payload: []byte{}},
	},
	{"puback", "\x40\x02\x00\x01", ackValue{TypePuback, 1}},
	{"pubrec", "\x50\x02\x01\x00", ackValue{TypePubrec, 256}},
	{"pubrel", "\x62\x02\xff\xff", ackValue{TypePubrel, 65535}},
	{"pubcomp", "\x70\x02\x12\x34", ackValue{TypePubcomp, 0x1234}},
	{"unsuback", "\xb0\x02\x00\x0a", ackValue{TypeUnsuback, 10}},
	{
		"subscribe", "\x82\x0e\x00\x0a\x00\x03a/b\x01\x00\x03c/#\x02",
		subscribeValue{10, []Subscription{{"a/b", 1}, {"c/#", 2}}},
	},
	{
		"subscribe wildcards", "\x82\x17\x00\x01\x00\x01#\x00\x00\x01+\x00\x00\x05+/+/#\x00\x00\x02/+\x00",
		subscribeValue{1, []Subscription{{"#", 0}, {"+", 0}, {"+/+/#", 0}, {"/+", 0}}},
	},
	{"suback", "\x90\x06\x00\x0a\x00\x01\x02\x80", subackValue{10, []byte{0, 1, 2, SubackFailure}}},
	{"unsubscribe", "\xa2\x0c\x00\x0a\x00\x03a/b\x00\x03c/#", unsubscribeValue{10, []string{"a/b", "c/#"}}},
	{"pingreq", "\xc0\x00", emptyValue{TypePingreq}},
	{"pingresp", "\xd0\x00", emptyValue{TypePingresp}},
	{"disconnect", "\xe0\x00", emptyValue{TypeDisconnect}},
}

// decodeAny decodes a packet of any type with the decoder for its type.
func decodeAny(frame []byte) (any, error) {
	switch t := PacketType(frame); t {
	case TypeConnect:
		return wrap(DecodeConnect(frame))
	case TypeConnack:
		sp, code, err := DecodeConnack(frame)
		return wrap(connackValue{sp, code}, err)
	case TypePublish:
		return wrap(DecodePublish(frame))
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeUnsuback:
		id, err := DecodeAck(frame)
		return wrap(ackValue{t, id}, err)
	case TypeSubscribe:
		id, subs, err := DecodeSubscribe(frame)
		return wrap(subscribeValue{id, subs}, err)
	case TypeSuback:
		id, codes, err := DecodeSuback(frame)
		return wrap(subackValue{id, codes}, err)
	case TypeUnsubscribe:
		id, filters, err := DecodeUnsubscribe(frame)
		return wrap(unsubscribeValue{id, filters}, err)
	case TypePingreq, TypePingresp, TypeDisconnect:
		return wrap(emptyValue{t}, DecodeEmpty(frame))
	default:
		return nil, errType
	}
}

func wrap[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// encodeAny is the inverse of decodeAny.
func encodeAny(dst []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case ConnectPacket:
		return AppendConnect(dst, &v)
	case connackValue:
		return AppendConnack(dst, v.sessionPresent, v.code), nil
	case PublishPacket:
		return AppendPublish(dst, &v)
	case ackValue:
		return AppendAck(dst, v.t, v.id), nil
	case subscribeValue:
		return AppendSubscribe(dst, v.id, v.subs)
	case subackValue:
		return AppendSuback(dst, v.id, v.codes), nil
	case unsubscribeValue:
		return AppendUnsubscribe(dst, v.id, v.filters)
	case emptyValue:
		return AppendEmpty(dst, v.t), nil
	default:
		return dst, fmt.Errorf("no encoder for %T", value)
	}
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			b := []byte(v.bytes)
			if n, err := Frame(append(b, 0xff, 0xff), 1<<20); n != len(b) || err != nil {
				t.Fatalf("Frame = %d, %v, want %d", n, err, len(b))
			}
			got, err := decodeAny(b)
			if err != nil {
				t.Fatalf("decode: %v", err)
			}
			if !reflect.DeepEqual(got, v.value) {
				t.Errorf("decode = %+v, want %+v", got, v.value)
			}
			enc, err := encodeAny([]byte("prefix"), v.value)
			if err != nil {
				t.Fatalf("encode: %v", err)
			}
			if want := "prefix" + v.bytes; string(enc) != want {
				t.Errorf("encode = %q, want %q", enc, want)
			}
		})
	}
}

// TestFrameBySteps feeds every vector a byte at a time: nothing is reported
// until the packet is whole.
func TestFrameBySteps(t *testing.T) {
	for _, v := range vectors {
		for i := range len(v.bytes) {
			if n, err := Frame([]byte(v.bytes[:i]), 1<<20); n != 0 || err != nil {
				t.Errorf("%s: Frame of %d bytes = %d, %v", v.name, i, n, err)
			}
		}
	}
}

// TestTruncated cuts every vector short in its body, with a remaining length
// that agrees: an error or another valid packet, never a panic.
func TestTruncated(t *testing.T) {
	for _, v := range vectors {
		for i := 2; i < len(v.bytes); i++ {
			b := append([]byte{v.bytes[0], byte(i - 2)}, v.bytes[2:i]...)
			got, err := decodeAny(b)
			if err == nil {
				if enc, err := encodeAny(nil, got); err != nil || !bytes.Equal(enc, b) {
					t.Errorf("%s cut to %d bytes: %q, %v", v.name, i, enc, err)
				}
			} else if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d bytes: %v", v.name, i, err)
			}
		}
	}
}

func TestFrameErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		bytes string
		max   int
		want  error
	}{
		{"type 0", "\x00", 100, errType},
		{"type 15", "\xf0", 100, errType},
		{"connect flags", "\x11", 100, errFlags},
		{"connack flags", "\x28", 100, errFlags},
		{"puback flags", "\x42", 100, errFlags},
		{"pubrel flags", "\x60", 100, errFlags},
		{"subscribe flags", "\x80", 100, errFlags},
		{"subscribe flags set twice", "\x83", 100, errFlags},
		{"unsubscribe flags", "\xa0", 100, errFlags},
		{"pingreq flags", "\xc1", 100, errFlags},
		{"disconnect flags", "\xe8", 100, errFlags},
		{"publish QoS 3", "\x36", 100, errQoS},
		{"publish QoS 0 dup", "\x38", 100, errDup},
		{"connect too short", "\x10\x09", 100, errLength},
		{"connack length", "\x20\x03", 100, errLength},
		{"puback length", "\x40\x00", 100, errLength},
		{"pubrel length", "\x62\x04", 100, errLength},
		{"unsuback length", "\xb0\x01", 100, errLength},
		{"publish length", "\x30\x02", 100, errLength},
		{"subscribe length", "\x82\x00", 100, errLength},
		{"pingreq length", "\xc0\x01", 100, errLength},
		{"disconnect length", "\xe0\x80\x01", 1000, errLength},
		{"five length bytes", "\x30\x80\x80\x80\x80", MaxPacketLen, errVarint},
		{"five length bytes with value", "\x30\xff\xff\xff\xff\x01", MaxPacketLen, errVarint},
		{"over the limit by one", "\x30\x63", 100, ErrTooLarge},
		{"over the limit with half a length", "\x30\x80\x80\x40", 1 << 18, ErrTooLarge},
		{"over the limit before the length ends", "\x30\xff\xff", 1 << 13, ErrTooLarge},
		{"limit 0", "\xc0\x00", 0, ErrTooLarge},
		{"negative limit", "\xc0\x00", -1, ErrTooLarge},
	} {
		if n, err := Frame([]byte(tc.bytes), tc.max); n != 0 || !errors.Is(err, tc.want) {
			t.Errorf("%s: Frame = %d, %v, want %v", tc.name, n, err, tc.want)
		}
	}
}

func TestFrameLimits(t *testing.T) {
	b := append([]byte("\x30\x62"), make([]byte, 98)...)
	if n, err := Frame(b, 100); n != 100 || err != nil {
		t.Errorf("packet as long as the limit: %d, %v", n, err)
	}
	// The largest packet, header only: its length is known, its body awaited.
	b = []byte("\x30\xff\xff\xff\x7f")
	if n, err := PacketLen(b, MaxPacketLen); n != MaxPacketLen || err != nil {
		t.Errorf("PacketLen = %d, %v", n, err)
	}
	if n, err := Frame(b, MaxPacketLen); n != 0 || err != nil {
		t.Errorf("Frame = %d, %v", n, err)
	}
	// 3.1.1 does not ask for the shortest form of a remaining length.
	b = []byte("\x40\x82\x80\x00\x00\x01")
	if n, err := Frame(b, 100); n != 6 || err != nil {
		t.Errorf("Frame of a padded length = %d, %v", n, err)
	}
	if id, err := DecodeAck(b); id != 1 || err != nil {
		t.Errorf("DecodeAck of a padded length = %d, %v", id, err)
	}
	if n, err := Frame(nil, 100); n != 0 || err != nil {
		t.Errorf("Frame of nothing = %d, %v", n, err)
	}
}

func TestRemainingLengthBoundaries(t *testing.T) {
	for _, rem := range []int{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, MaxRemaining} {
		h := appendHeader(nil, 0x30, rem)
		if len(h) != headerLen(rem) {
			t.Errorf("header of %d: % x, headerLen %d", rem, h, headerLen(rem))
		}
		if rem < 3 {
			continue
		}
		if n, err := PacketLen(h, MaxPacketLen); n != len(h)+rem || err != nil {
			t.Errorf("PacketLen of %d: %d, %v", rem, n, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	const mqtt = "\x00\x04MQTT\x04"
	for _, tc := range []struct {
		name string
		body string // behind the fixed header
		b0   byte
		want error
	}{
		{"connect reserved flag", mqtt + "\x03\x00\x00\x00\x00", 0x10, errConnectFlags},
		{"connect will QoS without will", mqtt + "\x08\x00\x00\x00\x00", 0x10, errWillUnset},
		{"connect will retain without will", mqtt + "\x20\x00\x00\x00\x00", 0x10, errWillUnset},
		{"connect will QoS 3", mqtt + "\x1c\x00\x00\x00\x00", 0x10, errWillQoS},
		{"connect password without user name", mqtt + "\x42\x00\x00\x00\x00\x00\x00", 0x10, errPassword},
		{"connect missing user name", mqtt + "\x82\x00\x00\x00\x00", 0x10, errShort},
		{"connect missing password", mqtt + "\xc2\x00\x00\x00\x00\x00\x00", 0x10, errShort},
		{"connect missing will", mqtt + "\x06\x00\x00\x00\x00", 0x10, errShort},
		{"connect missing will payload", mqtt + "\x06\x00\x00\x00\x00\x00\x01a", 0x10, errShort},
		{"connect trailing bytes", mqtt + "\x02\x00\x00\x00\x00x", 0x10, errTrailing},
		{"connect user name without flag", mqtt + "\x02\x00\x00\x00\x01i\x00\x01u", 0x10, errTrailing},
		{"connect client id NUL", mqtt + "\x02\x00\x00\x00\x01\x00", 0x10, errNUL},
		{"connect client id UTF-8", mqtt + "\x02\x00\x00\x00\x01\xff", 0x10, errUTF8},
		{"connect client id surrogate", mqtt + "\x02\x00\x00\x00\x03\xed\xa0\x80", 0x10, errUTF8},
		{"connect client id overlong", mqtt + "\x02\x00\x00\x00\x02\xc0\x80", 0x10, errUTF8},
		{"connect user name UTF-8", mqtt + "\x82\x00\x00\x00\x00\x00\x01\x80", 0x10, errUTF8},
		{"connect will topic wildcard", mqtt + "\x06\x00\x00\x00\x00\x00\x01#\x00\x00", 0x10, errTopicWildcard},
		{"connect will topic empty", mqtt + "\x06\x00\x00\x00\x00\x00\x00\x00\x00", 0x10, errTopicEmpty},
		{"connect MQTT 3.1", "\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", 0x10, ErrProtocolLevel},
		{"connect MQTT 5", "\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", 0x10, ErrProtocolLevel},
		{"connect other name", "\x00\x04mqtt\x04\x02\x00\x00\x00\x00", 0x10, ErrProtocolLevel},
		{"connect bridge", "\x00\x04MQTT\x84\x02\x00\x00\x00\x00", 0x10, ErrProtocolLevel},
		{"connect name past the end", "\xff\xffMQTT\x04\x02\x00\x00\x00\x00", 0x10, errShort},
		{"connack flags", "\x02\x00", 0x20, errConnackFlags},
		{"connack length", "\x00", 0x20, errLength},
		{"publish empty topic", "\x00\x00x", 0x30, errTopicEmpty},
		{"publish '#'", "\x00\x01#", 0x30, errTopicWildcard},
		{"publish '+' in a long topic", "\x00\x0cdevices/+/ab", 0x30, errTopicWildcard},
		{"publish '#' behind a non-ASCII character", "\x00\x0cdevices/ä/#", 0x30, errTopicWildcard},
		{"publish NUL", "\x00\x09devices/\x00", 0x30, errNUL},
		{"publish NUL behind a non-ASCII character", "\x00\x0bdevices/ä\x00", 0x30, errNUL},
		{"publish UTF-8", "\x00\x09devices/\xff", 0x30, errUTF8},
		{"publish half a character", "\x00\x09devices/\xc3", 0x30, errUTF8},
		{"publish topic past the end", "\x00\x09devices/", 0x30, errShort},
		{"publish topic length cut", "\x00", 0x30, errShort},
		{"publish QoS 1 without id", "\x00\x01a\x01", 0x32, errShort},
		{"publish QoS 1 id 0", "\x00\x01a\x00\x00", 0x32, errPacketID},
		{"publish QoS 2 id 0", "\x00\x01a\x00\x00", 0x34, errPacketID},
		{"publish QoS 3", "\x00\x01a\x00\x01", 0x36, errQoS},
		{"publish dup QoS 0", "\x00\x01a", 0x38, errDup},
		{"puback id 0", "\x00\x00", 0x40, errPacketID},
		{"puback length", "\x00\x01\x00", 0x40, errLength},
		{"pubrel flags", "\x00\x01", 0x60, errFlags},
		{"subscribe id 0", "\x00\x00\x00\x01a\x00", 0x82, errPacketID},
		{"subscribe no id", "\x00", 0x82, errShort},
		{"subscribe no filter", "\x00\x01", 0x82, errNoFilters},
		{"subscribe empty filter", "\x00\x01\x00\x00\x00", 0x82, errTopicEmpty},
		{"subscribe no QoS", "\x00\x01\x00\x01a", 0x82, errShort},
		{"subscribe QoS 3", "\x00\x01\x00\x01a\x03", 0x82, errSubQoS},
		{"subscribe QoS reserved bits", "\x00\x01\x00\x01a\x80", 0x82, errSubQoS},
		{"subscribe second filter cut", "\x00\x01\x00\x01a\x00\x00\x02b", 0x82, errShort},
		{"subscribe '#' inside", "\x00\x01\x00\x03#/a\x00", 0x82, errFilterHash},
		{"subscribe '#' behind text", "\x00\x01\x00\x02a#\x00", 0x82, errFilterHash},
		{"subscribe '+' behind text", "\x00\x01\x00\x02a+\x00", 0x82, errFilterPlus},
		{"subscribe '+' before text", "\x00\x01\x00\x02+a\x00", 0x82, errFilterPlus},
		{"subscribe NUL", "\x00\x01\x00\x01\x00\x00", 0x82, errNUL},
		{"subscribe UTF-8", "\x00\x01\x00\x01\xff\x00", 0x82, errUTF8},
		{"subscribe flags", "\x00\x01\x00\x01a\x00", 0x80, errFlags},
		{"suback id 0", "\x00\x00\x00", 0x90, errPacketID},
		{"suback no code", "\x00\x01", 0x90, errSubackEmpty},
		{"suback code 3", "\x00\x01\x03", 0x90, errSubackCode},
		{"suback code 0x81", "\x00\x01\x81", 0x90, errSubackCode},
		{"unsubscribe id 0", "\x00\x00\x00\x01a", 0xa2, errPacketID},
		{"unsubscribe no filter", "\x00\x01", 0xa2, errNoUnfilters},
		{"unsubscribe cut", "\x00\x01\x00\x02a", 0xa2, errShort},
		{"unsubscribe half a length", "\x00\x01\x00\x01a\x00", 0xa2, errShort},
		{"unsubscribe '#' inside", "\x00\x01\x00\x03#/a", 0xa2, errFilterHash},
		{"pingreq body", "x", 0xc0, errLength},
		{"disconnect flags", "", 0xe1, errFlags},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := append([]byte{tc.b0, byte(len(tc.body))}, tc.body...)
			_, err := decodeAny(b)
			if err != tc.want { //nolint:errorlint // the very rule, not a kind
				t.Fatalf("err = %v, want %v", err, tc.want)
			}
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrProtocolLevel) {
				t.Errorf("%v matches no exported error", err)
			}
			if err.Error() == "" || !strings.HasPrefix(err.Error(), "mqtt: ") {
				t.Errorf("text %q", err)
			}
		})
	}
}

// TestDecodersCheckTheFrame hands every decoder what is not one packet of its
// type.
func TestDecodersCheckTheFrame(t *testing.T) {
	decoders := map[Type]func([]byte) error{
		TypeConnect:     func(b []byte) error { _, err := DecodeConnect(b); return err },
		TypeConnack:     func(b []byte) error { _, _, err := DecodeConnack(b); return err },
		TypePublish:     func(b []byte) error { _, err := DecodePublish(b); return err },
		TypePuback:      func(b []byte) error { _, err := DecodeAck(b); return err },
		TypeSubscribe:   func(b []byte) error { _, _, err := DecodeSubscribe(b); return err },
		TypeSuback:      func(b []byte) error { _, _, err := DecodeSuback(b); return err },
		TypeUnsubscribe: func(b []byte) error { _, _, err := DecodeUnsubscribe(b); return err },
		TypePingreq:     DecodeEmpty,
	}
	for typ, decode := range decoders {
		first := byte(typ)<<4 | headerFlags(typ)
		for _, b := range []string{
			"",
			"\x00\x00",
			string(first),
			string([]byte{first}),
			string([]byte{first, 1}),
			string([]byte{first, 0, 0}),
			string([]byte{first, 0x80}),
			string([]byte{first, 0x80, 0x80, 0x80, 0x80, 0}),
			"\xf0\x00",
		} {
			if err := decode([]byte(b)); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v of %q: %v", typ, b, err)
			}
		}
		for _, v := range vectors {
			got := PacketType([]byte(v.bytes))
			if got == typ || typ == TypePuback && isAck(got) || typ == TypePingreq && got >= TypePingreq {
				continue
			}
			if err := decode([]byte(v.bytes)); err != errWrongType { //nolint:errorlint // the very rule
				t.Errorf("%v of %s: %v", typ, v.name, err)
			}
		}
	}
}

func isAck(t Type) bool {
	return t >= TypePuback && t <= TypePubcomp || t == TypeUnsuback
}

func TestProtocolLevelIsReported(t *testing.T) {
	c, err := DecodeConnect([]byte("\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00"))
	if !errors.Is(err, ErrProtocolLevel) || c.ProtocolName != "MQIsdp" || c.ProtocolLevel != 3 {
		t.Errorf("%+v, %v", c, err)
	}
	// Other protocols can be encoded, for tests of servers.
	b, err := AppendConnect(nil, &ConnectPacket{ProtocolName: "MQTT", ProtocolLevel: 5})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = DecodeConnect(b); !errors.Is(err, ErrProtocolLevel) || c.ProtocolLevel != 5 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestEncodeErrors(t *testing.T) {
	long := strings.Repeat("x", MaxStringLen+1)
	for _, tc := range []struct {
		name  string
		value any
		want  error
	}{
		{"connect client id length", ConnectPacket{ClientID: long}, errStringLen},
		{"connect client id NUL", ConnectPacket{ClientID: "a\x00"}, errNUL},
		{"connect client id UTF-8", ConnectPacket{ClientID: "a\xff"}, errUTF8},
		{"connect protocol name", ConnectPacket{ProtocolName: "\xff"}, errUTF8},
		{"connect user name", ConnectPacket{Username: "\xff"}, errUTF8},
		{"connect password alone", ConnectPacket{Password: []byte("x")}, errPassword},
		{"connect empty password alone", ConnectPacket{HasPassword: true}, errPassword},
		{"connect password length", ConnectPacket{Username: "u", Password: []byte(long)}, errStringLen},
		{"connect will QoS", ConnectPacket{Will: &Will{Topic: "a", QoS: 3}}, errWillQoS},
		{"connect will topic", ConnectPacket{Will: &Will{Topic: "a/+"}}, errTopicWildcard},
		{"connect will topic length", ConnectPacket{Will: &Will{Topic: long}}, errStringLen},
		{"connect will payload length", ConnectPacket{Will: &Will{Topic: "a", Payload: []byte(long)}}, errStringLen},
		{"publish QoS", PublishPacket{Topic: []byte("a"), QoS: 3}, errQoS},
		{"publish dup", PublishPacket{Topic: []byte("a"), Dup: true}, errDup},
		{"publish id at QoS 0", PublishPacket{Topic: []byte("a"), PacketID: 1}, errIDOnQoS0},
		{"publish id 0", PublishPacket{Topic: []byte("a"), QoS: 1}, errPacketID},
		{"publish topic length", PublishPacket{Topic: []byte(long)}, errStringLen},
		{"publish topic empty", PublishPacket{}, errTopicEmpty},
		{"publish topic wildcard", PublishPacket{Topic: []byte("#")}, errTopicWildcard},
		{"subscribe id 0", subscribeValue{0, []Subscription{{"a", 0}}}, errPacketID},
		{"subscribe nothing", subscribeValue{1, nil}, errNoFilters},
		{"subscribe QoS", subscribeValue{1, []Subscription{{"a", 3}}}, errSubQoS},
		{"subscribe filter", subscribeValue{1, []Subscription{{"a#", 0}}}, errFilterHash},
		{"subscribe filter length", subscribeValue{1, []Subscription{{long, 0}}}, errStringLen},
		{"unsubscribe id 0", unsubscribeValue{0, []string{"a"}}, errPacketID},
		{"unsubscribe nothing", unsubscribeValue{1, nil}, errNoUnfilters},
		{"unsubscribe filter", unsubscribeValue{1, []string{""}}, errTopicEmpty},
	} {
		b, err := encodeAny([]byte("prefix"), tc.value)
		if err != tc.want { //nolint:errorlint // the very rule, not a kind
			t.Errorf("%s: err = %v, want %v", tc.name, err, tc.want)
		}
		if string(b) != "prefix" {
			t.Errorf("%s: dst became %q", tc.name, b)
		}
	}
}

// TestPublishTooLarge looks at the limit without a payload of 256 MB.
func TestPublishTooLarge(t *testing.T) {
	for qos := byte(0); qos <= 2; qos++ {
		for _, topicLen := range []int{1, MaxStringLen} {
			most := MaxPacketLen - PublishLen(qos, topicLen, 1<<22) + 1<<22
			if PublishLen(qos, topicLen, most) != MaxPacketLen {
				t.Fatalf("the test's payload of %d is not the largest", most)
			}
			if !publishFits(qos, topicLen, most) || publishFits(qos, topicLen, most+1) || publishFits(qos, topicLen, math.MaxInt) {
				t.Errorf("QoS %d, topic of %d: limit is not %d", qos, topicLen, most)
			}
		}
	}
}

func TestConnackHidesSessionOfARefusal(t *testing.T) {
	if got := AppendConnack(nil, true, ConnackNotAuthorized); string(got) != "\x20\x02\x00\x05" {
		t.Errorf("AppendConnack = % x", got)
	}
	if sp, code, err := DecodeConnack([]byte("\x20\x02\x01\x05")); sp || code != 5 || err != nil {
		t.Errorf("DecodeConnack = %v, %d, %v", sp, code, err)
	}
}

func TestPublishHeaderAndPatches(t *testing.T) {
	for _, n := range []int{0, 100, 117, 118, 200, 16384, 1 << 21} {
		for qos := byte(0); qos <= 2; qos++ {
			topic, payload := []byte("devices/d/m"), bytes.Repeat([]byte{'p'}, n)
			b := AppendPublishHeader(nil, qos, len(topic), n)
			b = append(b, topic...)
			if qos > 0 {
				b = append(b, 0, 0)
			}
			b = append(b, payload...)
			if len(b) != PublishLen(qos, len(topic), n) {
				t.Fatalf("qos %d, payload %d: length %d, PublishLen %d", qos, n, len(b), PublishLen(qos, len(topic), n))
			}
			SetPublishID(b, 0xabcd)
			SetPublishDup(b)
			p, err := DecodePublish(b)
			if err != nil {
				t.Fatalf("qos %d, payload %d: %v", qos, n, err)
			}
			if !bytes.Equal(p.Topic, topic) || !bytes.Equal(p.Payload, payload) || p.QoS != qos || p.Dup != (qos > 0) {
				t.Errorf("qos %d, payload %d: %+v", qos, n, p)
			}
			if want := map[bool]uint16{true: 0xabcd}[qos > 0]; p.PacketID != want {
				t.Errorf("qos %d: id %x", qos, p.PacketID)
			}
		}
	}
}

// TestPatchesLeaveOthersAlone: what is not a whole PUBLISH of QoS 1 or 2 stays
// as it is, and nothing outside is read or written.
func TestPatchesLeaveOthersAlone(t *testing.T) {
	for _, s := range []string{
		"", "\x32", "\x32\x05", "\x32\x05\x00", "\x32\x05\x00\x09", "\x32\x05\x00\x01a", "\x32\x05\x00\x01a\x00",
		"\x32\xff\xff\xff\xff\xff", "\x40\x02\x00\x01", "\x30\x05\x00\x01a\x00\x01",
	} {
		b := []byte(s)
		SetPublishID(b, 0xffff)
		if string(b) != s {
			t.Errorf("SetPublishID made % x of % x", b, s)
		}
	}
	for _, s := range []string{"", "\x40\x02\x00\x01", "\x30\x05\x00\x01a\x00\x01"} {
		b := []byte(s)
		SetPublishDup(b)
		if string(b) != s {
			t.Errorf("SetPublishDup made % x of % x", b, s)
		}
	}
}

func TestTypeString(t *testing.T) {
	for typ, want := range map[Type]string{
		0: "Type(0)", TypeConnect: "CONNECT", TypePublish: "PUBLISH", TypeUnsuback: "UNSUBACK",
		TypeDisconnect: "DISCONNECT", 15: "Type(15)", 200: "Type(200)",
	} {
		if got := typ.String(); got != want {
			t.Errorf("%d: %q", byte(typ), got)
		}
	}
	if PacketType(nil) != 0 {
		t.Error("type of an empty frame")
	}
}

// TestTopicNameFastPath compares the word-wise check with the plain one for
// every byte value at every position and every length around a word.
func TestTopicNameFastPath(t *testing.T) {
	for n := 1; n <= 40; n++ {
		b := bytes.Repeat([]byte{'a'}, n)
		for i := range b {
			for c := range 256 {
				b[i] = byte(c)
				if fast, slow := checkTopicName(b), checkTopicNameSlow(b); fast != slow { //nolint:errorlint // identity
					t.Fatalf("%q: %v, want %v", b, fast, slow)
				}
			}
			b[i] = 'a'
		}
	}
}
