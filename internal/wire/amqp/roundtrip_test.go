package amqp

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// performatives is one of each, with every field set.
func performatives() []Performative {
	symbols := []Symbol{"a", Symbol(strings.Repeat("s", 300))}
	props := Map{{Symbol("k"), "v"}, {"list", List{int32(1), nil, true}}}
	fault := &Error{Condition: "amqp:internal-error", Description: "why", Info: props}
	return []Performative{
		&Open{"c", "h", 4096, 7, 60000, symbols, symbols, symbols[:1], symbols[:1], props},
		&Open{ContainerID: "c", MaxFrameSize: DefaultMaxFrameSize, ChannelMax: DefaultChannelMax},
		&Begin{Some(uint16(3)), 1, 2, 3, 4, symbols, symbols, props},
		&Begin{NextOutgoingID: 1, IncomingWindow: 0, OutgoingWindow: math.MaxUint32, HandleMax: DefaultHandleMax},
		&Attach{
			Name: "n", Handle: 300, Role: RoleReceiver, SenderSettleMode: Some(SenderSettled), ReceiverSettleMode: Some(ReceiverSecond),
			Source: &Source{"addr", 1, "never", 5, true, props, "copy", filter(uint64(1), "x"), Released, symbols, symbols},
			Target: &Target{"addr", 1, "never", 5, true, props, symbols}, Unsettled: Map{{[]byte{1}, nil}}, IncompleteUnsettled: true,
			InitialDeliveryCount: Some(uint32(9)), MaxMessageSize: Some(uint64(1 << 40)),
			OfferedCapabilities: symbols, DesiredCapabilities: symbols, Properties: props,
		},
		&Attach{Name: "", Source: &Source{}, Target: &Target{}},
		&Attach{Name: "tx", Coordinator: true},
		&Flow{Some(uint32(1)), 2, 3, 4, Some(uint32(5)), Some(uint32(6)), Some(uint32(0)), Some(uint32(8)), true, true, props},
		&Flow{IncomingWindow: 1},
		&Transfer{Handle: 1, DeliveryID: Some(uint32(256)), DeliveryTag: []byte("tag"), MessageFormat: Some(uint32(0x80013700)),
			Settled: Some(true), More: true, ReceiverSettleMode: Some(ReceiverSecond), State: State{Kind: CodeReceived, SectionNumber: 1, SectionOffset: 2},
			Resume: true, Aborted: true, Batchable: true, Payload: []byte("payload")},
		&Transfer{Payload: []byte{}},
		&Disposition{RoleReceiver, 1, Some(uint32(2)), true, Accepted, true},
		&Disposition{First: 1, State: Rejected(fault)},
		&Disposition{First: 1, State: Rejected(nil)},
		&Disposition{First: 1, State: State{Kind: CodeModified, DeliveryFailed: true, UndeliverableHere: true, MessageAnnotations: props}},
		&Disposition{First: 1, State: State{Other: Described{uint64(0x34), List{[]byte("txn")}}}},
		&Disposition{First: 1},
		&Detach{1, true, fault}, &Detach{}, &End{fault}, &End{}, &Close{fault}, &Close{},
		&SASLMechanisms{symbols}, &SASLInit{"PLAIN", []byte("\x00u\x00p"), "h"}, &SASLInit{Mechanism: "ANONYMOUS"},
		&SASLChallenge{[]byte("c")}, &SASLResponse{[]byte("r")}, &SASLOutcome{SASLAuth, []byte{1}},
	}
}

func TestPerformativesRoundTrip(t *testing.T) {
	for _, p := range performatives() {
		enc, err := p.Append([]byte("before"))
		if err != nil {
			t.Errorf("%#v: %v", p, err)
			continue
		}
		got, err := decodeAny(enc[len("before"):])
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%#v came back as %#v, %v", p, got, err)
		}
		// Every cut is an error, but for a payload, which has no length.
		body := enc[len("before"):]
		if tr, ok := p.(*Transfer); ok {
			body = body[:len(body)-len(tr.Payload)]
		}
		for i := range body {
			if v, err := decodeAny(body[:i]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%T cut to %d of %d bytes is %+v, %v", p, i, len(body), v, err)
			}
		}
	}
}

func values() []any {
	long := strings.Repeat("x", 256)
	return []any{
		nil, true, false, uint8(1), uint16(2), uint32(0), uint32(255), uint32(256), uint64(0), uint64(255), uint64(256),
		int8(-1), int16(-2), int32(127), int32(-129), int64(-128), int64(math.MinInt64), float32(1.5), float64(-2.5),
		Decimal32{1}, Decimal64{2}, Decimal128{3}, Char('ß'), Timestamp(-62135596800000), UUID{4}, []byte{}, []byte(long),
		"", "text", long, Symbol("s"), Symbol(long), List{}, List{nil, List{true}}, Map{}, Map{{"k", Map{}}, {nil, List{}}},
		make(List, 300), List{long, long}, Described{Symbol("d"), "v"}, Described{uint64(1), Described{nil, List{}}},
		StringArray(), StringArray("a", long), Array{Code: codeNull, Items: []any{nil, nil}},
		Array{Code: codeBoolean, Items: []any{true, false}}, Array{Code: codeSmallUint, Items: []any{uint32(0), uint32(7)}},
		Array{Code: codeUlong, Items: []any{uint64(0)}}, Array{Code: codeList0, Items: []any{List{}, List{}}},
		Array{Code: codeList8, Items: []any{List{}, List{"a"}}}, Array{Code: codeList32, Items: []any{List{}, List{"a"}, List{long}}},
		Array{Code: codeMap32, Items: []any{Map{}, Map{{"a", nil}}}}, Array{Code: codeArray32, Items: []any{StringArray("a"), StringArray(long)}},
		Array{Code: codeStr8, Described: true, Descriptor: uint64(5), Items: []any{"a"}}, Array{Code: codeSmallLong, Items: []any{int64(-1)}},
	}
}

func TestValuesRoundTrip(t *testing.T) {
	for _, v := range values() {
		enc, err := AppendValue(nil, v)
		if err != nil {
			t.Errorf("%#v: %v", v, err)
			continue
		}
		got, rest, err := DecodeValue(enc)
		if err != nil || len(rest) != 0 || !reflect.DeepEqual(got, v) {
			t.Errorf("%#v came back as %#v, %d left, %v (% x)", v, got, len(rest), err, enc)
		}
		for i := range enc {
			if got, _, err := DecodeValue(enc[:i]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%#v cut to %d bytes is %#v, %v", v, i, got, err)
			}
		}
	}
}

func TestUnsupportedValues(t *testing.T) {
	deep := any(nil)
	for range maxDepth + 2 {
		deep = List{deep}
	}
	for _, v := range []any{
		1, struct{}{}, List{1}, Map{{1, nil}}, Described{1, nil}, Described{nil, 1}, deep,
		Array{}, Array{Code: codeStr8, Items: []any{"a", int32(1)}}, Array{Code: codeStr8, Items: []any{strings.Repeat("x", 256)}},
		Array{Code: codeSmallUint, Items: []any{uint32(256)}}, Array{Code: codeNull, Items: make([]any, maxZeroWidth+1)},
		Array{Code: codeTrue, Items: []any{false}}, Array{Code: codeList0, Items: []any{List{nil}}},
	} {
		got, err := AppendValue([]byte("x"), v)
		if !errors.Is(err, ErrUnsupported) || string(got) != "x" {
			t.Errorf("%#v encodes to % x, %v", v, got, err)
		}
	}
	p := &Open{ContainerID: "c", Properties: Map{{"k", 1}}}
	if got, err := AppendFrame([]byte("x"), FrameAMQP, 0, p); !errors.Is(err, ErrUnsupported) || string(got) != "x" {
		t.Errorf("Open with a bad property encodes to % x, %v", got, err)
	}
	m := &Message{ApplicationProperties: Map{{"k", 1}}}
	if got, err := m.Append([]byte("x")); !errors.Is(err, ErrUnsupported) || string(got) != "x" {
		t.Errorf("a message with a bad property encodes to % x, %v", got, err)
	}
}

func messages() []Message {
	return []Message{
		{}, {Data: [][]byte{{}}}, {Data: [][]byte{[]byte("a"), []byte("b")}}, {Sequences: []List{{}, {"a"}}}, {HasValue: true},
		{
			Header: &Header{true, Some(uint8(3)), Some(uint32(4)), true, 5}, DeliveryAnnotations: Map{}, MessageAnnotations: Map{{Symbol("a"), int64(1)}},
			Properties: &Properties{
				UUID{1}, []byte("u"), "to", "subject", "reply", []byte("c"), "ct", "ce", Some(Timestamp(1)), Some(Timestamp(-1)),
				"g", Some(uint32(1)), "rg",
			},
			ApplicationProperties: Map{{"k", "v"}}, Value: Map{{"k", StringArray("0")}}, HasValue: true, Footer: Map{},
		},
		{Properties: &Properties{MessageID: uint64(7), CorrelationID: "c"}},
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range messages() {
		enc, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got Message
		if err := got.Decode(enc); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
}

func TestMessageSectionOrder(t *testing.T) {
	section := func(m Message) []byte {
		enc, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return enc
	}
	data, value := section(Message{Data: [][]byte{{1}}}), section(Message{HasValue: true})
	seq, props := section(Message{Sequences: []List{{}}}), section(Message{ApplicationProperties: Map{}})
	for _, bad := range [][][]byte{{value, value}, {data, value}, {seq, data}, {data, seq, data}, {data, props}, {props, props}} {
		if err := new(Message).Decode(bytes.Join(bad, nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("% x: %v", bad, err)
		}
	}
	if err := new(Message).Decode(bytes.Join([][]byte{props, data, data}, nil)); err != nil {
		t.Error(err)
	}
}

func TestMalformed(t *testing.T) {
	deep := bytes.Repeat([]byte{0xc0, 0xff, 1}, 200)
	for _, hex := range []string{
		"46", "10", "3f", "ff", "56 02", "73 00 00 d8 00", "73 00 11 00 00", "a1 01 ff", "a3 01 c3",
		"c0 01 02", "c0 02 02 40", "c0 03 01 40 40", "c1 03 01 40 40", "c1 02 01 40", "d0 ff ff ff ff 00 00 00 01 40",
		"d0 00 00 00 04 ff ff ff ff", "d1 7f ff ff ff 00 00 00 02", "f0 00 00 00 05 ff ff ff ff 40", "e0 02 81 40",
		"e0 02 01 10", "e0 01 00", "e0 06 01 00 40 00 40 40", "b0 ff ff ff ff", "00 40", "00",
	} {
		if v, _, err := DecodeValue(unhex(t, hex)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s is %#v, %v", hex, v, err)
		}
	}
	if _, _, err := DecodeValue(deep); !errors.Is(err, ErrMalformed) {
		t.Errorf("deeply nested: %v", err)
	}
	for _, hex := range []string{
		"00 00 00 07 02 00 00 00", "00 00 00 08 01 00 00 00", "00 00 00 08 03 00 00 00", "00 00 00 09 02 00 00 00",
	} {
		if _, _, _, err := DecodeFrame(unhex(t, hex)); !errors.Is(err, ErrMalformed) {
			t.Errorf("frame %s: %v", hex, err)
		}
	}
	if _, err := FrameLen(unhex(t, "00 00 02 01"), 512); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a frame that is too large: %v", err)
	}
	if n, err := FrameLen(unhex(t, "00 00 02"), 512); n != 0 || err != nil {
		t.Errorf("three bytes: %d, %v", n, err)
	}
}

func TestSymbolicDescriptors(t *testing.T) {
	body, err := AppendValue(nil, Described{Symbol("amqp:close:list"), List{
		Described{Symbol("amqp:error:list"), List{Symbol("amqp:not-found")}}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeAny(body)
	if want := (&Close{&Error{Condition: "amqp:not-found"}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// The hot frames cost nothing but their bytes.
func TestAllocations(t *testing.T) {
	transfer := &Transfer{Handle: 1, DeliveryID: Some(uint32(3)), DeliveryTag: []byte("12345678"), MessageFormat: Some(uint32(0)), Payload: make([]byte, 100)}
	disposition := &Disposition{Role: RoleReceiver, First: 3, Settled: true, State: Accepted}
	flow := &Flow{NextIncomingID: Some(uint32(1)), IncomingWindow: 5000, Handle: Some(uint32(1)), LinkCredit: Some(uint32(50))}
	buf := make([]byte, 0, 1024)
	for name, f := range map[string]func(){
		"encode": func() {
			buf, _ = transfer.Append(buf[:0])
			buf, _ = disposition.Append(buf)
			buf, _ = flow.Append(buf)
		},
		"transfer":    decodeTwice(t, transfer, new(Transfer)),
		"disposition": decodeTwice(t, disposition, new(Disposition)),
		"flow":        decodeTwice(t, flow, new(Flow)),
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func decodeTwice(t *testing.T, p Performative, into interface{ Decode([]byte) error }) func() {
	body, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := into.Decode(body); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkTransfer(b *testing.B) {
	p := &Transfer{Handle: 1, DeliveryID: Some(uint32(3)), DeliveryTag: []byte("12345678"), MessageFormat: Some(uint32(0)), Payload: make([]byte, 256)}
	buf := make([]byte, 0, 1024)
	var q Transfer
	b.ReportAllocs()
	for b.Loop() {
		start := 0
		buf, _ = p.Append(BeginFrame(buf[:0], FrameAMQP, 0))
		EndFrame(buf, start)
		_, _, body, err := DecodeFrame(buf)
		if err != nil || q.Decode(body) != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkMessage() *Message {
	return &Message{
		MessageAnnotations:    Map{{Symbol("x-opt-sequence-number"), int64(72)}, {Symbol("x-opt-offset"), "37344"}},
		Properties:            &Properties{MessageID: "id", ContentType: "application/json"},
		ApplicationProperties: Map{{"a", "1"}, {"b", "2"}, {"c", "3"}}, Data: [][]byte{make([]byte, 256)},
	}
}

func BenchmarkMessageEncode(b *testing.B) {
	m := benchmarkMessage()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = m.Append(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessageDecode(b *testing.B) {
	enc, err := benchmarkMessage().Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	var m Message
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Decode(enc); err != nil {
			b.Fatal(err)
		}
	}
}
