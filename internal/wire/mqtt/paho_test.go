package mqtt

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// The codec of the Eclipse client serves as an oracle: on what is well-formed
// the two must agree, both ways. It is much more lenient. Its decoder accepts,
// and this package refuses:
//
//   - wrong header flags, PUBLISH with QoS 3 or with DUP at QoS 0;
//   - packet identifier 0;
//   - strings that are not UTF-8 or contain U+0000, empty topics, wildcards in
//     topic names and misplaced ones in filters;
//   - fields that end early: it fills them up with zeros;
//   - bytes behind the last field; a fifth byte of remaining length, which it
//     takes for the body;
//   - the reserved CONNECT flag, will QoS 3, will flags without a will, a
//     password without a user name, and any protocol name and level, all of
//     which only its separate Validate looks at, in part;
//   - SUBSCRIBE without filters or with any QoS byte, SUBACK with any code;
//     UNSUBSCRIBE it reads up to the first empty filter, without error.
//
// Its encoder cuts strings at 65535 bytes where this one returns an error.
//
// TestPahoIsLenient keeps this list honest.

// fromPaho translates a packet of the oracle.
func fromPaho(cp packets.ControlPacket) any {
	switch p := cp.(type) {
	case *packets.ConnectPacket:
		c := ConnectPacket{
			ProtocolName: p.ProtocolName, ProtocolLevel: p.ProtocolVersion, CleanSession: p.CleanSession,
			KeepAlive: p.Keepalive, ClientID: p.ClientIdentifier,
			Username: p.Username, HasUsername: p.UsernameFlag, Password: p.Password, HasPassword: p.PasswordFlag,
		}
		if p.WillFlag {
			c.Will = &Will{Topic: p.WillTopic, Payload: p.WillMessage, QoS: p.WillQos, Retain: p.WillRetain}
		}
		return c
	case *packets.ConnackPacket:
		return connackValue{p.SessionPresent, p.ReturnCode}
	case *packets.PublishPacket:
		return PublishPacket{
			Topic: []byte(p.TopicName), Payload: p.Payload, PacketID: p.MessageID, QoS: p.Qos, Dup: p.Dup, Retain: p.Retain,
		}
	case *packets.PubackPacket:
		return ackValue{TypePuback, p.MessageID}
	case *packets.PubrecPacket:
		return ackValue{TypePubrec, p.MessageID}
	case *packets.PubrelPacket:
		return ackValue{TypePubrel, p.MessageID}
	case *packets.PubcompPacket:
		return ackValue{TypePubcomp, p.MessageID}
	case *packets.UnsubackPacket:
		return ackValue{TypeUnsuback, p.MessageID}
	case *packets.SubscribePacket:
		v := subscribeValue{id: p.MessageID}
		for i, f := range p.Topics {
			v.subs = append(v.subs, Subscription{f, p.Qoss[i]})
		}
		return v
	case *packets.SubackPacket:
		return subackValue{p.MessageID, p.ReturnCodes}
	case *packets.UnsubscribePacket:
		return unsubscribeValue{p.MessageID, p.Topics}
	case *packets.PingreqPacket:
		return emptyValue{TypePingreq}
	case *packets.PingrespPacket:
		return emptyValue{TypePingresp}
	case *packets.DisconnectPacket:
		return emptyValue{TypeDisconnect}
	default:
		return fmt.Errorf("unknown packet %T", cp)
	}
}

// toPaho is the inverse of fromPaho.
func toPaho(value any) packets.ControlPacket {
	switch v := value.(type) {
	case ConnectPacket:
		p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
		p.ProtocolName, p.ProtocolVersion = v.ProtocolName, v.ProtocolLevel
		p.CleanSession, p.Keepalive, p.ClientIdentifier = v.CleanSession, v.KeepAlive, v.ClientID
		p.Username, p.UsernameFlag, p.Password, p.PasswordFlag = v.Username, v.HasUsername, v.Password, v.HasPassword
		if w := v.Will; w != nil {
			p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos, p.WillRetain = true, w.Topic, w.Payload, w.QoS, w.Retain
		}
		return p
	case connackValue:
		p := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
		p.SessionPresent, p.ReturnCode = v.sessionPresent, v.code
		return p
	case PublishPacket:
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.Payload, p.MessageID = string(v.Topic), v.Payload, v.PacketID
		p.Qos, p.Dup, p.Retain = v.QoS, v.Dup, v.Retain
		return p
	case ackValue:
		p := packets.NewControlPacket(byte(v.t))
		reflect.ValueOf(p).Elem().FieldByName("MessageID").SetUint(uint64(v.id))
		return p
	case subscribeValue:
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.MessageID = v.id
		for _, s := range v.subs {
			p.Topics, p.Qoss = append(p.Topics, s.Filter), append(p.Qoss, s.QoS)
		}
		return p
	case subackValue:
		p := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
		p.MessageID, p.ReturnCodes = v.id, v.codes
		return p
	case unsubscribeValue:
		p := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
		p.MessageID, p.Topics = v.id, v.filters
		return p
	case emptyValue:
		return packets.NewControlPacket(byte(v.t))
	default:
		panic(fmt.Sprintf("no packet for %T", value))
	}
}

// agree checks that the oracle reads and writes value as this package does.
// value must be one that decodeAny returned or could return.
func agree(t *testing.T, value any) {
	t.Helper()
	ours, err := encodeAny(nil, value)
	if err != nil {
		t.Fatalf("%+v: %v", value, err)
	}
	cp, err := packets.ReadPacket(bytes.NewReader(ours))
	if err != nil {
		t.Fatalf("oracle does not read % x: %v", ours, err)
	}
	if got := fromPaho(cp); !reflect.DeepEqual(got, value) {
		t.Errorf("oracle reads %+v, want %+v", got, value)
	}
	var theirs bytes.Buffer
	if err := toPaho(value).Write(&theirs); err != nil {
		t.Fatalf("oracle does not write %+v: %v", value, err)
	}
	if !bytes.Equal(theirs.Bytes(), ours) {
		t.Errorf("oracle writes % x\nwe write % x", theirs.Bytes(), ours)
	}
	got, err := decodeAny(theirs.Bytes())
	if err != nil || !reflect.DeepEqual(got, value) {
		t.Errorf("we read %+v, %v from the oracle, want %+v", got, err, value)
	}
}

func TestPahoAgrees(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) { agree(t, v.value) })
	}
	g := newGenerator(t)
	for range 2000 {
		agree(t, g.value())
	}
}

func TestPahoIsLenient(t *testing.T) {
	for _, tc := range []struct{ name, bytes string }{
		{"puback flags", "\x4f\x02\x00\x01"},
		{"publish QoS 3", "\x36\x05\x00\x01a\x00\x01"},
		{"publish dup QoS 0", "\x38\x03\x00\x01a"},
		{"puback id 0", "\x40\x02\x00\x00"},
		{"topic UTF-8", "\x30\x03\x00\x01\xff"},
		{"topic NUL", "\x30\x03\x00\x01\x00"},
		{"topic empty", "\x30\x02\x00\x00"},
		{"topic wildcard", "\x30\x03\x00\x01#"},
		{"filter wildcard", "\x82\x07\x00\x01\x00\x02a#\x00"},
		{"client id past the end", "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x09a"},
		{"trailing bytes", "\x40\x03\x00\x01\x00"},
		{"reserved connect flag", "\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00"},
		{"will QoS without will", "\x10\x0c\x00\x04MQTT\x04\x0a\x00\x00\x00\x00"},
		{"password without user name", "\x10\x0e\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x00"},
		{"protocol level", "\x10\x0c\x00\x04MQTT\x05\x02\x00\x00\x00\x00"},
		{"subscribe without filters", "\x82\x02\x00\x01"},
		{"subscribe QoS", "\x82\x06\x00\x01\x00\x01a\x07"},
		{"suback code", "\x90\x03\x00\x01\x7f"},
		{"unsubscribe without filters", "\xa2\x02\x00\x01"},
		{"unsubscribe empty filter", "\xa2\x07\x00\x01\x00\x01a\x00\x00"},
	} {
		if _, err := packets.ReadPacket(bytes.NewReader([]byte(tc.bytes))); err != nil {
			t.Errorf("%s: the oracle refuses it: %v", tc.name, err)
		}
		if v, err := decodeAny([]byte(tc.bytes)); err == nil {
			t.Errorf("%s: we accept it: %+v", tc.name, v)
		}
	}
}
