package amqpfront

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// Who proves nothing is closed in time, whatever it says.
func TestSilentClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		nc := e.dial()
		begun := time.Now()
		if _, err := io.ReadAll(nc); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d < 9*time.Second || d > 12*time.Second {
			t.Errorf("a silent client was closed after %s", d)
		}
		w := e.raw()
		begun = time.Now()
		if err := w.closed(); err == nil || err.Condition != amqp.ErrCondUnauthorized {
			t.Errorf("closed with %v", err)
		}
		if d := time.Since(begun); d > 12*time.Second {
			t.Errorf("an unproved client was closed after %s", d)
		}
	})
}

func TestMalformedFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		for name, test := range map[string]struct {
			bytes string
			want  amqp.Symbol
		}{
			"short":      {"\x00\x00\x00\x07\x02\x00\x00\x00", amqp.ErrCondDecode},
			"large":      {"\x00\x01\x00\x01\x02\x00\x00\x00", amqp.ErrCondFraming},
			"offset":     {"\x00\x00\x00\x08\x09\x00\x00\x00", amqp.ErrCondDecode},
			"type":       {"\x00\x00\x00\x08\x02\x01\x00\x00", amqp.ErrCondFraming},
			"no value":   {"\x00\x00\x00\x09\x02\x00\x00\x00\xff", amqp.ErrCondDecode},
			"no session": {"\x00\x00\x00\x0c\x02\x00\x00\x01\x00\x53\x17\x45", amqp.ErrCondNotAllowed},
		} {
			w := e.raw()
			w.write([]byte(test.bytes))
			if err := w.closed(); err == nil || err.Condition != test.want {
				t.Errorf("%s: closed with %v, want %s", name, err, test.want)
			}
			_ = w.nc.Close()
		}
	})
}

// What a greedy client may do before it has proved who it is, is little.
func TestGreedyClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		w := e.raw()
		begin := &amqp.Begin{IncomingWindow: 10, OutgoingWindow: 10, HandleMax: amqp.DefaultHandleMax}
		for ch := range uint16(unprovedSessions) {
			w.send(ch, begin)
			w.next()
		}
		w.send(unprovedSessions, begin)
		if err := w.closed(); err == nil || err.Condition != amqp.ErrCondResourceLimit {
			t.Errorf("too many sessions: %v", err)
		}

		w = e.raw()
		w.send(0, begin)
		w.next()
		w.send(0, &amqp.Attach{Name: "a", Role: amqp.RoleSender, Target: &amqp.Target{Address: "$cbs"}, InitialDeliveryCount: amqp.Some(uint32(0))})
		if code, _ := w.next(); code != amqp.CodeAttach {
			t.Fatalf("%#x instead of attach", code)
		}
		if code, _ := w.next(); code != amqp.CodeFlow {
			t.Fatalf("%#x instead of flow", code)
		}
		// A message that never ends.
		part := &amqp.Transfer{DeliveryID: amqp.Some(uint32(0)), DeliveryTag: []byte{1}, More: true, Payload: make([]byte, 8<<10)}
		for range 3 {
			w.send(0, part)
		}
		code, body := w.next()
		var d amqp.Detach
		if code != amqp.CodeDetach || d.Decode(body) != nil || d.Error == nil || d.Error.Condition != amqp.ErrCondMessageSizeExceeded {
			t.Errorf("%#x %+v", code, d.Error)
		}
	})
}

// A client that asks for answers and reads none is cut off.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		w := e.raw()
		w.send(0, &amqp.Begin{IncomingWindow: 10, OutgoingWindow: 10, HandleMax: amqp.DefaultHandleMax})
		w.next()
		flow, err := amqp.AppendFrame(nil, amqp.FrameAMQP, 0, &amqp.Flow{IncomingWindow: 10, OutgoingWindow: 10, Echo: true})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; err == nil && n < 10*unprovedOut; n += len(flow) {
			_, err = w.nc.Write(flow)
		}
		if err == nil {
			t.Errorf("it took %d bytes from a client that reads nothing", n)
		}
		synctest.Wait()
		if !strings.Contains(e.log.String(), errSlow.Error()) {
			t.Error("the log does not say why")
		}
	})
}

func TestTokenRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		c := e.connect(nil)
		if status, text := e.putToken(c, hostName, e.token("service", hostName, time.Hour)); status != 200 {
			t.Fatal(text)
		}
		s := e.session(c)
		w, err := s.NewSender(t.Context(), "/messages/devicebound", nil)
		if err != nil {
			t.Fatal(err)
		}
		send := func() error {
			return w.Send(t.Context(), c2d("/devices/dev1/messages/devicebound", "", ""), nil)
		}
		<-time.After(50 * time.Minute) // virtual: the token is renewed
		if status, text := e.putToken(c, hostName, e.token("service", hostName, time.Hour)); status != 200 {
			t.Fatal(text)
		}
		<-time.After(20 * time.Minute) // virtual: the first one has run out
		if err := send(); err != nil {
			t.Error(err)
		}
		<-time.After(time.Hour) // virtual: and now the second
		if err := send(); conditionOf(err) != "amqp:unauthorized-access" {
			t.Errorf("after the token: %v", err)
		}
		if status, text := e.putToken(e.connect(nil), hostName, e.token("device", hostName, time.Minute)); status != 200 {
			t.Error(text)
		}
	})
}

// Messages larger than a frame arrive whole, in both directions, and idle
// connections live as long as both sides show that they do.
func TestLargeMessagesAndIdleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		c := e.connect(&goamqp.ConnOptions{MaxFrameSize: 512, IdleTimeout: 20 * time.Second})
		if status, text := e.putToken(c, hostName, e.token("service", hostName, 10*time.Hour)); status != 200 {
			t.Fatal(text)
		}
		s := e.session(c)
		w, err := s.NewSender(t.Context(), "/messages/devicebound", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			m := c2d("/devices/dev1/messages/devicebound", strings.Repeat("m", 100), "full")
			m.Data = [][]byte{make([]byte, 60_000)}
			if err := w.Send(t.Context(), m, nil); err != nil {
				t.Fatal(err)
			}
			l, _, err := e.hub.LockC2D("dev1")
			if err != nil || len(l.Payload) != 60_000 || e.hub.SettleC2D("dev1", l.LockToken, core.Complete) != nil {
				t.Fatalf("%d bytes, %v", len(l.Payload), err)
			}
		}
		<-time.After(time.Hour) // virtual: nobody says anything but that he lives
		r, err := s.NewReceiver(t.Context(), "/messages/servicebound/feedback", nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Receive(t.Context(), nil)
		if err != nil || strings.Count(string(m.GetData()), strings.Repeat("m", 100)) != 20 {
			t.Errorf("%v, %v", m, err)
		}
		if err := r.RejectMessage(t.Context(), m, nil); err != nil {
			t.Error(err)
		}
	})
}

// Credit is taken back by a drain, and what comes later waits for new credit.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		s := e.service("service")
		r, err := s.NewReceiver(t.Context(), "/messages/servicebound/feedback", &goamqp.ReceiverOptions{Credit: -1})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.IssueCredit(5); err != nil {
			t.Fatal(err)
		}
		if err := r.DrainCredit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := e.hub.SendC2D(t.Context(), "dev1", core.Message{MessageID: "m", Ack: core.AckFull}); err != nil {
			t.Fatal(err)
		}
		if n, err := e.hub.PurgeC2D(t.Context(), "dev1"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		synctest.Wait()
		if m := r.Prefetched(); m != nil {
			t.Error("a message came without credit")
		}
		if err := r.IssueCredit(1); err != nil {
			t.Fatal(err)
		}
		m, err := r.Receive(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.AcceptMessage(t.Context(), m); err != nil {
			t.Error(err)
		}
	})
}
