package ll_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/topic"
	"github.com/iothub-go/iothub/ll"
)

// Nothing happens and no callback runs except inside DoWork.
func TestNothingHappensOutsideDoWork(t *testing.T) {
	play(t, nil, func(s *stage) {
		inside := false
		confirmed := 0
		check := func(iothub.Confirmation) {
			confirmed++
			if !inside {
				s.Error("a callback ran outside DoWork")
			}
		}
		s.send("m", check)
		<-time.After(time.Hour)
		if s.net.Dials() != 0 {
			s.Error("connected outside DoWork")
		}
		for range 100 {
			inside = true
			if _, err := s.c.DoWork(); err != nil {
				s.Fatal(err)
			}
			inside = false
			synctest.Wait()
		}
		if confirmed != 1 || len(s.hub.Received()) != 1 {
			s.Errorf("%d confirmations, the hub received %d", confirmed, len(s.hub.Received()))
		}
	})
}

func TestSendStatus(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) { s.hub.Ack = never }, func(s *stage) {
		want := func(when string, want ll.SendStatus) {
			s.Helper()
			if got, err := s.c.SendStatus(); err != nil || got != want {
				s.Errorf("%s: %v, %v; want %v", when, got, err, want)
			}
		}
		want("new", ll.SendIdle)
		s.work()
		want("connected", ll.SendIdle)
		s.send("m", func(iothub.Confirmation) { want("inside its confirmation", ll.SendIdle) })
		want("waiting", ll.SendBusy)
		s.work()
		want("in flight", ll.SendBusy)
		s.hub.Acknowledge(s.hub.Received()[0].ID)
		synctest.Wait()
		want("acknowledged, before DoWork", ll.SendBusy)
		s.work()
		want("confirmed", ll.SendIdle)
		s.c.Destroy()
		if _, err := s.c.SendStatus(); !errors.Is(err, iothub.ErrClosed) {
			s.Errorf("after Destroy: %v", err)
		}
	})
}

func TestSendStatusString(t *testing.T) {
	if got := fmt.Sprint(ll.SendIdle, ll.SendBusy); got != "IDLE BUSY" {
		t.Error(got)
	}
}

// A program that calls DoWork only when Wakeup fires or its deadline has come
// misses nothing: messages, retries, keep-alive, token renewal, timeouts. And
// it sleeps most of the time.
func TestDeadlineAndWakeupSuffice(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) {
		o.TokenLifetime = 20 * time.Minute
		d := simnet.Direction{Latency: 50 * time.Millisecond}
		s.net.Plan = func(n int) simnet.Plan {
			if n%3 == 1 {
				return simnet.Plan{Refuse: syscall.ECONNREFUSED, DialDelay: time.Second}
			}
			return simnet.Plan{Up: d, Down: d}
		}
	}, func(s *stage) {
		ok := 0
		const total = 200
		calls := 0
		for i := range total {
			s.send(fmt.Sprint(i), func(c iothub.Confirmation) {
				if c.Result == iothub.ConfirmOK {
					ok++
				}
			})
			calls += s.drive(time.Minute)
			if i%50 == 49 {
				s.hub.Drop()
			}
		}
		calls += s.drive(time.Minute)
		if ok != total {
			s.Errorf("%d of %d confirmed", ok, total)
		}
		st, _ := s.c.Stats()
		if st.Reconnects < 10 || st.ConnectFails == 0 {
			s.Errorf("stats after 200 minutes: %+v", st)
		}
		if calls > 20*total {
			s.Errorf("DoWork was called %d times in 200 minutes", calls)
		}
	})
}

// An idle client wants to be called for its keep-alive and nothing else.
func TestDeadlineOfAnIdleClient(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) { o.KeepAlive, o.TokenLifetime = time.Minute, 10*time.Hour }, func(s *stage) {
		if next := s.work(); time.Until(next) != time.Minute {
			s.Errorf("connected: wants a call in %v", time.Until(next))
		}
		if calls := s.drive(time.Hour); calls > 200 {
			s.Errorf("%d calls of DoWork in an idle hour", calls)
		}
		if st, _ := s.c.Stats(); st.Connects != 1 {
			s.Errorf("stats: %+v", st)
		}
	})
}

func TestDeadlineWithoutKeepAlive(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) {
		o.KeepAlive, o.TokenLifetime = -1, 10*time.Hour
	}, func(s *stage) {
		if next := s.work(); time.Until(next) < 30*time.Minute {
			s.Errorf("wants a call in %v with nothing to do", time.Until(next))
		}
	})
}

func TestDeadlineOfATimeout(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) {
		o.MessageTimeout = 7 * time.Second
		s.hub.Ack = never
	}, func(s *stage) {
		var at time.Duration
		sent := time.Now()
		s.send("m", func(c iothub.Confirmation) {
			if c.Result != iothub.ConfirmMessageTimeout {
				s.Errorf("confirmed %v", c.Result)
			}
			at = time.Since(sent)
		})
		s.drive(time.Minute)
		if at != 7*time.Second {
			s.Errorf("timed out after %v, want 7s", at)
		}
	})
}

func TestDeadlineOfABackoff(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) {
		o.Retry = &iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 20 * time.Second}
		s.net.Plan = func(int) simnet.Plan { return simnet.Plan{Refuse: syscall.ECONNREFUSED} }
	}, func(s *stage) {
		s.drive(time.Minute)
		// 0 s, at once, then every 20 s.
		if n := s.net.Dials(); n != 5 && n != 4 {
			s.Errorf("%d dials in a minute", n)
		}
		next := s.work()
		if d := time.Until(next); d <= 0 || d > 20*time.Second {
			s.Errorf("wants a call in %v", d)
		}
	})
}

// Wakeup fires for a message that was accepted, so that a loop that sleeps
// sends it.
func TestWakeupAfterSend(t *testing.T) {
	play(t, nil, func(s *stage) {
		s.work()
		s.send("m", nil)
		select {
		case <-s.c.Wakeup():
		default:
			s.Error("Wakeup did not fire")
		}
	})
}

// What a callback sends leaves in the same DoWork, not at the next deadline.
func TestSendInsideACallbackLeavesAtOnce(t *testing.T) {
	play(t, nil, func(s *stage) {
		const rounds = 50
		n := 0
		var again iothub.ConfirmFunc
		again = func(iothub.Confirmation) {
			if n++; n < rounds {
				s.send(fmt.Sprint(n), again)
			}
		}
		begun := time.Now()
		s.send("0", again)
		s.drive(time.Second)
		if n != rounds || time.Since(begun) > time.Second {
			s.Errorf("%d of %d rounds in %v", n, rounds, time.Since(begun))
		}
	})
}

func TestDoWorkInsideACallback(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) {
		o.OnConnectionStatus = func(iothub.ConnectionEvent) {
			if _, err := s.c.DoWork(); !errors.Is(err, iothub.ErrConcurrentUse) {
				s.Errorf("DoWork inside OnConnectionStatus: %v", err)
			}
		}
	}, func(s *stage) {
		ran := 0
		s.send("m", func(iothub.Confirmation) {
			ran++
			if _, err := s.c.DoWork(); !errors.Is(err, iothub.ErrConcurrentUse) {
				s.Errorf("DoWork inside confirm: %v", err)
			}
			// The misuse harms nothing: other calls go on working.
			if err := s.c.SendEventAsync(msg("n"), func(iothub.Confirmation) { ran++ }); err != nil {
				s.Error(err)
			}
			if _, err := s.c.Stats(); err != nil {
				s.Error(err)
			}
		})
		s.drive(time.Minute)
		if ran != 2 {
			s.Errorf("%d callbacks ran", ran)
		}
	})
}

// Destroy inside the callback that Destroy itself runs, and DoWork there.
func TestCallsInsideTheCallbacksOfDestroy(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) { s.hub.Ack = never }, func(s *stage) {
		ran := 0
		for range 2 {
			s.send("m", func(c iothub.Confirmation) {
				ran++
				if c.Result != iothub.ConfirmBecauseDestroy {
					s.Errorf("confirmed %v", c.Result)
				}
				if err := s.c.SendEventAsync(msg("late"), func(iothub.Confirmation) { s.Error("a refused message was confirmed") }); !errors.Is(err, iothub.ErrClosed) {
					s.Errorf("SendEventAsync: %v", err)
				}
				if _, err := s.c.DoWork(); err == nil {
					s.Error("DoWork inside a callback of Destroy returned no error")
				}
				if err := s.c.Destroy(); err != nil {
					s.Errorf("Destroy: %v", err)
				}
			})
		}
		s.work()
		if err := s.c.Destroy(); err != nil || ran != 2 {
			s.Errorf("Destroy returned %v after %d callbacks", err, ran)
		}
		synctest.Wait()
		if s.hub.Goodbyes() != 1 {
			s.Error("the hub got no DISCONNECT")
		}
	})
}

// A client belongs to one goroutine; a second one is told so, and nothing
// breaks.
func TestUseFromTwoGoroutines(t *testing.T) {
	play(t, nil, func(s *stage) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		misuse, accepted, confirmed := 0, 0, 0
		note := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, iothub.ErrConcurrentUse) {
				misuse++
			} else if err != nil {
				s.Error(err)
			}
		}
		for range 4 {
			wg.Go(func() {
				for range 3000 {
					err := s.c.SendEventAsync(msg("m"), func(iothub.Confirmation) {
						mu.Lock()
						confirmed++
						mu.Unlock()
					})
					note(err)
					if err == nil {
						mu.Lock()
						accepted++
						mu.Unlock()
					}
					_, err = s.c.DoWork()
					note(err)
				}
			})
		}
		wg.Wait()
		for range 100 {
			s.work()
		}
		if misuse == 0 {
			s.Log("the goroutines never met: nothing was proved")
		}
		if confirmed != accepted {
			s.Errorf("%d of %d accepted messages were confirmed", confirmed, accepted)
		}
	})
}

// While DoWork is inside a callback another goroutine may not drive it.
func TestDoWorkFromAnotherGoroutineDuringACallback(t *testing.T) {
	play(t, nil, func(s *stage) {
		s.send("m", func(iothub.Confirmation) {
			done := make(chan error)
			go func() {
				_, err := s.c.DoWork()
				done <- err
			}()
			if err := <-done; !errors.Is(err, iothub.ErrConcurrentUse) {
				s.Errorf("DoWork from another goroutine: %v", err)
			}
		})
		s.drive(time.Second)
	})
}

// However dead the link is, Destroy takes a second at most.
func TestDestroyOfADeadLink(t *testing.T) {
	for name, plan := range map[string]simnet.Plan{
		"nothing leaves":  {Up: simnet.Direction{Fault: simnet.Hole, After: 1000}},
		"nothing arrives": {Down: simnet.Direction{Fault: simnet.Hole, After: 4}},
		"dial hangs":      {Silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage, o *ll.ClientOptions) {
				s.net.Plan = func(int) simnet.Plan { return plan }
			}, func(s *stage) {
				n := 0
				for range 100 {
					if err := s.c.SendEventAsync(&iothub.Message{Payload: make([]byte, 4096)}, func(iothub.Confirmation) { n++ }); err != nil {
						s.Fatal(err)
					}
				}
				s.work()
				begun := time.Now()
				if err := s.c.Destroy(); err != nil {
					s.Error(err)
				}
				if d := time.Since(begun); d > time.Second {
					s.Errorf("Destroy took %v", d)
				}
				if n != 100 {
					s.Errorf("%d of 100 confirmed", n)
				}
			})
		})
	}
}

// What a callback has answered goes out although Destroy follows in the same
// callback, and although an earlier write is still under way.
func TestDestroyKeepsAnswers(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) {
		s.hub.Ack = never // it would stop reading where its acknowledgement does not get through
		// Beyond the window a write takes its time: 64 KiB, half a second.
		s.net.Plan = func(int) simnet.Plan { return simnet.Plan{Up: simnet.Direction{Rate: 128 << 10}} }
	}, func(s *stage) {
		err := s.c.SetMethodCallback("", func(r *iothub.MethodRequest) *iothub.MethodResponse {
			if err := errors.Join(r.Respond(299, nil), s.c.Destroy()); err != nil {
				s.Error(err)
			}
			return nil
		})
		if err != nil {
			s.Fatal(err)
		}
		s.drive(time.Second)
		if err := s.c.SendEventAsync(&iothub.Message{Payload: make([]byte, simnet.Window*3/2)}, nil); err != nil {
			s.Fatal(err)
		}
		s.work()
		if s.hub.Publish(topic.MethodsFilter, "$iothub/methods/POST/last/?$rid=1", "null", 0, false) != 1 {
			s.Fatal("the client is not subscribed to methods")
		}
		synctest.Wait()
		begun := time.Now()
		if _, err := s.c.DoWork(); !errors.Is(err, iothub.ErrClosed) {
			s.Errorf("DoWork: %v", err)
		}
		if d := time.Since(begun); d < time.Second/2 || d > time.Second {
			s.Errorf("Destroy took %v, and a write of half a second was under way", d)
		}
		var last string
		for _, p := range s.hub.Received() {
			last = p.Topic
		}
		if last != "$iothub/methods/res/299/?$rid=1" {
			s.Errorf("the last that the hub received is %q", last)
		}
	})
}

func TestAfterDestroy(t *testing.T) {
	play(t, nil, func(s *stage) {
		s.send("m", nil)
		s.work()
		for range 3 {
			if err := s.c.Destroy(); err != nil {
				s.Error(err)
			}
		}
		if err := s.c.SendEventAsync(msg("m"), nil); !errors.Is(err, iothub.ErrClosed) {
			s.Errorf("SendEventAsync: %v", err)
		}
		if err := s.c.SendEventToOutputAsync("out", msg("m"), nil); !errors.Is(err, iothub.ErrClosed) {
			s.Errorf("SendEventToOutputAsync: %v", err)
		}
		if next, err := s.c.DoWork(); !errors.Is(err, iothub.ErrClosed) || !next.IsZero() {
			s.Errorf("DoWork: %v, %v", next, err)
		}
		if _, err := s.c.Stats(); !errors.Is(err, iothub.ErrClosed) {
			s.Errorf("Stats: %v", err)
		}
	})
}

func TestSendEventToOutput(t *testing.T) {
	play(t, nil, func(s *stage) {
		m := msg("p")
		if err := s.c.SendEventToOutputAsync("out1", m, nil); err != nil {
			s.Fatal(err)
		}
		if err := s.c.SendEventToOutputAsync("", m, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
			s.Errorf("no output name: %v", err)
		}
		if err := s.c.SendEventToOutputAsync("out1", nil, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
			s.Errorf("no message: %v", err)
		}
		s.work()
		got := s.hub.Received()
		if len(got) != 1 || got[0].Properties["$.on"] != "out1" || m.OutputName != "" {
			s.Errorf("the hub received %+v; the caller's message has OutputName %q", got, m.OutputName)
		}
	})
}

func TestIdentity(t *testing.T) {
	d, err := ll.NewDeviceClientFromConnectionString(deviceString, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Destroy()
	m, err := ll.NewModuleClientFromConnectionString(moduleString, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Destroy()
	if got := fmt.Sprint(d.Identity(), " ", m.Identity()); got != "dev1 dev1/mod1" {
		t.Error(got)
	}
}

func TestWrongKindOfConnectionString(t *testing.T) {
	if _, err := ll.NewDeviceClientFromConnectionString(moduleString, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("a module's string for a device: %v", err)
	}
	if _, err := ll.NewModuleClientFromConnectionString(deviceString, nil); iothub.KindOf(err) != iothub.KindInvalidArgument {
		t.Errorf("a device's string for a module: %v", err)
	}
}

// A loop that calls DoWork rarely loses nothing: what arrived meanwhile waits.
func TestRareDoWork(t *testing.T) {
	play(t, func(s *stage, o *ll.ClientOptions) { o.KeepAlive = 10 * time.Minute }, func(s *stage) {
		var order []string
		s.work()
		for i := range 10 {
			s.send(fmt.Sprint(i), func(c iothub.Confirmation) { order = append(order, fmt.Sprint(i, c.Result)) })
			if _, err := s.c.DoWork(); err != nil {
				s.Fatal(err)
			}
			<-time.After(5 * time.Second)
		}
		s.work()
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint(i, iothub.ConfirmOK))
		}
		if !slices.Equal(order, want) {
			s.Errorf("confirmed: %v", order)
		}
		if n := len(s.hub.Received()); n != 10 {
			s.Errorf("the hub received %d messages", n)
		}
	})
}
