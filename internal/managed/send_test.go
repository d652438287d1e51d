package managed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
)

func TestSendEventWaitsForTheConfirmation(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) { s.hub.Ack = never }, func(s *stage) {
		w := start(func() error { return s.c.SendEvent(s.Context(), msg("m")) })
		advance(time.Second)
		if len(s.hub.Received()) != 1 || w.returned() {
			s.Fatalf("the hub has %v and has acknowledged nothing; returned: %v", s.payloads(), w.returned())
		}
		s.ackAll()
		if !w.returned() || w.err != nil {
			s.Errorf("after the acknowledgement: returned %v, %v", w.returned(), w.err)
		}
	})
}

func TestSendEventWaitsForRoom(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = never
		o.MaxQueuedMessages = 1
	}, func(s *stage) {
		s.send("first", nil)
		impatient := start(func() error { return s.c.SendEvent(within(s.T, 5*time.Second), msg("impatient")) })
		patient := start(func() error { return s.c.SendEvent(within(s.T, time.Minute), msg("patient")) })
		advance(5 * time.Second)
		if !impatient.returned() || impatient.took != 5*time.Second {
			s.Fatalf("a full queue: returned %v after %v, want after 5s", impatient.returned(), impatient.took)
		}
		wantCause(s.T, impatient.err, context.DeadlineExceeded, true)
		if patient.returned() {
			s.Errorf("returned %v while the queue was full", patient.err)
		}
		s.ackAll() // room for one
		s.ackAll() // its confirmation
		if !patient.returned() || patient.err != nil {
			s.Errorf("after room came: returned %v, %v", patient.returned(), patient.err)
		}
		if got := s.payloads(); !slices.Equal(got, []string{"first", "patient"}) {
			s.Errorf("the hub received %v", got)
		}
	})
}

// Many who wait for room get it one after the other: none is forgotten.
func TestSendEventManyWaitForRoom(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.MaxQueuedMessages = 2
		d := simnet.Direction{Latency: 10 * time.Millisecond}
		s.net.Plan = func(int) simnet.Plan { return simnet.Plan{Up: d, Down: d} }
	}, func(s *stage) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if err := s.c.SendEvent(s.Context(), msg(fmt.Sprint(i))); err != nil {
					s.Errorf("message %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := len(s.hub.Received()); n != 50 {
			s.Errorf("the hub received %d messages, want 50", n)
		}
	})
}

func TestSendEventContextEndsAfterAcceptance(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		s.net.Plan = func(n int) simnet.Plan { return simnet.Plan{DialDelay: 10 * time.Second} }
	}, func(s *stage) {
		ctx, cancel := context.WithCancel(s.Context())
		w := start(func() error { return s.c.SendEvent(ctx, msg("m")) })
		cancel()
		if !w.returned() {
			s.Fatal("SendEvent did not return when its context ended")
		}
		// It was accepted and is still to be sent, so NotSent would be a lie.
		wantCause(s.T, w.err, context.Canceled, false)
		advance(11 * time.Second)
		if got := s.payloads(); !slices.Equal(got, []string{"m"}) {
			s.Errorf("the hub received %v, want the message nevertheless", got)
		}
		if st := s.c.Stats(); st.Confirmed != 1 || st.Queued+st.InFlight != 0 {
			s.Errorf("stats: %+v", st)
		}
		// The late confirmation must not be taken for that of another.
		s.hub.Ack = never
		w = start(func() error { return s.c.SendEvent(within(s.T, time.Second), msg("n")) })
		advance(time.Second)
		wantCause(s.T, w.err, context.DeadlineExceeded, false)
	})
}

// A context that has ended before the call is no reason to refuse a message
// that can be accepted, nor to wait for anything.
func TestSendEventWithAnEndedContext(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) { s.hub.Ack = never }, func(s *stage) {
		w := start(func() error { return s.c.SendEvent(ended(), msg("m")) })
		if !w.returned() || !errors.Is(w.err, context.Canceled) {
			s.Fatalf("returned %v, %v", w.returned(), w.err)
		}
		advance(time.Second)
		if n := len(s.hub.Received()); iothub.NotSent(w.err) != (n == 0) {
			s.Errorf("NotSent is %v, but the hub received %d messages", iothub.NotSent(w.err), n)
		}
	})
}

func TestSendEventReturnsWhatRefusesTheMessage(t *testing.T) {
	play(t, nil, func(s *stage) {
		for name, m := range map[string]*iothub.Message{
			"nil":   nil,
			"large": {Payload: make([]byte, iothub.MaxMessageSize+1)},
			"name":  {Properties: map[string]string{"": "v"}},
		} {
			err := s.c.SendEvent(s.Context(), m)
			if err == nil || !iothub.NotSent(err) || iothub.Retryable(err) {
				s.Errorf("%s: %v", name, err)
			}
		}
		s.c.Close(s.Context())
		wantCause(s.T, s.c.SendEvent(s.Context(), msg("late")), iothub.ErrClosed, false)
	})
}

// A close that cannot wait ends those who wait in SendEvent, too.
func TestSendEventEndsWithTheClient(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = never
		o.MaxQueuedMessages = 1
	}, func(s *stage) {
		accepted := start(func() error { return s.c.SendEvent(s.Context(), msg("accepted")) })
		waits := start(func() error { return s.c.SendEvent(s.Context(), msg("waits for room")) })
		s.c.Close(ended())
		if !accepted.returned() || !errors.Is(accepted.err, iothub.ErrClosed) {
			s.Errorf("accepted: returned %v, %v", accepted.returned(), accepted.err)
		}
		if !waits.returned() || !errors.Is(waits.err, iothub.ErrClosed) {
			s.Errorf("waiting for room: returned %v, %v", waits.returned(), waits.err)
		}
	})
}

func TestSendEventInsideCallbacks(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		note := o.OnConnectionStatus
		o.OnConnectionStatus = func(e iothub.ConnectionEvent) {
			note(e)
			if e.Status == iothub.Authenticated {
				if err := s.c.SendEvent(s.Context(), msg("from status")); err != nil {
					s.Errorf("SendEvent inside OnConnectionStatus: %v", err)
				}
			}
		}
	}, func(s *stage) {
		ran := false
		s.send("outer", func(iothub.Confirmation) {
			if err := s.c.SendEvent(s.Context(), msg("from confirm")); err != nil {
				s.Errorf("SendEvent inside confirm: %v", err)
			}
			if err := s.c.SendEventBatch(s.Context(), []*iothub.Message{msg("a"), msg("b")}); err != nil {
				s.Errorf("SendEventBatch inside confirm: %v", err)
			}
			ran = true
		})
		advance(time.Second)
		if got := s.payloads(); !ran || len(got) != 5 {
			s.Errorf("callback ended: %v; the hub received %v", ran, got)
		}
	})
}

// Waiting for room inside a callback could wait for ever: it is refused.
func TestSendEventInsideCallbackOfAFullQueue(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.MaxQueuedMessages = 2
		s.hub.Ack = func(*simhub.Received) bool { return false }
	}, func(s *stage) {
		var err error
		s.send("acked", func(iothub.Confirmation) {
			s.c.SendEventAsync(msg("fills"), nil)
			err = s.c.SendEvent(s.Context(), msg("too many"))
		})
		s.send("stays", nil)
		advance(time.Second)
		s.hub.Acknowledge(s.hub.Received()[0].ID)
		advance(time.Second)
		wantCause(s.T, err, iothub.ErrQueueFull, true)
	})
}

func TestSendEventBatch(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) { o.MaxQueuedMessages = 7 }, func(s *stage) {
		var msgs []*iothub.Message
		var want []string
		for i := range 100 { // far more than the queue holds
			msgs = append(msgs, msg(fmt.Sprint(i)))
			want = append(want, fmt.Sprint(i))
		}
		if err := s.c.SendEventBatch(s.Context(), msgs); err != nil {
			s.Fatal(err)
		}
		if got := s.payloads(); !slices.Equal(got, want) {
			s.Errorf("the hub received %v", got)
		}
		if err := s.c.SendEventBatch(s.Context(), nil); err != nil {
			s.Errorf("an empty batch: %v", err)
		}
	})
}

func TestSendEventBatchWithAnInvalidMessageSendsNothing(t *testing.T) {
	play(t, nil, func(s *stage) {
		for name, bad := range map[string]*iothub.Message{
			"nil":   nil,
			"large": {Payload: make([]byte, iothub.MaxMessageSize+1)},
			// Only the encoder knows that a topic can become too long.
			"topic": {Properties: map[string]string{"k": strings.Repeat("/", 30000)}},
		} {
			err := s.c.SendEventBatch(s.Context(), []*iothub.Message{msg("0"), msg("1"), bad, msg("3")})
			if err == nil || !strings.Contains(err.Error(), "message 2 of 4") {
				s.Errorf("%s: the error does not say which message: %v", name, err)
			}
			if k := iothub.KindOf(err); k != iothub.KindInvalidArgument && k != iothub.KindMessageTooLarge {
				s.Errorf("%s: kind %v of %v", name, k, err)
			}
		}
		advance(time.Second)
		if got := s.payloads(); len(got) != 0 {
			s.Errorf("the hub received %v", got)
		}
	})
}

func TestSendEventBatchSaysWhichFailed(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.MaxQueuedMessages = 3
		s.hub.Ack = func(r *simhub.Received) bool { return r.Payload == "1" }
	}, func(s *stage) {
		msgs := []*iothub.Message{msg("0"), msg("1"), msg("2"), msg("3"), msg("4"), msg("5")}
		err := s.c.SendEventBatch(within(s.T, 5*time.Second), msgs)
		be, ok := errors.AsType[*iothub.BatchError](err)
		if !ok || len(be.Errs) != len(msgs) {
			s.Fatalf("got %T %v", err, err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("the error does not lead to the cause: %v", err)
		}
		// 0, 2 and 3 fill the queue unacknowledged; 4 and 5 found no room.
		for i, want := range []struct{ ok, notSent bool }{{}, {ok: true}, {}, {}, {notSent: true}, {notSent: true}} {
			if err := be.Errs[i]; (err == nil) != want.ok || iothub.NotSent(err) != want.notSent {
				s.Errorf("message %d: %v (NotSent %v)", i, err, iothub.NotSent(err))
			}
		}
		if got := s.payloads(); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
			s.Errorf("the hub received %v", got)
		}
	})
}

// The retry policy gave up before anything could be sent: all failed, none
// left.
func TestSendEventBatchWithoutAHub(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryNone}
		s.net.Plan = func(int) simnet.Plan { return simnet.Plan{Refuse: syscall.ECONNREFUSED} }
	}, func(s *stage) {
		err := s.c.SendEventBatch(s.Context(), []*iothub.Message{msg("0"), msg("1")})
		be, ok := errors.AsType[*iothub.BatchError](err)
		if !ok || be.Errs[0] == nil || be.Errs[1] == nil {
			s.Fatalf("got %v", err)
		}
		for _, err := range be.Errs {
			wantCause(s.T, err, syscall.ECONNREFUSED, true)
		}
	})
}

func TestManyGoroutinesSend(t *testing.T) {
	const senders, each = 16, 200
	play(t, func(s *stage, o *iothub.ClientOptions) {
		o.MaxQueuedMessages = 300 // so that senders meet a full queue, too
		s.net.Plan = func(n int) simnet.Plan {
			up := simnet.Direction{Latency: time.Millisecond}
			if n < 5 {
				up.Fault, up.After = simnet.Reset, 10_000*(n+1)
			}
			return simnet.Plan{Up: up, Down: simnet.Direction{Latency: time.Millisecond}}
		}
	}, func(s *stage) {
		var n count
		var wg sync.WaitGroup
		for i := range senders {
			wg.Go(func() {
				for j := range each {
					m := msg(fmt.Sprintf("%d/%d", i, j))
					if j%4 == 0 {
						if err := s.c.SendEvent(s.Context(), m); err != nil {
							s.Error(err)
						}
						n.confirm(iothub.Confirmation{})
						continue
					}
					for {
						err := s.c.SendEventAsync(m, n.confirm)
						if err == nil {
							break
						}
						if !errors.Is(err, iothub.ErrQueueFull) {
							s.Error(err)
							return
						}
						<-time.After(time.Millisecond)
					}
					s.c.Stats()
				}
			})
		}
		wg.Wait()
		if err := s.c.Close(within(s.T, time.Minute)); err != nil {
			s.Fatal(err)
		}
		if got := n.get(iothub.ConfirmOK); got != senders*each {
			s.Errorf("%d confirmations, want %d", got, senders*each)
		}
		// Each sender's messages arrive in its order, repetitions aside.
		next := map[int]int{}
		for _, r := range s.hub.Received() {
			var i, j int
			fmt.Sscanf(r.Payload, "%d/%d", &i, &j)
			if j > next[i] {
				s.Fatalf("sender %d: message %d arrived, %d has not", i, j, next[i])
			}
			next[i] = max(next[i], j+1)
		}
		for i := range senders {
			if next[i] != each {
				s.Errorf("sender %d: %d messages arrived", i, next[i])
			}
		}
	})
}

func TestSendEventToOutput(t *testing.T) {
	play(t, nil, func(s *stage) {
		m := &iothub.Message{Payload: []byte("p"), OutputName: "ignored", Properties: map[string]string{"a": "b"}}
		var n count
		if err := s.c.SendEventToOutputAsync("out 1/ü", m, n.confirm); err != nil {
			s.Fatal(err)
		}
		m.Properties["a"] = "changed"
		synctest.Wait()
		if m.OutputName != "ignored" || n.get(iothub.ConfirmOK) != 1 {
			s.Errorf("the caller's message now has OutputName %q; %d confirmations", m.OutputName, n.get(iothub.ConfirmOK))
		}
		got := s.hub.Received()
		if len(got) != 1 || got[0].Properties["$.on"] != "out 1/ü" || got[0].Properties["a"] != "b" {
			s.Errorf("the hub received %+v", got)
		}
		if !strings.HasPrefix(got[0].Topic, "devices/dev1/modules/mod1/messages/events/") {
			s.Errorf("topic %q", got[0].Topic)
		}
		for _, bad := range []struct {
			output string
			m      *iothub.Message
		}{{"", m}, {"out", nil}, {"a\x00", m}} {
			if err := s.c.SendEventToOutputAsync(bad.output, bad.m, n.confirm); iothub.KindOf(err) != iothub.KindInvalidArgument {
				s.Errorf("output %q of %v: %v", bad.output, bad.m, err)
			}
		}
	})
}
