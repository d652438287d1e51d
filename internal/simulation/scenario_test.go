package simulation_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/mqtt"
)

// scenario is everything that a seed decides.
type scenario struct {
	seed uint64

	// The program.
	window, windowBytes  int
	maxMessages          int
	maxBytes             int
	messageTimeout       time.Duration
	keepAlive            time.Duration
	tokenLifetime        time.Duration
	connectTimeout       time.Duration
	retry                iothub.RetryPolicy
	senders              int
	sends                []send
	slowCallbacks        bool
	pollStats            bool
	closing              closing
	closeAt              time.Duration // closeOutside
	closeDeadline        time.Duration // closeOutside
	closeAfter           int           // closeInConfirm, closeInStatus: callbacks
	sendInsideAfterClose bool

	// The network: healthy from a dial or a time on, whichever comes first.
	healthyDial int
	healthyAt   time.Duration
	up, down    simnet.Direction // of a healthy connection
	dialDelay   time.Duration

	// The hub.
	refusals   []int // CONNACK codes of the first connections; negative is silence
	ackDelay   time.Duration
	withheld   bool // no acknowledgement at all before ackNormal
	ackNormal  time.Duration
	outOfOrder bool
	ackTwice   bool
	drops      []time.Duration
}

// send is one call of the program.
type send struct {
	at      time.Duration
	size    int
	props   int
	expiry  time.Duration // from the call on; 0 is none, may be negative
	quiet   bool          // confirm is nil
	resend  int           // how often the confirmation sends another
	retries int           // how often a full queue is tried again
	wait    time.Duration // not 0: SendEvent with this timeout, managed clients only
	invalid bool
}

type closing uint8

const (
	closeAtEnd closing = iota
	closeOutside
	closeInConfirm
	closeInStatus
)

func (c closing) String() string {
	return [...]string{"at the end", "from outside", "inside a confirmation", "inside a status callback"}[c]
}

// dice are random numbers with the shapes that scenarios need.
type dice struct{ *rand.Rand }

func newDice(seed, stream uint64) dice { return dice{rand.New(rand.NewPCG(seed, stream))} }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

// upTo returns a number from lo to hi, small ones far more often.
func (d dice) upTo(lo, hi int) int {
	return lo + int(math.Exp(d.Float64()*math.Log(float64(hi-lo+1)))) - 1
}

func (d dice) duration(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(d.Int64N(int64(hi-lo)+1))
}

// longTail is duration, short ones far more often.
func (d dice) longTail(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(d.upTo(0, int((hi-lo)/time.Millisecond)))*time.Millisecond
}

func newScenario(seed uint64) *scenario {
	d := newDice(seed, 0)
	sc := &scenario{seed: seed, window: mqtt.DefaultWindow, windowBytes: mqtt.DefaultWindowBytes}
	sc.rollProgram(d)
	sc.rollSends(d)
	sc.rollNetwork(d)
	sc.rollHub(d)
	if sc.tokenLifetime != 0 && sc.tokenLifetime < time.Minute {
		// No client can deliver a message that takes longer than its
		// tokens live.
		sc.up.Rate, sc.down.Rate = 0, 0
	}
	return sc
}

func (sc *scenario) rollProgram(d dice) {
	if d.chance(50) {
		sc.window = d.upTo(1, 300)
	}
	if d.chance(30) {
		sc.windowBytes = d.upTo(1, 100_000)
	}
	if d.chance(40) {
		sc.maxMessages = d.upTo(1, 200)
	}
	if d.chance(30) {
		sc.maxBytes = d.upTo(1, 500_000)
	}
	if d.chance(30) {
		sc.messageTimeout = d.longTail(time.Millisecond, 2*time.Minute)
	}
	switch d.IntN(4) {
	case 0:
		sc.keepAlive = -1
	case 1:
		sc.keepAlive = d.duration(time.Second, 2*time.Minute)
	}
	if d.chance(25) {
		sc.tokenLifetime = d.longTail(5*time.Second, 5*time.Minute)
	}
	sc.connectTimeout = d.longTail(time.Second, 30*time.Second)
	sc.retry.Strategy = iothub.RetryExponentialBackoffWithJitter
	if d.chance(50) {
		sc.retry.Strategy = iothub.RetryImmediate + iothub.RetryStrategy(d.IntN(6))
		sc.retry.InitialDelay = d.duration(0, 5*time.Second)
		sc.retry.MaxDelay = d.duration(0, 30*time.Second)
	}
	switch n := d.IntN(100); {
	case n < 5:
		sc.retry.Strategy = iothub.RetryNone
	case n < 15:
		sc.retry.Limit = d.longTail(time.Millisecond, 2*time.Minute)
	}
	sc.senders = 1
	if d.chance(30) {
		sc.senders = 2 + d.IntN(2)
	}
	sc.slowCallbacks = d.chance(10)
	sc.pollStats = d.chance(50)
	if d.chance(50) {
		sc.closing = closing(1 + d.IntN(3))
	}
	sc.closeAt = d.longTail(0, time.Minute)
	sc.closeDeadline = d.longTail(0, 30*time.Second)
	sc.closeAfter = d.upTo(1, 60)
	sc.sendInsideAfterClose = d.chance(50)
}

func (sc *scenario) rollSends(d dice) {
	n := d.upTo(1, 400)
	if d.chance(3) {
		n = d.upTo(400, 3000)
	}
	wait, expire := d.chance(20), d.chance(30)
	big := 1
	if d.chance(15) {
		big = 25
	}
	at := time.Duration(0)
	burst := 0
	for range n {
		if burst == 0 {
			burst = d.upTo(1, 200)
			at += d.longTail(0, 5*time.Second)
		}
		burst--
		s := send{at: at, props: d.IntN(4), quiet: d.chance(10), retries: d.IntN(6)}
		switch k := d.IntN(1000); {
		case k < big:
			s.size = d.upTo(66_000, iothub.MaxMessageSize-100)
		case k < 2*big:
			s.size = iothub.MaxMessageSize - d.IntN(600) // some of these are too large
		case k < 6*big:
			s.size = 65536 - 200 + d.IntN(400)
		case k < 50:
			s.size = d.upTo(300, 20_000)
		default:
			s.size = d.upTo(0, 300)
		}
		if d.chance(2) {
			s.props = 40 + d.IntN(40) // outgrows every guess
		}
		if expire && d.chance(30) {
			s.expiry = d.longTail(time.Millisecond, time.Minute)
			if d.chance(10) {
				s.expiry = -s.expiry
			}
		}
		if d.chance(10) {
			s.resend = 1 + d.IntN(3)
		}
		if wait && d.chance(20) {
			s.wait = d.longTail(time.Millisecond, time.Minute)
		}
		s.invalid = d.chance(1)
		sc.sends = append(sc.sends, s)
	}
}

func (sc *scenario) rollNetwork(d dice) {
	sc.dialDelay = d.longTail(time.Millisecond, 300*time.Millisecond)
	if d.chance(85) {
		sc.healthyDial = d.upTo(0, 12)
		sc.healthyAt = d.longTail(0, 3*time.Minute)
	}
	if d.chance(60) {
		sc.up.Latency = d.longTail(0, 500*time.Millisecond)
		sc.down.Latency = d.longTail(0, 500*time.Millisecond)
	}
	if d.chance(20) {
		sc.up.Rate = d.upTo(5_000, 1_000_000)
		sc.down.Rate = d.upTo(1_000, 1_000_000)
	}
}

func (sc *scenario) rollHub(d dice) {
	if d.chance(20) {
		for range 1 + d.IntN(4) {
			sc.refusals = append(sc.refusals, []int{-1, 0, 2, 3, 4, 5}[d.IntN(6)])
		}
	}
	if d.chance(40) {
		sc.ackNormal = d.longTail(0, 4*time.Minute)
		if sc.withheld = d.chance(40); !sc.withheld {
			sc.ackDelay = d.longTail(0, 20*time.Second)
		}
	}
	sc.outOfOrder = d.chance(10)
	sc.ackTwice = d.chance(10)
	if d.chance(25) {
		for range d.upTo(1, 8) {
			sc.drops = append(sc.drops, d.longTail(0, 2*time.Minute))
		}
	}
}

// plan returns the plan of the n-th dial, now after the start.
func (sc *scenario) plan(n int, now time.Duration) simnet.Plan {
	p := simnet.Plan{Up: sc.up, Down: sc.down, DialDelay: sc.dialDelay}
	if n >= sc.healthyDial || now >= sc.healthyAt {
		return p
	}
	d := newDice(sc.seed, 1+uint64(n))
	if d.chance(30) {
		p.Up.Rate = d.upTo(500, 1_000_000)
	}
	if d.chance(30) {
		p.Down.Rate = d.upTo(50, 1_000_000)
	}
	if d.chance(30) {
		p.Up.Latency, p.Down.Latency = d.longTail(0, 5*time.Second), d.longTail(0, 5*time.Second)
	}
	switch k := d.IntN(100); {
	case k < 12:
		p.Refuse = []error{syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.ETIMEDOUT}[d.IntN(3)]
	case k < 17:
		p.Silent = true
	case k < 25:
		p.DialDelay = d.longTail(time.Millisecond, 40*time.Second)
	case k < 50:
		p.Up.Fault, p.Up.After = sc.fault(d), sc.cutUp(d)
	case k < 75:
		p.Down.Fault, p.Down.After = sc.fault(d), d.upTo(0, 3000)
		if d.chance(50) {
			p.Down.After = d.IntN(9) // inside CONNACK and the first PUBACK
		}
	case k < 90:
		p.Up.Fault, p.Up.After = sc.fault(d), sc.cutUp(d)
		p.Down.Fault, p.Down.After = sc.fault(d), d.upTo(0, 3000)
	}
	return p
}

func (*scenario) fault(d dice) simnet.Fault {
	return []simnet.Fault{simnet.Reset, simnet.Hole, simnet.EOF}[d.IntN(3)]
}

// cutUp returns where a fault hits what the client says: CONNECT is about 300
// bytes.
func (*scenario) cutUp(d dice) int {
	switch d.IntN(3) {
	case 0:
		return d.IntN(300)
	case 1:
		return 300 + d.IntN(1500)
	}
	return d.upTo(0, 300_000)
}

// healthy is when nothing is wrong any more with new connections.
func (sc *scenario) healthy() time.Duration {
	t := max(sc.healthyAt, sc.ackNormal)
	for _, d := range sc.drops {
		t = max(t, d)
	}
	return t
}

// settles is how long after healthy and the last send everything has to be
// confirmed: old connections are found out, back-offs end, all is sent again,
// perhaps a few times.
func (sc *scenario) settles() time.Duration {
	bytes := 0
	for _, s := range sc.sends {
		bytes += (s.size + 300) * (1 + s.resend)
	}
	t := 10 * time.Minute
	rate, latency := sc.up.Rate, sc.up.Latency+sc.down.Latency
	for n := range sc.healthyDial { // a connection that is only slow stays
		p := sc.plan(n, -1)
		if r := p.Up.Rate; r > 0 && (rate == 0 || r < rate) {
			rate = r
		}
		latency = max(latency, p.Up.Latency+p.Down.Latency)
	}
	if rate > 0 {
		t += 3 * time.Duration(bytes) * time.Second / time.Duration(rate)
	}
	if sc.tokenLifetime > 0 && sc.tokenLifetime < time.Minute {
		t *= 4
	}
	// With a window of one, every message takes a round trip.
	return t + time.Duration(4*len(sc.sends))*latency
}

// calm reports that nothing ever goes wrong, so that nothing need be sent
// twice, however often a token is replaced.
func (sc *scenario) calm() bool {
	return (sc.healthyDial == 0 || sc.healthyAt == 0) && sc.up.Rate == 0 && sc.down.Rate == 0 &&
		len(sc.refusals) == 0 && len(sc.drops) == 0 && sc.ackNormal == 0 && sc.dialDelay < sc.connectTimeout
}

// canGiveUp reports whether the retry policy ever does.
func (sc *scenario) canGiveUp() bool {
	return sc.retry.Strategy == iothub.RetryNone || sc.retry.Limit > 0
}

// expires reports whether any message has a bound in time.
func (sc *scenario) expires() bool {
	for _, s := range sc.sends {
		if s.expiry != 0 {
			return true
		}
	}
	return sc.messageTimeout > 0
}

func (sc *scenario) String() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("seed %d", sc.seed)
	p("  window %d messages, %d bytes; queue %d messages, %d bytes (0: default)", sc.window, sc.windowBytes, sc.maxMessages, sc.maxBytes)
	p("  message timeout %v, keep-alive %v, token lifetime %v, connect timeout %v", sc.messageTimeout, sc.keepAlive, sc.tokenLifetime, sc.connectTimeout)
	p("  retry %+v", sc.retry)
	p("  close %v: at %v within %v, or after %d callbacks", sc.closing, sc.closeAt, sc.closeDeadline, sc.closeAfter)
	p("  %d senders, slow callbacks %v", sc.senders, sc.slowCallbacks)
	p("  network healthy from dial %d or %v on: dial %v, up %+v, down %+v", sc.healthyDial, sc.healthyAt, sc.dialDelay, sc.up, sc.down)
	for n := range sc.healthyDial {
		p("    before that, dial %d: %s", n, planString(sc.plan(n, -1)))
	}
	p("  hub: CONNACK %v; until %v withholds %v, delays %v; out of order %v, twice %v; drops all at %v",
		sc.refusals, sc.ackNormal, sc.withheld, sc.ackDelay, sc.outOfOrder, sc.ackTwice, sc.drops)
	p("  %d sends", len(sc.sends))
	return b.String()
}

func planString(p simnet.Plan) string {
	if p.Silent {
		return "silent"
	}
	s := fmt.Sprintf("takes %v", p.DialDelay)
	if p.Refuse != nil {
		return s + ", " + p.Refuse.Error()
	}
	for _, d := range []struct {
		name string
		simnet.Direction
	}{{"up", p.Up}, {"down", p.Down}} {
		s += fmt.Sprintf("; %s latency %v rate %d", d.name, d.Latency, d.Rate)
		if d.Fault != simnet.None {
			s += fmt.Sprintf(" %s after %d bytes", [...]string{"", "reset", "hole", "EOF"}[d.Fault], d.After)
		}
	}
	return s
}
