package engine

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// FuzzFeed: whatever a hub says, in whatever pieces, with messages in flight:
// the engine does not panic, confirms each message at most once, and keeps no
// more of it than the beginning of one packet.
func FuzzFeed(f *testing.F) {
	connack := mqtt.AppendConnack(nil, false, 0)
	acks := append([]byte(nil), connack...)
	for id := uint16(1); id <= 20; id++ {
		acks = mqtt.AppendAck(acks, mqtt.TypePuback, id)
	}
	f.Add(acks, uint64(1), uint8(3))
	f.Add(acks, uint64(0), uint8(0))
	f.Add(mqtt.AppendEmpty(connack, mqtt.TypePingresp), uint64(7), uint8(1))
	f.Add(mqtt.AppendConnack(nil, false, 5), uint64(9), uint8(2))
	publish, _ := mqtt.AppendPublish(append([]byte(nil), connack...), &mqtt.PublishPacket{Topic: []byte("t"), QoS: 1, PacketID: 3, Payload: []byte("p")})
	f.Add(publish, uint64(2), uint8(5))
	f.Add(append(append([]byte(nil), connack...), 0x30, 0xff, 0xff, 0x7f), uint64(2), uint8(200))
	f.Fuzz(func(t *testing.T, in []byte, splits uint64, step uint8) {
		p := newPlayer(t, *iothub.DefaultRetryPolicy())
		in = in[:min(len(in), 8<<10)]
		const total = 20
		confirms := [total]int{}
		o := NewOutbox(NewMQTTEncoder(testIdentity, false), p.now, total, 1<<20)
		for i := range total {
			timeout := time.Duration(0)
			if i%3 == 0 {
				timeout = 30 * time.Second
			}
			if err := o.Add(p.now, &iothub.Message{Payload: []byte("x")}, func(iothub.Confirmation) { confirms[i]++ }, timeout, false); err != nil {
				t.Fatal(err)
			}
		}
		p.s.Submit(p.now, o.Take(nil))
		p.collect()
		for len(in) > 0 {
			if p.s.phase == phaseDialing {
				p.s.LinkUp(p.now, Auth{})
			}
			n := min(len(in), 1+int(splits%61))
			splits = splits>>3 | splits<<61
			p.s.Feed(p.now, in[:n])
			in = in[n:]
			p.collect()
			p.take()
			if kept := len(p.s.proto.link.in); kept > maxInbound {
				t.Fatalf("%d bytes are kept", kept)
			}
			p.pass(time.Duration(step) * 100 * time.Millisecond)
		}
		p.s.Close(p.now)
		p.collect()
		for _, e := range p.events {
			if e.Kind == EventConfirm {
				e.Confirm(e.Confirmation)
			}
		}
		for i, n := range confirms {
			if n != 1 {
				t.Errorf("message %d was confirmed %d times", i, n)
			}
		}
		if st := p.s.Stats(); st.Confirmed+st.Failed != total || st.Queued != 0 || st.InFlight != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// What arrives of an unfinished packet is bounded and not copied over and over.
func TestFeedBytewise(t *testing.T) {
	p := newPlayer(t, *iothub.DefaultRetryPolicy())
	p.send(1)
	p.accept(Auth{})
	packet, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte("t"), Payload: make([]byte, 200<<10)})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := 0; i < len(packet); i += 100 {
		p.s.Feed(p.now, packet[i:min(i+100, len(packet))])
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 20*uint64(len(packet)) {
		t.Errorf("a packet of %d bytes in pieces of 100 cost %d bytes of memory", len(packet), n)
	}
	if len(p.s.proto.link.in) != 0 || p.hangs != 0 {
		t.Errorf("%d bytes left, %d hang-ups", len(p.s.proto.link.in), p.hangs)
	}
}

// FuzzEncode: whatever a message holds, its encoded packet decodes to the same
// message, or it is refused.
func FuzzEncode(f *testing.F) {
	f.Add([]byte("payload"), "key", "value", "k2", "v/ü&=", "id-1", "json", uint8(0), int64(0))
	f.Add([]byte{}, "", "", "$", "\x00", "a b", "\xff", uint8(255), int64(1700000000))
	f.Fuzz(func(t *testing.T, payload []byte, k1, v1, k2, v2, id, text string, which uint8, created int64) {
		m := &iothub.Message{Payload: payload, Properties: map[string]string{k1: v1, k2: v2}, MessageID: id}
		want := map[string]string{k1: v1, k2: v2}
		set := func(name, value string) {
			if value != "" {
				want[name] = value
			}
		}
		set(topic.MessageID, id)
		for bit, field := range []struct {
			name string
			p    *string
		}{
			{topic.CorrelationID, &m.CorrelationID}, {topic.UserID, &m.UserID}, {topic.ContentType, &m.ContentType},
			{topic.ContentEncoding, &m.ContentEncoding}, {topic.OutputName, &m.OutputName}, {topic.ComponentName, &m.Component},
			{topic.MessageSchema, &m.Schema}, {topic.DiagnosticContext, &m.DiagnosticContext},
		} {
			if which&(1<<bit) != 0 {
				*field.p = text
				set(field.name, text)
			}
		}
		if created > 0 && created < 1<<32 {
			m.CreationTime = time.Unix(created, 0)
			want[topic.CreationTime] = m.CreationTime.UTC().Format("2006-01-02T15:04:05.000Z")
		}
		o := newOutbox(4, 1<<20)
		o.Add(time.Now(), &iothub.Message{}, nil, 0, false) // ours is not the first
		err := o.Add(time.Now(), m, nil, 0, false)
		if invalid := m.Validate(); err != nil {
			if !iothub.NotSent(err) {
				t.Errorf("NotSent is false of %v", err)
			}
			if invalid == nil && o.Staged() == 1 && len(payload)+3*(len(k1)+len(v1)+len(k2)+len(v2)+len(text)*8) < 50_000 {
				t.Errorf("a valid message was refused: %v", err)
			}
			return
		} else if invalid != nil {
			t.Fatalf("an invalid message was accepted: %v", invalid)
		}
		got, props := decode(t, o.Take(nil)[1].packet())
		if string(got) != string(payload) {
			t.Errorf("payload %q, want %q", got, payload)
		}
		if fmt.Sprint(props) != fmt.Sprint(want) {
			t.Errorf("properties %q, want %q", props, want)
		}
		for k, v := range props {
			if !utf8.ValidString(k + v) {
				t.Errorf("property %q is not UTF-8", k)
			}
		}
		if _, err := json.Marshal(props); err != nil {
			t.Error(err)
		}
	})
}
