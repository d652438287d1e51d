package engine

import (
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// A message that timed out in flight keeps its id until the hub acknowledges it
// or the link is gone: a late acknowledgement is never taken for that of
// another message, however many were sent since.
func TestTimedOutMessageKeepsItsID(t *testing.T) {
	p := newPlayer(t, *iothub.DefaultRetryPolicy())
	p.s.proto.cfg.Window = 65535
	o := NewOutbox(NewMQTTEncoder(testIdentity, false), p.now, 1<<20, 1<<30)
	add := func(n int, timeout time.Duration) {
		for range n {
			if err := o.Add(p.now, &iothub.Message{}, nil, timeout, false); err != nil {
				t.Fatal(err)
			}
		}
		p.s.Submit(p.now, o.Take(nil))
		p.collect()
	}
	add(1, time.Second)
	p.accept(Auth{})
	p.take()
	first := p.oldest()
	p.pass(2 * time.Second)
	if st := p.s.Stats(); st.Failed != 1 || st.InFlight != 0 {
		t.Fatalf("stats %+v", st)
	}
	add(70_000, 0)
	id := first
	for range idCount - 1 {
		p.take()
		if id = nextID(id); id != first {
			p.s.Feed(p.now, mqtt.AppendAck(nil, mqtt.TypePuback, id))
		}
	}
	p.take()
	if st := p.s.Stats(); st.Confirmed != idCount-1 || st.InFlight != 0 {
		t.Fatalf("stats %+v: id %d is still taken, so %d can be confirmed", st, first, idCount-1)
	}
	p.s.Feed(p.now, mqtt.AppendAck(nil, mqtt.TypePuback, first)) // late, and for nobody
	p.take()
	if st := p.s.Stats(); st.Confirmed != idCount-1 || st.InFlight == 0 {
		t.Errorf("stats %+v after the late acknowledgement", st)
	}
}
