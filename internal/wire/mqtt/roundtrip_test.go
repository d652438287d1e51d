package mqtt

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// generator makes random values that can be encoded.
type generator struct{ *rand.Rand }

func newGenerator(t *testing.T) generator {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	return generator{rand.New(rand.NewPCG(seed, 0))}
}

func (g generator) id() uint16 { return uint16(1 + g.IntN(65535)) }

func (g generator) bytes(most int) []byte {
	b := make([]byte, g.IntN(most+1))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// text makes a string of at most most characters, mostly ASCII, without
// wildcards.
func (g generator) text(least, most int) string {
	exotic := []rune{'ä', '€', '\U0001f600', '\ufeff', '\ufffd', '\uffff', 1, 0x7f, 0x80, '\u2028'}
	r := make([]rune, least+g.IntN(most-least+1))
	for i := range r {
		if g.IntN(16) == 0 {
			r[i] = exotic[g.IntN(len(exotic))]
		} else {
			r[i] = rune("abcdefghijklmnopqrstuvwxyz0123456789/$%=&?.-_ "[g.IntN(46)])
		}
	}
	return string(r)
}

func (g generator) filter() string {
	f := g.text(1, 30)
	switch g.IntN(4) {
	case 0:
		return f + "/#"
	case 1:
		return "+/" + f
	case 2:
		return f + "/+/" + f
	}
	return f
}

func (g generator) value() any {
	switch g.IntN(8) {
	case 0:
		return g.connect()
	case 1:
		code := byte(g.IntN(6))
		return connackValue{code == 0 && g.IntN(2) == 0, code}
	case 2:
		acks := []Type{TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeUnsuback}
		return ackValue{acks[g.IntN(len(acks))], g.id()}
	case 3:
		subs := make([]Subscription, 1+g.IntN(5))
		for i := range subs {
			subs[i] = Subscription{g.filter(), byte(g.IntN(3))}
		}
		return subscribeValue{g.id(), subs}
	case 4:
		codes := make([]byte, 1+g.IntN(5))
		for i := range codes {
			codes[i] = []byte{0, 1, 2, SubackFailure}[g.IntN(4)]
		}
		return subackValue{g.id(), codes}
	case 5:
		filters := make([]string, 1+g.IntN(5))
		for i := range filters {
			filters[i] = g.filter()
		}
		return unsubscribeValue{g.id(), filters}
	case 6:
		return emptyValue{TypePingreq + Type(g.IntN(3))}
	default:
		p := PublishPacket{
			Topic: []byte(g.text(1, 200)), Payload: g.bytes(1 << g.IntN(16)),
			QoS: byte(g.IntN(3)), Retain: g.IntN(2) == 0,
		}
		if p.QoS > 0 {
			p.PacketID, p.Dup = g.id(), g.IntN(2) == 0
		}
		return p
	}
}

func (g generator) connect() ConnectPacket {
	c := ConnectPacket{
		ProtocolName: ProtocolName, ProtocolLevel: ProtocolLevel,
		CleanSession: g.IntN(2) == 0, KeepAlive: uint16(g.Uint32()), ClientID: g.text(0, 130),
	}
	if g.IntN(3) > 0 {
		c.HasUsername, c.Username = true, g.text(0, 300)
		if g.IntN(3) > 0 {
			c.HasPassword, c.Password = true, g.bytes(400)
		}
	}
	if g.IntN(2) == 0 {
		c.Will = &Will{Topic: g.text(1, 100), Payload: g.bytes(300), QoS: byte(g.IntN(3)), Retain: g.IntN(2) == 0}
	}
	return c
}

// TestRoundTrip encodes random values one after another and reads them back
// from the stream.
func TestRoundTrip(t *testing.T) {
	g := newGenerator(t)
	var stream []byte
	values := make([]any, 2000)
	for i := range values {
		values[i] = g.value()
		var err error
		if stream, err = encodeAny(stream, values[i]); err != nil {
			t.Fatalf("%+v: %v", values[i], err)
		}
	}
	for i, want := range values {
		n, err := Frame(stream, MaxPacketLen)
		if err != nil || n == 0 {
			t.Fatalf("packet %d: Frame = %d, %v", i, n, err)
		}
		got, err := decodeAny(stream[:n])
		if err != nil {
			t.Fatalf("packet %d, %+v: %v", i, want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("packet %d: %+v, want %+v", i, got, want)
		}
		stream = stream[n:]
	}
	if len(stream) != 0 {
		t.Errorf("%d bytes left over", len(stream))
	}
}

// TestCopies makes sure that what is documented as a copy survives the frame,
// and that growing what aliases it cannot overwrite it.
func TestCopies(t *testing.T) {
	g := newGenerator(t)
	for range 500 {
		want := g.value()
		frame, err := encodeAny(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAny(frame)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := got.(PublishPacket); ok {
			before := bytes.Clone(frame)
			_ = append(p.Topic, "overwrite"...)
			if !bytes.Equal(frame, before) {
				t.Fatal("appending to the topic changed the frame")
			}
		}
		switch got.(type) {
		case PublishPacket, subackValue:
			continue // documented as aliasing
		}
		clear(frame)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("value changed with its frame: %+v, want %+v", got, want)
		}
	}
}
