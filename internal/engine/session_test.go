package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// player drives a session by hand, in a time of its own.
type player struct {
	*testing.T
	s      *Session
	now    time.Time
	dials  int
	hangs  int
	events []Event // for the user
}

func newPlayer(t *testing.T, retry iothub.RetryPolicy) *player {
	now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	cfg := SessionConfig{
		MQTT:  MQTTConfig{ClientID: "dev1/mod1", Username: "u", KeepAlive: time.Minute, Window: 100, WindowBytes: 1 << 20},
		Retry: retry, Random: func() float64 { return 0.5 },
	}
	return &player{T: t, s: NewSession(cfg, now), now: now}
}

// collect does what the session asks for.
func (p *player) collect() {
	for _, e := range p.s.Events(nil) {
		switch e.Kind {
		case EventDial:
			p.dials++
		case EventHangUp:
			p.hangs++
		default:
			p.events = append(p.events, e)
		}
	}
}

// pass lets time pass, one deadline after the other.
func (p *player) pass(d time.Duration) {
	end := p.now.Add(d)
	for {
		next := p.s.Deadline()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(p.now) {
			p.now = next
		}
		p.s.Tick(p.now)
		p.collect()
		if p.s.Deadline().Equal(next) {
			p.Fatalf("a tick at the deadline does not move it")
		}
	}
	p.now = end
	p.s.Tick(p.now)
	p.collect()
}

// accept makes the present dial succeed, the hub's answer included.
func (p *player) accept(auth Auth) {
	p.Helper()
	p.s.LinkUp(p.now, auth)
	p.take()
	p.s.Feed(p.now, mqtt.AppendConnack(nil, false, 0))
	p.collect()
	if !p.s.proto.Connected() {
		p.Fatal("not connected")
	}
}

// take returns what is to be written and says that it was.
func (p *player) take() []byte {
	var out []byte
	for _, b := range p.s.Pending(p.now, nil) {
		out = append(out, b...)
	}
	p.s.Wrote(p.now, len(out))
	p.collect()
	return out
}

// oldest returns the packet id of the oldest message in flight.
func (p *player) oldest() uint16 {
	p.Helper()
	if !p.s.proto.unacknowledged() {
		p.Fatal("nothing is in flight")
	}
	return p.s.proto.ring.at(p.s.proto.ring.head).id
}

func (p *player) send(n int) {
	p.Helper()
	o := NewOutbox(NewMQTTEncoder(testIdentity, false), p.now, n, 1<<30)
	for range n {
		if err := o.Add(p.now, &iothub.Message{Payload: []byte("x")}, nil, 0, false); err != nil {
			p.Fatal(err)
		}
	}
	p.s.Submit(p.now, o.Take(nil))
	p.collect()
}

func (p *player) lastStatus() iothub.ConnectionEvent {
	for i := len(p.events) - 1; i >= 0; i-- {
		if p.events[i].Kind == EventStatus {
			return *p.events[i].Status
		}
	}
	return iothub.ConnectionEvent{}
}

var errNoRoute = errors.New("no route")

// fail makes dials fail and returns the wait before each next one.
func (p *player) fail(n int) (waits []time.Duration) {
	for range n {
		p.s.DialFailed(p.now, errNoRoute)
		p.collect()
		wait := p.lastStatus().RetryIn
		waits = append(waits, wait)
		if wait < 0 {
			break
		}
		before := p.dials
		p.pass(wait)
		if p.dials != before+1 {
			p.Fatalf("%d dials after the wait of %v", p.dials-before, wait)
		}
	}
	return waits
}

func TestRetryProgression(t *testing.T) {
	s := func(seconds ...float64) (ds []time.Duration) {
		for _, x := range seconds {
			ds = append(ds, time.Duration(x*float64(time.Second)))
		}
		return ds
	}
	for name, c := range map[string]struct {
		policy iothub.RetryPolicy
		want   []time.Duration
	}{
		"default":     {*iothub.DefaultRetryPolicy(), s(0, .5, 1, 2, 4, 8, 15, 15)},
		"none":        {iothub.RetryPolicy{Strategy: iothub.RetryNone}, []time.Duration{-1}},
		"immediate":   {iothub.RetryPolicy{Strategy: iothub.RetryImmediate}, s(0, 0, 0)},
		"interval":    {iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 3 * time.Second}, s(0, 3, 3, 3)},
		"linear":      {iothub.RetryPolicy{Strategy: iothub.RetryLinearBackoff, MaxDelay: 12 * time.Second}, s(0, 5, 10, 12, 12)},
		"exponential": {iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoff}, s(0, 1, 2, 4, 8, 16, 30, 30)},
		"random":      {iothub.RetryPolicy{Strategy: iothub.RetryRandom, InitialDelay: 8 * time.Second}, s(0, 4, 4)},
		"limit":       {iothub.RetryPolicy{Strategy: iothub.RetryInterval, InitialDelay: 4 * time.Second, Limit: 8 * time.Second}, append(s(0, 4, 4), -1)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlayer(t, c.policy)
			p.send(1)
			got := p.fail(len(c.want))
			for i := range c.want {
				if i >= len(got) || got[i] != c.want[i] {
					t.Fatalf("waits %v, want %v", got, c.want)
				}
			}
			if given := c.want[len(c.want)-1] < 0; given != p.s.Idle() {
				t.Errorf("gave up: %v, idle: %v", given, p.s.Idle())
			}
		})
	}
}

// The policy starts over when a link has held for a minute, and not before.
func TestRetryStartsOver(t *testing.T) {
	for held, want := range map[time.Duration]time.Duration{
		stableLink - time.Second: 4 * time.Second,
		stableLink:               0,
	} {
		p := newPlayer(t, iothub.RetryPolicy{Strategy: iothub.RetryExponentialBackoff})
		p.send(1)
		p.fail(3)
		p.accept(Auth{})
		p.pass(held - 50*time.Second) // less than what a silent hub is given
		p.s.Feed(p.now, mqtt.AppendEmpty(nil, mqtt.TypePingresp))
		p.pass(50 * time.Second)
		p.s.LinkDown(p.now, errNoRoute)
		p.collect()
		if got := p.lastStatus().RetryIn; got != want {
			t.Errorf("after a link of %v the wait is %v, want %v", held, got, want)
		}
	}
}

// A link that held for an hour and is being replaced because its token runs
// out ends its outage, too: the limit of the policy used to be counted from
// the first outage ever, so the first dial that failed gave up.
func TestRenewalStartsOver(t *testing.T) {
	p := newPlayer(t, iothub.RetryPolicy{Strategy: iothub.RetryInterval, Limit: 10 * time.Minute})
	p.send(1)
	p.fail(1)
	p.accept(Auth{Renewable: true, Token: iothub.Token{Value: "t", Expires: p.now.Add(time.Hour)}})
	p.take()
	p.s.Feed(p.now, mqtt.AppendAck(nil, mqtt.TypePuback, p.oldest()))
	p.s.cfg.MQTT.KeepAlive = 0
	p.s.proto.cfg.KeepAlive = 0
	dials := p.dials
	p.pass(time.Hour)
	if p.dials != dials+1 {
		t.Fatalf("%d dials, want one for the new token", p.dials-dials)
	}
	if got := p.fail(1); got[0] != 0 {
		t.Errorf("the wait after the first failure is %v, want none", got[0])
	}
}

// A link that cannot be used, because no CONNECT can be made of the
// credential, is hung up. It used to stay open for ever.
func TestUnusableCredentialHangsUp(t *testing.T) {
	p := newPlayer(t, *iothub.DefaultRetryPolicy())
	p.send(1)
	p.s.LinkUp(p.now, Auth{Token: iothub.Token{Value: strings.Repeat("x", 70_000)}})
	p.collect()
	if p.hangs != 1 {
		t.Errorf("hung up %d times, want once", p.hangs)
	}
}

// The last acknowledgement and the end of the link may arrive together while a
// token is being replaced. The end used to count as a failure of the new dial,
// and two dials were then under way.
func TestLinkDownAfterRenewal(t *testing.T) {
	p := newPlayer(t, *iothub.DefaultRetryPolicy())
	p.send(1)
	p.accept(Auth{Renewable: true, Token: iothub.Token{Value: "t", Expires: p.now.Add(10 * time.Second)}})
	p.take()
	p.pass(9 * time.Second)
	p.s.Feed(p.now, mqtt.AppendAck(nil, mqtt.TypePuback, p.oldest()))
	p.s.LinkDown(p.now, errNoRoute)
	p.collect()
	if p.dials != 2 || p.hangs != 1 || p.s.phase != phaseDialing {
		t.Errorf("%d dials, %d hang-ups, phase %d", p.dials, p.hangs, p.s.phase)
	}
}

// Nothing that arrives wakes a closed session. Bytes that were no MQTT used to
// make it dial again.
func TestClosedStaysClosed(t *testing.T) {
	p := newPlayer(t, *iothub.DefaultRetryPolicy())
	p.send(3)
	p.accept(Auth{})
	p.take()
	p.s.Close(p.now)
	p.collect()
	dials, events := p.dials, len(p.events)
	p.s.Feed(p.now, []byte{0xff, 0xff, 0xff})
	p.collect()
	p.s.LinkDown(p.now, errNoRoute)
	p.pass(time.Hour)
	p.send(1)
	if p.dials != dials || p.s.phase != phaseClosed {
		t.Errorf("a closed session dials: %d, phase %d", p.dials-dials, p.s.phase)
	}
	if n := len(p.events) - events; n != 1 { // the late message
		t.Errorf("%d events after the close", n)
	}
}

// A large message on a slow link is given the time it takes at slowLink; a
// small one is not.
func TestSlowLink(t *testing.T) {
	for size, limit := range map[int]time.Duration{10: 2 * stallProbe, 100 << 10: 2*stallProbe + 50*time.Second} {
		p := newPlayer(t, *iothub.DefaultRetryPolicy())
		o := NewOutbox(NewMQTTEncoder(testIdentity, false), p.now, 1, 1<<30)
		o.Add(p.now, &iothub.Message{Payload: make([]byte, size)}, nil, 0, false)
		p.s.Submit(p.now, o.Take(nil))
		p.collect()
		p.accept(Auth{})
		p.take()
		p.pass(limit - time.Second)
		if p.hangs != 0 {
			t.Errorf("%d bytes: the link was given up before %v", size, limit)
		}
		p.pass(3 * time.Second)
		if p.hangs != 1 {
			t.Errorf("%d bytes: a dead link was not given up after %v", size, limit)
		}
	}
}
