package contract_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/topic"
	"github.com/iothub-go/iothub/mqtt"
)

// Ten thousand tokens are renewed under load: nothing is lost, nothing
// repeated, and the connection is away for no longer than a dial and two round
// trips.
func TestTenThousandRenewals(t *testing.T) {
	if testing.Short() {
		t.Skip("twelve hours of virtual time")
	}
	renewals := 10_000
	if raceEnabled {
		renewals = 500
	}
	var gaps []time.Duration
	for _, name := range []string{"module", "ll.module"} {
		t.Run(name, func(t *testing.T) {
			onLayer(t, name, nil, func(s *stage, o *iothub.ClientOptions) {
				o.TokenLifetime = 5 * time.Second
				d := simnet.Direction{Latency: 20 * time.Millisecond}
				s.net.Plan = func(n int) simnet.Plan { return simnet.Plan{DialDelay: 40 * time.Millisecond, Up: d, Down: d} }
				gaps = nil
				var away time.Time
				o.OnConnectionStatus = func(e iothub.ConnectionEvent) {
					switch {
					case e.Reason == iothub.ReasonExpiredSASToken:
						away = time.Now()
					case e.Status == iothub.Authenticated:
						if !away.IsZero() { // the first connection is no renewal
							gaps = append(gaps, time.Since(away))
						}
					default:
						s.Errorf("connection: %v", e)
					}
				}
			}, func(s *stage) {
				ok, sent := 0, 0
				for ; s.stats().Reconnects < uint64(renewals); sent++ {
					err := s.send(&iothub.Message{Payload: fmt.Append(nil, sent)}, func(c iothub.Confirmation) {
						if c.Result == iothub.ConfirmOK {
							ok++
						}
					})
					if err != nil {
						s.Fatal(err)
					}
					<-time.After(100 * time.Millisecond)
				}
				advance(time.Minute)
				received := s.hub.Received()
				if ok != sent || len(received) != sent || s.stats().Resent != 0 {
					s.Errorf("%d sent, %d confirmed, %d received, %d resent", sent, ok, len(received), s.stats().Resent)
				}
				slices.Sort(gaps)
				t.Logf("%d renewals, %d messages, away p50 %v, p99 %v, worst %v", len(gaps), sent,
					gaps[len(gaps)/2], gaps[len(gaps)*99/100], gaps[len(gaps)-1])
				if worst := gaps[len(gaps)-1]; worst > 80*time.Millisecond {
					s.Errorf("away for %v", worst)
				}
			})
		})
	}
}

// A thousand connections end one after the other, each at another byte of what
// the client says: the client comes back every time.
func TestThousandReconnects(t *testing.T) {
	const drops = 1000
	onLayer(t, "module", nil, func(s *stage, o *iothub.ClientOptions) {
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Second}
		s.net.Plan = func(n int) simnet.Plan {
			if n >= drops {
				return simnet.Plan{}
			}
			return simnet.Plan{Up: simnet.Direction{Fault: simnet.EOF, After: (n * 37) % 900}}
		}
	}, func(s *stage) {
		ok, sent := 0, 0
		for s.net.Dials() <= drops {
			if s.send(msg(fmt.Sprint(sent)), func(c iothub.Confirmation) {
				if c.Result == iothub.ConfirmOK {
					ok++
				}
			}) == nil {
				sent++
			}
			<-time.After(time.Second)
		}
		advance(20 * time.Minute)
		if ok != sent {
			s.Errorf("%d of %d confirmed after %d reconnects; %+v", ok, sent, drops, s.stats())
		}
	})
}

// Close from inside every kind of callback, with the link a black hole: it
// returns, everything accepted is confirmed, and no goroutine is left, which
// the bubble of the test enforces.
func TestCloseInsideEveryCallback(t *testing.T) {
	kinds := map[string]func(s *stage, closing func()){
		"confirm": func(s *stage, closing func()) {
			s.send(msg("x"), func(iothub.Confirmation) { closing() })
		},
		"message": func(s *stage, closing func()) {
			s.onMessage(func(*iothub.ReceivedMessage) iothub.Disposition { closing(); return iothub.DispositionAccepted })
			synctest.Wait()
			s.push("1", 1, false)
		},
		"method": func(s *stage, closing func()) {
			s.onMethod("", func(*iothub.MethodRequest) *iothub.MethodResponse {
				closing()
				return &iothub.MethodResponse{Status: 200}
			})
			synctest.Wait()
			s.call("m", "1", "null")
		},
		"desired": func(s *stage, closing func()) {
			s.onDesired(func(*iothub.DesiredChange) { closing() })
		},
		"reported": func(s *stage, closing func()) {
			s.report("{}", func(int64, error) { closing() })
		},
	}
	for kind, provoke := range kinds {
		t.Run(kind, func(t *testing.T) {
			on(t, nil, func(s *stage) {
				var l ledger
				s.send(msg("first"), l.confirm("first"))
				synctest.Wait()
				closed := time.Time{}
				provoke(s, func() {
					if !closed.IsZero() {
						return
					}
					s.net.BlackHole()
					s.inside(msg("stuck"), l.confirm("stuck"))
					closed = time.Now()
					s.closeInside()
				})
				synctest.Wait()
				if closed.IsZero() {
					s.Fatal("the callback did not run")
				}
				for l.len() < 2 {
					if time.Since(closed) > 3*time.Second {
						s.Fatal("closing took more than three seconds")
					}
					advance(10 * time.Millisecond)
				}
				l.want(s, "stuck", iothub.ConfirmBecauseDestroy)
				s.Logf("everything was confirmed %v after Close", time.Since(closed))
			})
		})
	}
}

// A handler sleeps for an hour: keep-alive and acknowledgements go on, and what
// was confirmed meanwhile is called back afterwards.
func TestSlowHandlerStarvesNothing(t *testing.T) {
	for _, on := range []struct {
		layer string // an ll client's callbacks are its own loop
		mqtt  *mqtt.Options
	}{{"device", nil}, {"module", nil}, {"device", &mqtt.Options{WebSocket: true}}} {
		onLayer(t, on.layer, on.mqtt, nil, func(s *stage) {
			s.onMethod("slow", func(*iothub.MethodRequest) *iothub.MethodResponse {
				<-time.After(time.Hour)
				return &iothub.MethodResponse{Status: 200}
			})
			synctest.Wait()
			s.hub.Publish(topic.MethodsFilter, "$iothub/methods/POST/slow/?$rid=1", "", 0, false)
			var l ledger
			for i := range 50 {
				s.send(msg(fmt.Sprint(i)), l.confirm(fmt.Sprint(i)))
				<-time.After(time.Minute)
			}
			st := s.stats()
			if st.Confirmed != 50 || st.Reconnects != 0 {
				s.Errorf("while the handler slept: %+v", st)
			}
			if l.len() != 0 {
				s.Error("callbacks ran beside the handler")
			}
			advance(time.Hour)
			for i := range 50 {
				l.want(s, fmt.Sprint(i), iothub.ConfirmOK)
			}
		})
	}
}

// A hub that answers pings but acknowledges nothing, as one that throttles
// does, is left after two minutes, and the message sent again on a new link.
func TestWithheldAcknowledgements(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = func(r *simhub.Received) bool { return r.Session > 0 }
	}, func(s *stage) {
		var l ledger
		s.send(msg("m"), l.confirm("m"))
		advance(119 * time.Second)
		if s.net.Dials() != 1 {
			t.Errorf("left after less than two minutes: %d dials", s.net.Dials())
		}
		advance(2 * time.Second)
		l.want(s, "m", iothub.ConfirmOK)
		if st := s.stats(); st.Resent != 1 || st.Reconnects != 1 {
			s.Errorf("stats: %+v", st)
		}
	})
}
