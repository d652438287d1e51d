package managed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
)

func TestCloseFlushes(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		d := simnet.Direction{Latency: time.Second}
		s.net.Plan = func(int) simnet.Plan { return simnet.Plan{DialDelay: time.Second, Up: d, Down: d} }
	}, func(s *stage) {
		var n count
		for i := range 100 {
			s.send(fmt.Sprint(i), n.confirm)
		}
		w := start(func() error { return s.c.Close(within(s.T, 30*time.Second)) })
		if err := s.c.SendEventAsync(msg("late"), n.confirm); !errors.Is(err, iothub.ErrClosed) {
			s.Errorf("a send while closing returned %v", err)
		}
		advance(20 * time.Second)
		if !w.returned() || w.err != nil || w.took > 10*time.Second {
			s.Fatalf("Close returned %v, %v after %v", w.returned(), w.err, w.took)
		}
		if n.get(iothub.ConfirmOK) != 100 {
			s.Errorf("%d of 100 were confirmed when Close returned", n.get(iothub.ConfirmOK))
		}
		if s.hub.Goodbyes() != 1 {
			s.Error("the hub got no DISCONNECT")
		}
	})
}

// However dead the link is, Close keeps its time and every message gets its
// answer.
func TestCloseOfADeadLink(t *testing.T) {
	hole := simnet.Direction{Fault: simnet.Hole, After: 1000}
	for name, plan := range map[string]simnet.Plan{
		"nothing leaves":    {Up: hole},
		"nothing arrives":   {Down: simnet.Direction{Fault: simnet.Hole, After: 4}},
		"dial hangs":        {Silent: true},
		"no answer to dial": {Up: simnet.Direction{Fault: simnet.Hole}, Down: simnet.Direction{Fault: simnet.Hole}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage, o *iothub.ClientOptions) {
				s.net.Plan = func(int) simnet.Plan { return plan }
			}, func(s *stage) {
				var n count
				const total = 100
				for range total { // more than the network buffers, so that the writer is stuck
					s.send(strings.Repeat("x", 4096), n.confirm)
				}
				synctest.Wait()
				w := start(func() error { return s.c.Close(within(s.T, 3*time.Second)) })
				advance(3 * time.Second)
				if got := n.get(iothub.ConfirmBecauseDestroy); got != total {
					s.Errorf("%d of %d were confirmed when the deadline passed", got, total)
				}
				advance(2 * time.Second)
				if !w.returned() || w.took > 5*time.Second {
					s.Fatalf("Close returned %v after %v", w.returned(), w.took)
				}
				if !errors.Is(w.err, context.DeadlineExceeded) {
					s.Errorf("Close returned %v", w.err)
				}
			})
		})
	}
}

func TestCloseOfAnUnusedClient(t *testing.T) {
	play(t, nil, func(s *stage) {
		w := start(func() error { return s.c.Close(s.Context()) })
		if !w.returned() || w.err != nil || w.took != 0 {
			s.Errorf("returned %v, %v after %v", w.returned(), w.err, w.took)
		}
		if s.net.Dials() != 0 {
			s.Error("a client that was asked nothing connected")
		}
	})
}

func TestCloseTwice(t *testing.T) {
	play(t, nil, func(s *stage) {
		s.send("m", nil)
		for i := range 3 {
			w := start(func() error { return s.c.Close(s.Context()) })
			if !w.returned() || w.err != nil {
				s.Errorf("close %d: returned %v, %v", i, w.returned(), w.err)
			}
		}
	})
}

func TestCloseConcurrently(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		d := simnet.Direction{Latency: 50 * time.Millisecond}
		s.net.Plan = func(int) simnet.Plan { return simnet.Plan{Up: d, Down: d} }
	}, func(s *stage) {
		var n count
		for i := range 10 {
			s.send(fmt.Sprint(i), n.confirm)
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := s.c.Close(s.Context()); err != nil {
					s.Error(err)
				}
				if n.get(iothub.ConfirmOK) != 10 {
					s.Error("Close returned before everything was confirmed")
				}
			})
		}
		wg.Wait()
		advance(time.Second) // DISCONNECT has a way to go
		if s.hub.Goodbyes() != 1 {
			s.Errorf("the hub got %d DISCONNECTs", s.hub.Goodbyes())
		}
	})
}

// One waits for ever, another has no patience: both end.
func TestCloseOverruledByAnother(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) { s.hub.Ack = never }, func(s *stage) {
		var n count
		s.send("m", n.confirm)
		synctest.Wait()
		patient := start(func() error { return s.c.Close(s.Context()) })
		if patient.returned() {
			s.Fatal("Close returned with a message unconfirmed")
		}
		s.c.Close(ended())
		if !patient.returned() || n.get(iothub.ConfirmBecauseDestroy) != 1 {
			s.Errorf("the other Close returned: %v; confirmed: %v", patient.returned(), n.of)
		}
	})
}

func TestCloseInsideOnConnectionStatus(t *testing.T) {
	for _, at := range []iothub.ConnectionStatus{iothub.Authenticated, iothub.Unauthenticated} {
		t.Run(at.String(), func(t *testing.T) {
			play(t, func(s *stage, o *iothub.ClientOptions) {
				s.hub.Ack = never
				o.OnConnectionStatus = func(e iothub.ConnectionEvent) {
					s.note(e)
					if e.Status != at {
						return
					}
					if err := s.c.Close(s.Context()); err != nil {
						s.Errorf("Close inside a callback returned %v", err)
					}
					if err := s.c.SendEventAsync(msg("late"), nil); !errors.Is(err, iothub.ErrClosed) {
						s.Errorf("a send after it returned %v", err)
					}
				}
			}, func(s *stage) {
				var n count
				s.send("m", n.confirm)
				synctest.Wait()
				s.hub.Drop()
				advance(5 * time.Second)
				if n.get(iothub.ConfirmBecauseDestroy) != 1 {
					s.Errorf("confirmed: %v", n.of)
				}
				if w := start(func() error { return s.c.Close(s.Context()) }); !w.returned() || w.err != nil {
					s.Errorf("Close after it: returned %v, %v", w.returned(), w.err)
				}
				dials := s.net.Dials()
				advance(time.Minute)
				if s.net.Dials() != dials {
					s.Error("a closed client dialled")
				}
			})
		})
	}
}

// A callback that does not return cannot hold Close beyond its deadline.
func TestCloseWhileACallbackBlocks(t *testing.T) {
	release := make(chan struct{})
	play(t, nil, func(s *stage) {
		release = make(chan struct{})
		s.send("m", func(iothub.Confirmation) { <-release })
		synctest.Wait()
		w := start(func() error { return s.c.Close(within(s.T, 3*time.Second)) })
		advance(5 * time.Second)
		if !w.returned() || !errors.Is(w.err, context.DeadlineExceeded) {
			s.Errorf("returned %v, %v", w.returned(), w.err)
		}
		close(release)
	})
}

// A slow callback delays other callbacks, never the connection: keep-alive and
// acknowledgements go on.
func TestSlowCallbackDoesNotHarmTheConnection(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) { o.KeepAlive = 10 * time.Second }, func(s *stage) {
		var n count
		s.send("slow", func(iothub.Confirmation) { <-time.After(10 * time.Minute) })
		synctest.Wait()
		for range 100 {
			s.send("m", n.confirm)
		}
		advance(9 * time.Minute)
		if st := s.c.Stats(); st.Confirmed != 101 || st.Connects != 1 {
			s.Errorf("stats while a callback is busy: %+v", st)
		}
		advance(2 * time.Minute)
		if n.get(iothub.ConfirmOK) != 100 {
			s.Errorf("%d of 100 confirmed", n.get(iothub.ConfirmOK))
		}
	})
}

// Messages that were sent behind a close in the same callback, and those in
// flight, are answered before Close returns to others.
func TestCloseAnswersInOrder(t *testing.T) {
	play(t, func(s *stage, o *iothub.ClientOptions) {
		s.hub.Ack = func(r *simhub.Received) bool { return false }
	}, func(s *stage) {
		var mu sync.Mutex
		var order []string
		for _, name := range []string{"a", "b", "c", "d"} {
			s.send(name, func(iothub.Confirmation) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
		}
		synctest.Wait()
		s.c.Close(ended())
		mu.Lock()
		defer mu.Unlock()
		if strings.Join(order, "") != "abcd" {
			s.Errorf("confirmed in order %v", order)
		}
	})
}

// A message that was accepted a moment before Close is flushed like any other.
// The loop once took it from the senders' side before the session's side knew
// of it, and a Close in between saw neither: it was thrown away, or even never
// confirmed at all.
func TestCloseRightAfterSending(t *testing.T) {
	for range 300 {
		play(t, nil, func(s *stage) {
			s.c.Open()
			synctest.Wait()
			var n count
			var wg sync.WaitGroup
			for range 4 { // keeps the session's side busy
				wg.Go(func() {
					for range 50 {
						s.c.Stats()
					}
				})
			}
			for range 5 {
				s.send("m", n.confirm)
			}
			if err := s.c.Close(s.Context()); err != nil {
				s.Fatal(err)
			}
			wg.Wait()
			if n.get(iothub.ConfirmOK) != 5 {
				s.Fatalf("confirmed: %v", n.of)
			}
		})
	}
}

// Close may come while others send: what was accepted is confirmed once, what
// was refused never.
func TestCloseWhileOthersSend(t *testing.T) {
	for i := range 100 {
		play(t, func(s *stage, o *iothub.ClientOptions) {
			if i%2 == 0 {
				s.hub.Ack = never
			}
		}, func(s *stage) {
			s.c.Open()
			synctest.Wait()
			var n count
			var wg sync.WaitGroup
			var accepted [4]int
			for i := range accepted {
				wg.Go(func() {
					for s.c.SendEventAsync(msg("m"), n.confirm) == nil {
						if accepted[i]++; accepted[i] == 1000 {
							return
						}
					}
				})
			}
			s.c.Close(ended())
			wg.Wait()
			synctest.Wait()
			want := accepted[0] + accepted[1] + accepted[2] + accepted[3]
			if got := n.get(iothub.ConfirmOK) + n.get(iothub.ConfirmBecauseDestroy); got != want {
				s.Fatalf("%d confirmations of %d accepted messages", got, want)
			}
		})
	}
}
