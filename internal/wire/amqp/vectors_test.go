package amqp

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// filter is the source filter of an Event Hubs receiver.
func filter(descriptor any, text string) Map {
	return Map{{Symbol("apache.org:selector-filter:string"), Described{descriptor, text}}}
}

// valueVectors are values as an independent implementation reads and writes them.
var valueVectors = []struct {
	name, hex string
	value     any
}{
	{"partition ids", "e0 06 02 a1 01 30 01 31", StringArray("0", "1")},
	{"filter by number", `c1 53 02 a3 21 61 70 61 63 68 65 2e 6f 72 67 3a 73 65 6c 65 63 74 6f 72 2d 66 69 6c 74 65 72 3a 73 74 72 69 6e 67
		00 80 00 00 46 8c 00 00 00 04 a1 23 61 6d 71 70 2e 61 6e 6e 6f 74 61 74 69 6f 6e 2e 78 2d 6f 70 74 2d 6f 66 66 73 65 74 20 3e 20 27 2d 31 27`,
		filter(uint64(0x468C00000004), "amqp.annotation.x-opt-offset > '-1'")},
	{"filter by name", `c1 7f 02 a3 21 61 70 61 63 68 65 2e 6f 72 67 3a 73 65 6c 65 63 74 6f 72 2d 66 69 6c 74 65 72 3a 73 74 72 69 6e 67
		00 a3 21 61 70 61 63 68 65 2e 6f 72 67 3a 73 65 6c 65 63 74 6f 72 2d 66 69 6c 74 65 72 3a 73 74 72 69 6e 67
		a1 35 61 6d 71 70 2e 61 6e 6e 6f 74 61 74 69 6f 6e 2e 78 2d 6f 70 74 2d 65 6e 71 75 65 75 65 64 74 69 6d 65 75 74 63 20 3e 20 31 36 35 34 31 30 39 30 31 38 31 37 36`,
		filter(Symbol("apache.org:selector-filter:string"), "amqp.annotation.x-opt-enqueuedtimeutc > 1654109018176")},
	{"null", "40", nil},
}

func TestValueVectors(t *testing.T) {
	for _, v := range valueVectors {
		raw := unhex(t, v.hex)
		got, rest, err := DecodeValue(raw)
		if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, v.value) {
			t.Errorf("%s: decoded %#v, %d left, %v", v.name, got, len(rest), err)
		}
		if enc, err := AppendValue(nil, v.value); err != nil || !bytes.Equal(enc, raw) {
			t.Errorf("%s: encoded % x, %v", v.name, enc, err)
		}
	}
	long, _, err := DecodeValue(unhex(t, "f0 00 00 00 09 00 00 00 02 a1 01 30 01 31"))
	if err != nil || !reflect.DeepEqual(long, StringArray("0", "1")) {
		t.Errorf("long form of an array: %#v, %v", long, err)
	}
}

// frameVectors are whole frames.
var frameVectors = []struct {
	name, hex string
	typ       FrameType
	value     Performative
}{
	{"sasl-mechanisms", `00 00 00 39 02 01 00 00 00 53 40 c0 2c 01 f0 00 00 00 26 00 00 00 04 a3 07 4d 53 53 42 43 42 53 05 50 4c 41 49 4e
		09 41 4e 4f 4e 59 4d 4f 55 53 08 45 58 54 45 52 4e 41 4c`, FrameSASL,
		&SASLMechanisms{[]Symbol{"MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"}}},
	{"sasl-outcome", "00 00 00 10 02 01 00 00 00 53 44 c0 03 01 50 00", FrameSASL, &SASLOutcome{}},
	{"attach", "00 00 00 26 02 00 00 00 00 53 12 c0 19 0b a1 02 6c 31 43 42 50 00 50 00 40 40 40 40 43 80 00 00 00 00 00 04 00 00", FrameAMQP,
		&Attach{Name: "l1", SenderSettleMode: Some(uint8(0)), ReceiverSettleMode: Some(uint8(0)),
			InitialDeliveryCount: Some(uint32(0)), MaxMessageSize: Some(uint64(262144))}},
	{"detach", `00 00 00 99 02 00 00 00 00 53 16 c0 8c 03 43 41 00 53 1d c0 84 03 a3 12 61 6d 71 70 3a 6c 69 6e 6b 3a 72 65 64 69 72 65 63 74 40
		c1 6c 08 a3 08 68 6f 73 74 6e 61 6d 65 a1 09 31 32 37 2e 30 2e 30 2e 31 a3 0c 6e 65 74 77 6f 72 6b 2d 68 6f 73 74 a1 09 31 32 37 2e 30 2e 30 2e 31
		a3 04 70 6f 72 74 71 00 00 16 27 a3 07 61 64 64 72 65 73 73 a1 27 61 6d 71 70 73 3a 2f 2f 31 32 37 2e 30 2e 30 2e 31 3a 35 36 37 31 2f 68 75 62 31 2f
		24 6d 61 6e 61 67 65 6d 65 6e 74`, FrameAMQP,
		&Detach{Closed: true, Error: &Error{Condition: ErrCondLinkRedirect, Info: Map{
			{Symbol("hostname"), "127.0.0.1"}, {Symbol("network-host"), "127.0.0.1"}, {Symbol("port"), int32(5671)},
			{Symbol("address"), "amqps://127.0.0.1:5671/hub1/$management"}}}}},
}

func TestFrameVectors(t *testing.T) {
	for _, v := range frameVectors {
		raw := unhex(t, v.hex)
		n, err := FrameLen(raw, 512)
		if err != nil || n != len(raw) {
			t.Errorf("%s: FrameLen = %d, %v", v.name, n, err)
		}
		typ, channel, body, err := DecodeFrame(raw)
		if err != nil || typ != v.typ || channel != 0 {
			t.Fatalf("%s: frame %d on %d, %v", v.name, typ, channel, err)
		}
		got, err := decodeAny(body)
		if err != nil || !reflect.DeepEqual(got, v.value) {
			t.Errorf("%s: decoded %+v, %v", v.name, got, err)
		}
		enc, err := AppendFrame(nil, v.typ, 0, v.value)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		if len(enc) > len(raw) {
			t.Errorf("%s: encoded longer, % x", v.name, enc)
		}
		_, _, body, err = DecodeFrame(enc)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeAny(body); err != nil || !reflect.DeepEqual(again, v.value) {
			t.Errorf("%s: % x decodes to %+v, %v", v.name, enc, again, err)
		}
	}
	if string(AppendEmptyFrame(nil)) != string(unhex(t, "00 00 00 08 02 00 00 00")) {
		t.Error("the empty frame is wrong")
	}
}

// decodeAny decodes a performative of any kind.
func decodeAny(body []byte) (Performative, error) {
	code, err := PeekCode(body)
	if err != nil {
		return nil, err
	}
	type decoder interface {
		Performative
		Decode([]byte) error
	}
	var p decoder
	switch code {
	case CodeOpen:
		p = new(Open)
	case CodeBegin:
		p = new(Begin)
	case CodeAttach:
		p = new(Attach)
	case CodeFlow:
		p = new(Flow)
	case CodeTransfer:
		p = new(Transfer)
	case CodeDisposition:
		p = new(Disposition)
	case CodeDetach:
		p = new(Detach)
	case CodeEnd:
		p = new(End)
	case CodeClose:
		p = new(Close)
	case CodeSASLMechanisms:
		p = new(SASLMechanisms)
	case CodeSASLInit:
		p = new(SASLInit)
	case CodeSASLChallenge:
		p = new(SASLChallenge)
	case CodeSASLResponse:
		p = new(SASLResponse)
	case CodeSASLOutcome:
		p = new(SASLOutcome)
	default:
		return nil, errDescriptor
	}
	return p, p.Decode(body)
}

var messageVectors = []struct {
	name, hex string
	value     Message
}{
	{"CBS reply", `00 53 73 c0 2c 06 40 40 40 40 40 a1 24 39 37 37 64 31 65 33 63 2d 35 32 34 62 2d 34 61 32 31 2d 62 33 34 66 2d 36 30 39 30 38 64 31 35 38 30 35 38
		00 53 74 c1 2b 04 a1 0b 73 74 61 74 75 73 2d 63 6f 64 65 71 00 00 00 c8 a1 12 73 74 61 74 75 73 2d 64 65 73 63 72 69 70 74 69 6f 6e a1 02 4f 4b 00 53 77 40`,
		Message{
			Properties:            &Properties{CorrelationID: "977d1e3c-524b-4a21-b34f-60908d158058"},
			ApplicationProperties: Map{{"status-code", int32(200)}, {"status-description", "OK"}},
			HasValue:              true,
		}},
	{"annotations", `00 53 72 c1 92 0a a3 15 78 2d 6f 70 74 2d 73 65 71 75 65 6e 63 65 2d 6e 75 6d 62 65 72 55 48 a3 0c 78 2d 6f 70 74 2d 6f 66 66 73 65 74 a1 05 33 37 33 34 34
		a3 13 78 2d 6f 70 74 2d 65 6e 71 75 65 75 65 64 2d 74 69 6d 65 83 00 00 01 81 20 94 98 40
		a3 1b 69 6f 74 68 75 62 2d 63 6f 6e 6e 65 63 74 69 6f 6e 2d 64 65 76 69 63 65 2d 69 64 a1 04 64 65 76 31
		a3 15 69 6f 74 68 75 62 2d 6d 65 73 73 61 67 65 2d 73 6f 75 72 63 65 a1 09 54 65 6c 65 6d 65 74 72 79`,
		Message{MessageAnnotations: Map{
			{Symbol("x-opt-sequence-number"), int64(72)}, {Symbol("x-opt-offset"), "37344"},
			{Symbol("x-opt-enqueued-time"), Timestamp(1654109018176)}, {Symbol("iothub-connection-device-id"), "dev1"},
			{Symbol("iothub-message-source"), "Telemetry"}}}},
}

func TestMessageVectors(t *testing.T) {
	for _, v := range messageVectors {
		raw := unhex(t, v.hex)
		var m Message
		if err := m.Decode(raw); err != nil || !reflect.DeepEqual(m, v.value) {
			t.Errorf("%s: decoded %+v, %v", v.name, m, err)
		}
		if enc, err := v.value.Append(nil); err != nil || !bytes.Equal(enc, raw) {
			t.Errorf("%s: encoded % x, %v", v.name, enc, err)
		}
	}
}
