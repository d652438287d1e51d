package mqtt

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func addVectors(f *testing.F, types ...Type) {
	f.Helper()
	for _, v := range vectors {
		for _, t := range types {
			if PacketType([]byte(v.bytes)) == t {
				f.Add([]byte(v.bytes))
			}
		}
	}
}

// stable checks the invariants of one frame of arbitrary bytes: the decoder
// gives a documented error, or a value that encodes and decodes to itself and
// on which the oracle agrees.
func stable(t *testing.T, frame []byte) {
	t.Helper()
	value, err := decodeAny(frame)
	if err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrProtocolLevel) {
			t.Fatalf("undocumented error %v", err)
		}
		return
	}
	if n, err := Frame(frame, len(frame)); n != len(frame) || err != nil {
		t.Fatalf("decoded what Frame does not accept: %d, %v", n, err)
	}
	enc, err := encodeAny(nil, value)
	if err != nil {
		t.Fatalf("cannot encode %+v: %v", value, err)
	}
	if len(enc) > len(frame) {
		t.Fatalf("encoding grew from % x to % x", frame, enc)
	}
	again, err := decodeAny(enc)
	if err != nil || !reflect.DeepEqual(again, value) {
		t.Fatalf("decoded %+v, then %+v, %v", value, again, err)
	}
	agree(t, value)
}

// FuzzFrame reads a stream of arbitrary bytes as a connection would.
func FuzzFrame(f *testing.F) {
	var all []byte
	for _, v := range vectors {
		f.Add([]byte(v.bytes), 1<<18)
		all = append(all, v.bytes...)
	}
	f.Add(all, 1<<18)
	f.Add([]byte("\x30\xff\xff\xff\x7f"), 1<<18)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		for {
			n, err := Frame(b, limit)
			if n < 0 || n > len(b) || err != nil && n != 0 {
				t.Fatalf("Frame = %d, %v of %d bytes", n, err, len(b))
			}
			total, lenErr := PacketLen(b, limit)
			if lenErr != err || n > 0 && total != n || n == 0 && err == nil && total != 0 && total <= len(b) { //nolint:errorlint // identity
				t.Fatalf("PacketLen = %d, %v; Frame = %d, %v", total, lenErr, n, err)
			}
			if err != nil {
				if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
					t.Fatalf("undocumented error %v", err)
				}
				// More bytes do not heal it.
				if _, err2 := Frame(append(bytes.Clone(b), 0), limit); err2 == nil {
					t.Fatalf("%v, but not with one more byte", err)
				}
				return
			}
			if n == 0 {
				return
			}
			if n > limit {
				t.Fatalf("packet of %d bytes, limit %d", n, limit)
			}
			stable(t, b[:n])
			b = b[n:]
		}
	})
}

func FuzzConnect(f *testing.F) {
	addVectors(f, TypeConnect)
	f.Fuzz(func(t *testing.T, b []byte) {
		if PacketType(b) == TypeConnect {
			stable(t, b)
		}
	})
}

func FuzzPublish(f *testing.F) {
	addVectors(f, TypePublish)
	f.Fuzz(func(t *testing.T, b []byte) {
		patched := bytes.Clone(b)
		SetPublishID(patched, 0x1234)
		SetPublishDup(patched)
		if PacketType(b) != TypePublish {
			if !bytes.Equal(patched, b) {
				t.Fatal("patched another packet")
			}
			return
		}
		stable(t, b)
		if p, err := DecodePublish(b); err == nil {
			if p.QoS > 0 {
				p.PacketID, p.Dup = 0x1234, true
			}
			if got, err := DecodePublish(patched); err != nil || !reflect.DeepEqual(got, p) {
				t.Fatalf("patched: %+v, %v, want %+v", got, err, p)
			}
		}
	})
}

func FuzzSubscribe(f *testing.F) {
	addVectors(f, TypeSubscribe, TypeUnsubscribe)
	f.Fuzz(func(t *testing.T, b []byte) {
		if typ := PacketType(b); typ == TypeSubscribe || typ == TypeUnsubscribe {
			stable(t, b)
		}
	})
}

func FuzzAck(f *testing.F) {
	addVectors(f, TypeConnack, TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeSuback, TypeUnsuback,
		TypePingreq, TypePingresp, TypeDisconnect)
	f.Fuzz(func(t *testing.T, b []byte) { stable(t, b) })
}

// FuzzPublishFields goes the other way: fields that can be encoded are read
// alike by this package and the oracle.
func FuzzPublishFields(f *testing.F) {
	f.Add([]byte("devices/d/messages/events/"), []byte("{}"), uint16(1), byte(1), false, false)
	f.Add([]byte("ä"), []byte{}, uint16(0), byte(0), false, true)
	f.Fuzz(func(t *testing.T, topic, payload []byte, id uint16, qos byte, dup, retain bool) {
		p := PublishPacket{Topic: topic, Payload: payload, PacketID: id, QoS: qos, Dup: dup, Retain: retain}
		b, err := AppendPublish(nil, &p)
		if err != nil {
			if len(b) != 0 || !errors.Is(err, ErrMalformed) {
				t.Fatalf("%q, %v", b, err)
			}
			return
		}
		if len(b) != PublishLen(qos, len(topic), len(payload)) {
			t.Fatalf("length %d, PublishLen %d", len(b), PublishLen(qos, len(topic), len(payload)))
		}
		agree(t, p)
	})
}

// FuzzConnectFields is FuzzPublishFields for CONNECT.
func FuzzConnectFields(f *testing.F) {
	f.Add("dev1", "hub/dev1/?api-version=1", []byte("sas"), uint16(240), "devices/dev1/messages/events/", []byte("gone"), byte(0xee))
	f.Add("", "", []byte{}, uint16(0), "", []byte{}, byte(0x02))
	f.Fuzz(func(t *testing.T, id, user string, password []byte, keepAlive uint16, willTopic string, will []byte, flags byte) {
		c := ConnectPacket{
			ProtocolName: ProtocolName, ProtocolLevel: ProtocolLevel,
			CleanSession: flags&connectClean != 0, KeepAlive: keepAlive, ClientID: id,
		}
		if flags&connectUsername != 0 {
			c.Username, c.HasUsername = user, true
		}
		if flags&connectPassword != 0 {
			c.Password, c.HasPassword = password, true
		}
		if flags&connectWill != 0 {
			c.Will = &Will{willTopic, will, flags & connectWillQoS >> connectQoSShift, flags&connectRetain != 0}
		}
		if b, err := AppendConnect(nil, &c); err != nil {
			if len(b) != 0 || !errors.Is(err, ErrMalformed) {
				t.Fatalf("%q, %v", b, err)
			}
			return
		}
		agree(t, c)
	})
}
