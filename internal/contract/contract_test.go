package contract_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// ledger counts confirmations.
type ledger struct {
	mu    sync.Mutex
	order []string
	got   map[string][]iothub.Confirmation
}

func (l *ledger) confirm(name string) iothub.ConfirmFunc {
	return func(c iothub.Confirmation) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.got == nil {
			l.got = map[string][]iothub.Confirmation{}
		}
		l.got[name] = append(l.got[name], c)
		l.order = append(l.order, name)
	}
}

func (l *ledger) of(name string) []iothub.Confirmation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got[name]
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.order)
}

// want checks that name was confirmed once, with r.
func (l *ledger) want(s *stage, name string, r iothub.ConfirmationResult) {
	s.Helper()
	if got := l.of(name); len(got) != 1 || got[0].Result != r {
		s.Errorf("%s was confirmed %v, want %v once", name, got, r)
	}
}

func msg(payload string) *iothub.Message {
	return &iothub.Message{Payload: []byte(payload), Properties: map[string]string{"n": payload}}
}

// §2.1: it never blocks and never touches the network.
func TestSendDoesNotBlock(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		s.net.Plan = func(int) simnet.Plan { return simnet.Plan{Silent: true} }
	}, func(s *stage) {
		start := time.Now()
		for i := range 1000 {
			if err := s.send(msg(fmt.Sprint(i)), nil); err != nil {
				s.Fatal(err)
			}
		}
		if d := time.Since(start); d != 0 {
			s.Errorf("1000 sends with no network took %v", d)
		}
	})
}

// §2.2: the message is the caller's again the moment the call returns.
func TestMessageIsCopied(t *testing.T) {
	on(t, nil, func(s *stage) {
		m := &iothub.Message{
			Payload: []byte("original"), Properties: map[string]string{"colour": "dark red/ü"},
			MessageID: "id-1", CorrelationID: "c-1", UserID: "u", ContentType: "application/json", ContentEncoding: "utf-8",
			CreationTime: time.Date(2024, 1, 2, 3, 4, 5, 678e6, time.UTC), Component: "thermostat",
		}
		var l ledger
		if err := s.send(m, l.confirm("m")); err != nil {
			s.Fatal(err)
		}
		copy(m.Payload, "XXXXXXXX")
		m.Properties["colour"] = "changed"
		m.Properties["new"] = "1"
		*m = iothub.Message{Payload: m.Payload, Properties: m.Properties}
		synctest.Wait()
		l.want(s, "m", iothub.ConfirmOK)
		got := s.hub.Received()
		if len(got) != 1 || got[0].Payload != "original" {
			s.Fatalf("the hub received %v", got)
		}
		want := map[string]string{"colour": "dark red/ü", "$.mid": "id-1", "$.cid": "c-1", "$.uid": "u",
			"$.ct": "application/json", "$.ce": "utf-8", "$.ctime": "2024-01-02T03:04:05.678Z", "$.sub": "thermostat"}
		if fmt.Sprint(got[0].Properties) != fmt.Sprint(want) {
			s.Errorf("the hub received properties %v, want %v", got[0].Properties, want)
		}
	})
}

// §2.3: exactly once, never from inside the call, in acknowledgement order.
func TestConfirmOnceInOrder(t *testing.T) {
	on(t, nil, func(s *stage) {
		var l ledger
		for i := range 500 {
			name := fmt.Sprint(i)
			confirm := l.confirm(name)
			if i%10 == 3 {
				confirm = nil // a nil confirm is allowed
			}
			if err := s.send(msg(name), confirm); err != nil {
				s.Fatal(err)
			}
		}
		synctest.Wait()
		want := 0
		for i := range 500 {
			if i%10 == 3 {
				continue
			}
			want++
			l.want(s, fmt.Sprint(i), iothub.ConfirmOK)
		}
		if l.len() != want {
			s.Errorf("%d confirmations, want %d", l.len(), want)
		}
		last := -1
		for _, name := range l.order {
			var i int
			fmt.Sscan(name, &i)
			if i < last {
				s.Fatalf("%d was confirmed after %d", i, last)
			}
			last = i
		}
		if st := s.stats(); st.Confirmed != 500 || st.Queued+st.InFlight+int(st.Failed) != 0 || st.QueuedBytes != 0 {
			s.Errorf("stats after all: %+v", st)
		}
	})
}

// §2.3: acknowledgements out of order confirm in the order of the
// acknowledgements, each its own message.
func TestConfirmOutOfOrder(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = func(*simhub.Received) bool { return false }
	}, func(s *stage) {
		var l ledger
		for i := range 5 {
			s.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i)))
		}
		synctest.Wait()
		ids := map[string]uint16{}
		for _, r := range s.hub.Received() {
			ids[r.Payload] = r.ID
		}
		for _, name := range []string{"3", "0", "4", "1", "2"} {
			s.hub.Acknowledge(ids[name])
			s.hub.Acknowledge(ids[name]) // twice: the second is for nobody
			synctest.Wait()
		}
		if got := strings.Join(l.order, ""); got != "30412" {
			s.Errorf("confirmed in order %s", got)
		}
	})
}

// §2.3: a call that returned an error never confirms.
func TestRefusedNeverConfirms(t *testing.T) {
	on(t, nil, func(s *stage) {
		var l ledger
		bad := map[string]*iothub.Message{
			"nil":             nil,
			"payload":         {Payload: make([]byte, iothub.MaxMessageSize+1)},
			"properties":      {Payload: make([]byte, iothub.MaxMessageSize-5), Properties: map[string]string{"name": "value"}},
			"topic":           {Properties: map[string]string{"k": strings.Repeat("/", 30000)}},
			"empty name":      {Properties: map[string]string{"": "v"}},
			"dollar":          {Properties: map[string]string{"$.mid": "v"}},
			"NUL":             {Properties: map[string]string{"k": "a\x00b"}},
			"not UTF-8":       {Properties: map[string]string{"k": "\xff"}},
			"name not UTF-8":  {Properties: map[string]string{"\xff": "v"}},
			"message id":      {MessageID: "a b"},
			"long message id": {MessageID: strings.Repeat("x", 129)},
		}
		for name, m := range bad {
			err := s.send(m, l.confirm(name))
			if err == nil {
				s.Errorf("%s: accepted", name)
				continue
			}
			if !iothub.NotSent(err) {
				s.Errorf("%s: NotSent is false of %v", name, err)
			}
			if k := iothub.KindOf(err); k != iothub.KindInvalidArgument && k != iothub.KindMessageTooLarge {
				s.Errorf("%s: kind %v of %v", name, k, err)
			}
		}
		s.send(msg("good"), l.confirm("good"))
		synctest.Wait()
		s.close()
		err := s.send(msg("late"), l.confirm("late"))
		if !errors.Is(err, iothub.ErrClosed) {
			s.Errorf("send after close returned %v", err)
		}
		synctest.Wait()
		if len(l.order) != 1 || l.order[0] != "good" {
			s.Errorf("confirmed: %v", l.order)
		}
	})
}

// §2.3: the message timeout holds for what waits and for what is in flight.
func TestMessageTimeout(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		o.MessageTimeout = 20 * time.Second
		s.hub.Ack = func(r *simhub.Received) bool { return r.Payload != "in flight" }
		s.net.Plan = func(n int) simnet.Plan {
			return simnet.Plan{Silent: n > 0}
		}
	}, func(s *stage) {
		var l ledger
		s.send(msg("in flight"), l.confirm("in flight"))
		synctest.Wait()
		m := msg("expiring")
		m.ExpiryTime = time.Now().Add(7 * time.Second)
		s.hub.Drop() // and no connection after this one
		synctest.Wait()
		s.send(m, l.confirm("expiring"))
		s.send(msg("waiting"), l.confirm("waiting"))
		start := time.Now()
		advance(6 * time.Second)
		if l.len() != 0 {
			s.Errorf("confirmed after %v: %v", time.Since(start), l.order)
		}
		advance(2 * time.Second)
		l.want(s, "expiring", iothub.ConfirmMessageTimeout)
		if err := l.of("expiring")[0].Err; !iothub.NotSent(err) || !errors.Is(err, iothub.ErrMessageTimeout) {
			s.Errorf("the expired message was never sent, but its error is %v", err)
		}
		advance(20 * time.Second)
		l.want(s, "in flight", iothub.ConfirmMessageTimeout)
		l.want(s, "waiting", iothub.ConfirmMessageTimeout)
		if err := l.of("in flight")[0].Err; iothub.NotSent(err) {
			s.Errorf("NotSent is true of a message that was in flight: %v", err)
		}
	})
}

// advance lets d of virtual time pass.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// §2.3: whatever is left at the end confirms BECAUSE_DESTROY, in flight first.
func TestCloseConfirmsTheRest(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = func(r *simhub.Received) bool { return r.Payload == "acked" }
	}, func(s *stage) {
		var l ledger
		for _, name := range []string{"acked", "flight 1", "flight 2"} {
			s.send(msg(name), l.confirm(name))
		}
		synctest.Wait()
		s.close()
		synctest.Wait()
		l.want(s, "acked", iothub.ConfirmOK)
		l.want(s, "flight 1", iothub.ConfirmBecauseDestroy)
		l.want(s, "flight 2", iothub.ConfirmBecauseDestroy)
		if s.hub.Goodbyes() != 1 {
			s.Error("the hub got no DISCONNECT")
		}
	})
}

// §2.4: inside confirm the same message may be sent again, and others.
func TestSendInsideConfirm(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		// One message fills the queue, so that only the room of the one
		// just confirmed lets the next in.
		o.MaxQueuedMessages = 1
	}, func(s *stage) {
		m := msg("again")
		var l ledger
		tries := 0
		var confirm iothub.ConfirmFunc
		confirm = func(c iothub.Confirmation) {
			l.confirm(fmt.Sprint("try ", tries))(c)
			if tries++; tries < 5 {
				if err := s.inside(m, confirm); err != nil {
					s.Errorf("try %d inside confirm: %v", tries, err)
				}
			}
		}
		if err := s.send(m, confirm); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		for i := range 5 {
			l.want(s, fmt.Sprint("try ", i), iothub.ConfirmOK)
		}
		if n := len(s.hub.Received()); n != 5 {
			s.Errorf("the hub received %d messages, want 5", n)
		}
	})
}

// §2.4: a close from a callback takes effect when that callback returns.
func TestCloseInsideConfirm(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = func(r *simhub.Received) bool { return false }
	}, func(s *stage) {
		var l ledger
		inCallback := false
		s.send(msg("first"), func(c iothub.Confirmation) {
			inCallback = true
			s.closeInside()
			if err := s.inside(msg("late"), l.confirm("late")); !errors.Is(err, iothub.ErrClosed) {
				s.Errorf("send after close inside the callback: %v", err)
			}
			l.confirm("first")(c)
			inCallback = false
		})
		for _, name := range []string{"second", "third"} {
			confirm := l.confirm(name)
			s.send(msg(name), func(c iothub.Confirmation) {
				if inCallback {
					s.Error("a callback ran inside another")
				}
				confirm(c)
			})
		}
		synctest.Wait() // all three are in flight
		for _, r := range s.hub.Received() {
			if r.Payload == "first" {
				s.hub.Acknowledge(r.ID)
			}
		}
		synctest.Wait()
		l.want(s, "first", iothub.ConfirmOK)
		l.want(s, "second", iothub.ConfirmBecauseDestroy)
		l.want(s, "third", iothub.ConfirmBecauseDestroy)
		if len(l.of("late")) != 0 {
			s.Error("a refused message was confirmed")
		}
	})
}

// §2.6: order is kept across reconnects, and what was in flight comes first,
// with the DUP flag and its old id.
func TestOrderAcrossReconnect(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = func(r *simhub.Received) bool { return r.Session > 0 }
		s.net.Plan = func(n int) simnet.Plan {
			return simnet.Plan{DialDelay: time.Second}
		}
	}, func(s *stage) {
		var l ledger
		for i := range 10 {
			s.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i)))
		}
		advance(2 * time.Second)
		s.hub.Drop()
		synctest.Wait() // the client has noticed; the next dial takes a second
		for i := 10; i < 20; i++ {
			s.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i)))
		}
		advance(5 * time.Second)
		ids := map[string]uint16{}
		next := map[int]int{}
		for _, r := range s.hub.Received() {
			var i int
			fmt.Sscan(r.Payload, &i)
			if i != next[r.Session] {
				s.Errorf("session %d: message %d, want %d", r.Session, i, next[r.Session])
			}
			next[r.Session] = i + 1
			if r.Dup != (r.Session == 1 && i < 10) {
				s.Errorf("session %d: message %d has DUP %v", r.Session, i, r.Dup)
			}
			if id, again := ids[r.Payload]; again && id != r.ID {
				s.Errorf("message %d was sent again with id %d, not %d", i, r.ID, id)
			}
			ids[r.Payload] = r.ID
		}
		if next[0] != 10 || next[1] != 20 {
			s.Errorf("sessions saw %v messages", next)
		}
		for i := range 20 {
			l.want(s, fmt.Sprint(i), iothub.ConfirmOK)
		}
		if st := s.stats(); st.Resent != 10 || st.Reconnects != 1 {
			s.Errorf("stats: %+v", st)
		}
	})
}

// §2.7: every queue is bounded, in messages and in bytes.
func TestQueueIsBounded(t *testing.T) {
	for _, o := range []iothub.ClientOptions{{MaxQueuedMessages: 10}, {MaxQueuedBytes: 10 * 1100}} {
		on(t, func(s *stage, opts *iothub.ClientOptions) {
			opts.MaxQueuedMessages, opts.MaxQueuedBytes = o.MaxQueuedMessages, o.MaxQueuedBytes
			s.net.Plan = func(n int) simnet.Plan { return simnet.Plan{Refuse: syscall.ECONNREFUSED} }
		}, func(s *stage) {
			var l ledger
			payload := strings.Repeat("x", 1000)
			accepted := 0
			for i := range 100 {
				m := &iothub.Message{Payload: []byte(payload)}
				switch err := s.send(m, l.confirm(fmt.Sprint(i))); {
				case err == nil:
					accepted++
				case !errors.Is(err, iothub.ErrQueueFull) || !iothub.NotSent(err):
					s.Fatal(err)
				}
			}
			if accepted != 10 {
				s.Errorf("%d messages were accepted, want 10", accepted)
			}
			s.close()
			synctest.Wait()
			if l.len() != accepted {
				s.Errorf("%d confirmations of %d accepted", l.len(), accepted)
			}
		})
	}
}

// The C SDK reuses packet ids that are still in flight after 65 534 messages,
// and one acknowledgement then confirms every message with that id: a hub that
// acknowledged 10 000 of 70 000 made it report 14 466 as delivered. Here the
// hub acknowledges the first 10 000 and exactly those are confirmed.
func TestPacketIDsInFlightAreNotReused(t *testing.T) {
	const total, acked = 70_000, 10_000
	onTCP(t, func(s *stage, o *iothub.ClientOptions) {
		o.MaxQueuedMessages = total
		n := 0
		s.hub.Ack = func(r *simhub.Received) bool { n++; return n <= acked }
		o.Transport = widest
	}, func(s *stage) {
		ok := 0
		for range total {
			err := s.send(&iothub.Message{}, func(c iothub.Confirmation) {
				if c.Result == iothub.ConfirmOK {
					ok++
				}
			})
			if err != nil {
				s.Fatal(err)
			}
		}
		synctest.Wait()
		inFlight := map[uint16]int{}
		for i, r := range s.hub.Received() {
			if i < acked {
				continue
			}
			if j, used := inFlight[r.ID]; used {
				s.Fatalf("message %d has id %d, which message %d still has", i, r.ID, j)
			}
			inFlight[r.ID] = i
		}
		if ok != acked {
			s.Errorf("%d messages were reported as delivered, the hub has %d", ok, acked)
		}
		if len(inFlight) < 50_000 {
			s.Errorf("only %d messages were in flight: the test proves nothing", len(inFlight))
		}
	})
}

// A hub that says no is told to the user in words, and tried again.
func TestRefusedConnection(t *testing.T) {
	for code, want := range map[int]struct {
		reason iothub.StatusReason
		kind   iothub.Kind
	}{
		2: {iothub.ReasonBadCredential, iothub.KindUnauthorized},
		3: {iothub.ReasonDeviceDisabled, iothub.KindUnavailable},
		4: {iothub.ReasonBadCredential, iothub.KindUnauthorized},
		5: {iothub.ReasonBadCredential, iothub.KindUnauthorized},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			on(t, func(s *stage, o *iothub.ClientOptions) {
				s.hub.Connack = func(n int, _ *mqtt.ConnectPacket) int {
					if n < 3 {
						return code
					}
					return 0
				}
				var first *iothub.ConnectionEvent
				o.OnConnectionStatus = func(e iothub.ConnectionEvent) {
					if first == nil {
						first = &e
						if e.Status != iothub.Unauthenticated || e.Reason != want.reason || iothub.KindOf(e.Err) != want.kind || e.RetryIn < 0 {
							s.Errorf("refused with %d: %+v", code, e)
						}
					}
				}
			}, func(s *stage) {
				var l ledger
				s.send(msg("m"), l.confirm("m"))
				advance(time.Minute)
				l.want(s, "m", iothub.ConfirmOK)
				if st := s.stats(); st.ConnectFails != 3 || st.Connects != 1 {
					s.Errorf("stats: %+v", st)
				}
			})
		})
	}
}

// When the retry policy gives up, what waits is told; a later message starts
// over.
func TestRetryGivesUp(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Second, Limit: 10 * time.Second}
		start := time.Now()
		s.net.Plan = func(n int) simnet.Plan {
			if time.Since(start) < 30*time.Second {
				return simnet.Plan{Refuse: syscall.ECONNREFUSED}
			}
			return simnet.Plan{}
		}
	}, func(s *stage) {
		var l ledger
		s.send(msg("early"), l.confirm("early"))
		advance(9 * time.Second)
		if l.len() != 0 {
			s.Error("gave up before the limit")
		}
		advance(11 * time.Second)
		l.want(s, "early", iothub.ConfirmError)
		if err := l.of("early")[0].Err; !errors.Is(err, syscall.ECONNREFUSED) || !iothub.NotSent(err) {
			s.Errorf("the error does not lead to the cause: %v", err)
		}
		advance(11 * time.Second)
		s.send(msg("late"), l.confirm("late"))
		advance(time.Second)
		l.want(s, "late", iothub.ConfirmOK)
	})
}

// A dead link is found within one and a half of the keep-alive when idle, and
// sooner while messages are in flight; the message survives it.
func TestDeadLinkIsFound(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "sending": true} {
		t.Run(name, func(t *testing.T) {
			on(t, func(s *stage, o *iothub.ClientOptions) {
				o.KeepAlive = 40 * time.Second
			}, func(s *stage) {
				var l ledger
				s.send(msg("passes"), l.confirm("passes"))
				synctest.Wait()
				l.want(s, "passes", iothub.ConfirmOK)
				s.net.BlackHole()
				limit := 60 * time.Second
				if busy {
					limit = 20 * time.Second
					s.send(msg("stuck"), l.confirm("stuck"))
				}
				advance(limit - time.Second)
				if s.net.Dials() != 1 {
					s.Errorf("gave the link up before %v", limit)
				}
				advance(2 * time.Second)
				if s.net.Dials() != 2 {
					s.Errorf("a dead link was not found within %v", limit)
				}
				if busy {
					l.want(s, "stuck", iothub.ConfirmOK)
				}
			})
		})
	}
}

// A token is replaced before it expires, after everything in flight was
// acknowledged: nothing is repeated.
func TestTokenRenewal(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		o.TokenLifetime = 10 * time.Minute
		s.net.Plan = func(n int) simnet.Plan {
			d := simnet.Direction{Latency: 30 * time.Millisecond}
			return simnet.Plan{Up: d, Down: d}
		}
	}, func(s *stage) {
		var l ledger
		const total = 6 * 3600
		for i := range total {
			s.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i)))
			<-time.After(time.Second)
		}
		advance(time.Minute)
		if l.len() != total {
			s.Errorf("%d of %d confirmed", l.len(), total)
		}
		received := s.hub.Received()
		if len(received) != total {
			s.Errorf("the hub received %d messages, want %d", len(received), total)
		}
		if st := s.stats(); st.Resent != 0 || st.Reconnects < 40 || st.Reconnects > 43 {
			s.Errorf("stats after six hours of ten-minute tokens: %+v", st)
		}
		seen := map[string]bool{}
		for _, c := range s.hub.Connects() {
			if seen[string(c.Password)] {
				s.Error("a token was used twice")
			}
			seen[string(c.Password)] = true
		}
	})
}
