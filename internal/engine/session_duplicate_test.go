package engine

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// kick lets the client be accepted and closes the link after held.
func (p *player) kick(held time.Duration, err error) iothub.ConnectionEvent {
	p.Helper()
	if p.s.phase == phaseWaiting {
		p.pass(p.s.retryAt.Sub(p.now))
	}
	p.accept(Auth{})
	p.pass(held)
	p.s.LinkDown(p.now, err)
	p.collect()
	return p.lastStatus()
}

func readFailed(err error) error {
	return &iothub.Error{Op: "receive", Kind: iothub.KindNetwork, Retryable: true, Err: err}
}

// Three connections that are accepted and closed within seconds are the work of
// another client: the wait is a minute, then doubles up to ten.
func TestDuplicateIdentity(t *testing.T) {
	p := newPlayer(t, iothub.RetryPolicy{Strategy: iothub.RetryImmediate})
	p.send(1)
	for i, err := range []error{io.EOF, syscall.ECONNRESET} {
		if ev := p.kick(time.Duration(i)*time.Second, readFailed(err)); ev.RetryIn != 0 || iothub.KindOf(ev.Err) != iothub.KindNetwork {
			t.Fatalf("kick %d: %v in %v", i, ev, ev.RetryIn)
		}
	}
	ten := func(d time.Duration) time.Duration { return d + d/20 } // Random is 0.5
	for i, want := range []time.Duration{ten(time.Minute), ten(2 * time.Minute), ten(4 * time.Minute), ten(8 * time.Minute), 10 * time.Minute, 10 * time.Minute} {
		ev := p.kick(2*time.Second, io.ErrUnexpectedEOF)
		if iothub.KindOf(ev.Err) != iothub.KindDuplicateIdentity || ev.RetryIn != want || ev.Reason != iothub.ReasonCommunicationError {
			t.Errorf("kick %d: %v in %v, want %v", i+3, ev, ev.RetryIn, want)
		}
		if !iothub.Retryable(ev.Err) || iothub.ActionOf(ev.Err) != iothub.ActionCloseDuplicate || iothub.RetryAfter(ev.Err) != want {
			t.Errorf("kick %d: %+v", i+3, ev.Err)
		}
	}
	// The other one is gone: the link holds, and all is forgotten.
	if ev := p.kick(stableLink, io.EOF); iothub.KindOf(ev.Err) != iothub.KindNetwork || ev.RetryIn != 0 {
		t.Errorf("after a stable link: %v in %v", ev, ev.RetryIn)
	}
	if ev := p.kick(0, io.EOF); iothub.KindOf(ev.Err) != iothub.KindNetwork {
		t.Errorf("the first kick after a stable link: %v", ev)
	}
}

// What is no duplicate: a hub that is away in between, silence, links that last,
// kicks that are far apart.
func TestNoDuplicateIdentity(t *testing.T) {
	for name, play := range map[string]func(p *player){
		"away in between": func(p *player) {
			for range 5 {
				p.kick(0, io.EOF)
				p.pass(time.Second)
				p.fail(1)
			}
		},
		"timeouts": func(p *player) {
			for range 5 {
				p.kick(0, readFailed(timeout{}))
			}
		},
		"lasting": func(p *player) {
			for range 5 {
				p.kick(kickedWithin, io.EOF)
			}
		},
		"far apart": func(p *player) {
			for range 5 {
				p.kick(0, io.EOF)
				p.kick(0, io.EOF)
				p.kick(kickedWithin, io.EOF)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlayer(t, iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Second})
			p.send(1)
			play(p)
			for _, e := range p.events {
				if e.Kind == EventStatus && iothub.KindOf(e.Status.Err) == iothub.KindDuplicateIdentity {
					t.Fatalf("%v", e.Status)
				}
			}
		})
	}
}

type timeout struct{}

func (timeout) Error() string   { return "timed out" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// What may change while a session lives.
func TestReconfigureAndReconnect(t *testing.T) {
	p := newPlayer(t, iothub.RetryPolicy{Strategy: iothub.RetryNone})
	p.s.Reconnect(p.now) // the first connection
	p.collect()
	p.s.Reconnect(p.now) // nothing to do meanwhile
	p.collect()
	if p.dials != 1 {
		t.Fatalf("%d dials, want 1", p.dials)
	}
	p.fail(1)
	if p.s.phase != phaseStopped {
		t.Fatal("it did not give up")
	}
	cfg := p.s.cfg
	cfg.MQTT.Username = "other"
	p.s.Reconfigure(p.now, cfg)
	if p.collect(); p.dials != 1 || p.s.RetryPolicy().Strategy != iothub.RetryNone {
		t.Errorf("%d dials for another user name", p.dials)
	}
	cfg.Retry = iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: time.Hour}
	p.s.Reconfigure(p.now, cfg)
	if p.collect(); p.dials != 2 {
		t.Fatalf("%d dials after another retry policy, want 2", p.dials)
	}
	p.fail(1) // at once
	p.pass(time.Second)
	p.fail(1) // in an hour
	p.s.Reconnect(p.now)
	if p.collect(); p.dials != 4 {
		t.Fatalf("%d dials, want 4: it waits", p.dials)
	}
	p.s.LinkUp(p.now, Auth{})
	p.s.Reconnect(p.now) // as soon as it is connected
	p.collect()
	hangs := p.hangs
	p.take()
	p.s.Feed(p.now, mqtt.AppendConnack(nil, false, 0))
	p.collect()
	if p.dials != 5 || p.hangs != hangs+1 {
		t.Errorf("%d dials, %d hung up: want the fifth", p.dials, p.hangs-hangs)
	}
	p.accept(Auth{})
	p.send(1)
	p.take()
	p.s.Reconnect(p.now)
	if p.collect(); p.dials != 5 {
		t.Error("it does not wait for what is in flight")
	}
	p.pass(drainTimeout)
	if p.dials != 6 {
		t.Errorf("%d dials, want 6", p.dials)
	}
	p.s.Close(p.now)
	p.s.Reconnect(p.now)
	p.s.Reconfigure(p.now, SessionConfig{})
	if p.collect(); p.dials != 6 || p.s.cfg.MQTT.ClientID == "" {
		t.Error("a closed session still moves")
	}
}
