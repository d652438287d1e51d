package simulation_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/topic"
	"github.com/iothub-go/iothub/mqtt"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this scenario only; with -v print what happens")
	seedsFlag = flag.Int("seeds", 0, "how many scenarios to run; 0 is as many as take about 25 s")
	layerFlag = flag.String("layer", "", "run this client only: ll, module or device")
)

// shards is how many scenarios run at once: tests that call t.Parallel are
// bounded by -parallel, so more of them than processors do no harm.
const shards = 8

func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		for _, l := range layers {
			if *layerFlag == "" || *layerFlag == l.name {
				t.Run(l.name, func(t *testing.T) { simulate(t, *seedFlag, l, testing.Verbose()) })
			}
		}
		return
	}
	seeds := *seedsFlag
	switch {
	case seeds > 0:
	case testing.Short():
		seeds = 100
	case raceEnabled:
		seeds = 300
	default:
		seeds = 3000
	}
	var next atomic.Uint64
	for shard := range shards {
		t.Run(fmt.Sprint("shard ", shard), func(t *testing.T) {
			t.Parallel()
			for !t.Failed() {
				seed := next.Add(1)
				if seed > uint64(seeds) {
					return
				}
				for _, l := range layers {
					if *layerFlag == "" || *layerFlag == l.name {
						simulate(t, seed, l, false)
					}
				}
			}
		})
	}
}

// simulate runs one scenario on one client.
func simulate(t *testing.T, seed uint64, l layer, verbose bool) {
	replay := fmt.Sprintf("replay: go test ./internal/simulation -run 'TestSimulation' -seed=%d -layer=%s -v", seed, l.name)
	// Virtual time stands still when a client spins or waits for a lock.
	hung := time.AfterFunc(2*time.Minute, func() {
		fmt.Fprintln(os.Stderr, "the simulation hangs; "+replay)
		panic("the simulation hangs")
	})
	defer hung.Stop()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%v\n%s", p, replay)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w := &world{sc: newScenario(seed), layer: l.name, start: time.Now(), lastFirst: -1}
		if verbose {
			var mu sync.Mutex
			w.log = func(s string) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Println(s)
			}
			fmt.Print(w.sc)
		}
		w.run(l)
		if len(w.violations) > 0 {
			t.Errorf("%s\n%s", strings.Join(w.violations, "\n"), replay)
		}
	})
}

// run plays the whole scenario.
func (w *world) run(l layer) {
	net := simnet.New(func(n int) simnet.Plan {
		p := w.sc.plan(n, time.Since(w.start))
		w.trace("dial %d: %s", n, planString(p))
		return p
	})
	w.hub = &hub{w: w, base: topic.AppendTelemetryBase(nil, l.device, l.modu)}
	w.hub.base = w.hub.base[:len(w.hub.base)-1]
	go w.hub.serve(net)
	c, err := l.open(w, w.options(net))
	if err != nil {
		w.violation("open: %v", err)
		return
	}
	w.c = c
	stop := make(chan struct{})
	go w.dropAll(stop)
	var program sync.WaitGroup
	for i := range w.sc.senders {
		program.Go(func() { w.sender(i, &program) })
	}
	if w.sc.pollStats {
		go w.pollStats(stop)
	}
	closedEarly := w.finish(net, &program)
	close(stop)
	synctest.Wait()
	w.checkStats(true)
	w.checkEnd(closedEarly)
	net.Close()
	w.hub.drop()
	w.hub.wg.Wait()
}

func (w *world) options(net *simnet.Network) *iothub.ClientOptions {
	sc := w.sc
	return &iothub.ClientOptions{
		DialTLS:   net.Dial,
		Transport: mqtt.New(&mqtt.Options{Window: sc.window, WindowBytes: sc.windowBytes}),
		KeepAlive: sc.keepAlive, ConnectTimeout: sc.connectTimeout,
		MessageTimeout: sc.messageTimeout, TokenLifetime: sc.tokenLifetime, Retry: &sc.retry,
		MaxQueuedMessages: sc.maxMessages, MaxQueuedBytes: sc.maxBytes,
		OnConnectionStatus: w.status,
	}
}

// finish ends the program as the scenario says; it reports whether that was
// before everything was confirmed.
func (w *world) finish(net *simnet.Network, program *sync.WaitGroup) (early bool) {
	switch w.sc.closing {
	case closeOutside:
		w.sleepUntil(w.sc.closeAt)
		early = w.close(w.sc.closeDeadline)
		program.Wait()
		return early
	case closeInConfirm, closeInStatus:
		early = true
	}
	program.Wait()
	w.settle()
	w.checkStopped(net)
	w.close(time.Minute)
	return early || w.closedIn
}

// settle waits until everything is confirmed and complains if that takes too
// long.
func (w *world) settle() {
	deadline := w.start.Add(max(time.Since(w.start), w.sc.healthy())).Add(w.sc.settles())
	for {
		st, ok := w.stats()
		if ok && st.Queued+st.InFlight == 0 && w.unsettled() == 0 {
			return
		}
		if !ok && w.unsettled() == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.violation("%d messages are not confirmed; stats %+v", w.unsettled(), st)
			return
		}
		<-time.After(time.Second)
	}
}

// checkStopped checks that a client whose retry policy gave up stays quiet
// until something is sent.
func (w *world) checkStopped(net *simnet.Network) {
	w.mu.Lock()
	quiet := w.quietLocked()
	w.mu.Unlock()
	if !quiet {
		return
	}
	before := net.Dials()
	for range 6 {
		<-time.After(10 * time.Second)
		w.stats() // and with it DoWork
	}
	if n := net.Dials() - before; n != 0 {
		w.violation("the client gave up, and dialled %d times more with nothing to send", n)
	}
}

func (w *world) stats() (iothub.Stats, bool) {
	st, ok := iothub.Stats{}, false
	if !w.on(func() { st, ok = w.c.stats() }) {
		return st, false
	}
	return st, ok
}

// on runs f where the client may be called.
func (w *world) on(f func()) bool {
	if p, ok := w.c.(*pump); ok {
		return p.call(f)
	}
	f()
	return true
}

// close closes from outside, within d, and reports whether it was early.
func (w *world) close(d time.Duration) bool {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.trace("close within %v", d)
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	began := time.Now()
	err := w.c.close(ctx)
	took := time.Since(began)
	w.trace("closed after %v: %v", took, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	limit := d + 2*time.Second
	if w.layer == "ll" && w.sc.slowCallbacks {
		limit += time.Duration(len(w.records)) * 20 * time.Millisecond // Destroy takes as long as its callbacks
	}
	if took > limit {
		w.violationLocked("a close within %v took %v", d, took)
	}
	if err == nil && !w.closedIn {
		for _, r := range w.records {
			if r.confirms > 0 && r.result.Result == iothub.ConfirmBecauseDestroy {
				w.violationLocked("Close returned nil, but message %d was given up", r.serial)
			}
		}
	}
	return err != nil || w.closedIn
}

// sender makes its share of the sends.
func (w *world) sender(i int, program *sync.WaitGroup) {
	for j := i; j < len(w.sc.sends); j += w.sc.senders {
		s := &w.sc.sends[j]
		w.sleepUntil(s.at)
		if c, ok := w.c.(waiter); ok && s.wait > 0 {
			program.Go(func() { w.wait(c, s) })
			continue
		}
		for try := 0; ; try++ {
			var err error
			if !w.on(func() { err = w.offer(s, false) }) {
				return // destroyed
			}
			if err != iothub.ErrQueueFull || try == s.retries {
				break
			}
			<-time.After(time.Second)
		}
	}
}

func (w *world) pollStats(stop <-chan struct{}) {
	for {
		w.on(func() { w.checkStats(false) })
		select {
		case <-time.After(377 * time.Millisecond):
		case <-stop:
			return
		}
	}
}

func (w *world) dropAll(stop <-chan struct{}) {
	for _, at := range w.sc.drops {
		select {
		case <-time.After(time.Until(w.start.Add(at))):
			w.trace("hub: drops all connections")
			w.hub.drop()
		case <-stop:
			return
		}
	}
}

func (w *world) sleepUntil(at time.Duration) {
	<-time.After(time.Until(w.start.Add(at)))
}
