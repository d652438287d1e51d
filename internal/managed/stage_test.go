package managed_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/module"
)

const (
	key          = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	moduleString = "HostName=hub.example;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=" + key
)

// stage is a managed client, a network and a hub for one test. What every
// client must do, of whatever layer, is in internal/contract; here is what
// only a managed one does.
type stage struct {
	*testing.T
	c   *module.Client
	hub *simhub.Hub
	net *simnet.Network

	mu     sync.Mutex
	events []iothub.ConnectionEvent
}

// play runs f on a stage, in virtual time. prepare, which may be nil, scripts
// the stage before the client is made.
func play(t *testing.T, prepare func(s *stage, o *iothub.ClientOptions), f func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, hub: &simhub.Hub{}, net: simnet.New(nil)}
		o := &iothub.ClientOptions{DialTLS: s.net.Dial, OnConnectionStatus: s.note}
		if prepare != nil {
			prepare(s, o)
		}
		go s.hub.Serve(s.net)
		c, err := module.NewClientFromConnectionString(moduleString, o)
		if err != nil {
			t.Fatal(err)
		}
		s.c = c
		f(s)
		s.c.Close(ended())
		s.net.Close()
		s.hub.Drop()
		s.hub.Wait()
	})
}

// note keeps connection events.
func (s *stage) note(e iothub.ConnectionEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *stage) seen() []iothub.ConnectionEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]iothub.ConnectionEvent(nil), s.events...)
}

// send is SendEventAsync that must succeed.
func (s *stage) send(payload string, confirm iothub.ConfirmFunc) {
	s.Helper()
	if err := s.c.SendEventAsync(msg(payload), confirm); err != nil {
		s.Fatalf("SendEventAsync(%s): %v", payload, err)
	}
}

// payloads returns what the hub received, in order.
func (s *stage) payloads() []string {
	var p []string
	for _, r := range s.hub.Received() {
		p = append(p, r.Payload)
	}
	return p
}

// ackAll acknowledges everything that the hub received.
func (s *stage) ackAll() {
	for _, r := range s.hub.Received() {
		s.hub.Acknowledge(r.ID)
	}
	synctest.Wait()
}

// count counts confirmations by result.
type count struct {
	mu sync.Mutex
	of map[iothub.ConfirmationResult]int
}

func (n *count) confirm(c iothub.Confirmation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[iothub.ConfirmationResult]int{}
	}
	n.of[c.Result]++
}

func (n *count) get(r iothub.ConfirmationResult) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[r]
}

// waiting is the outcome of a call that may take its time.
type waiting struct {
	done chan struct{}
	err  error
	took time.Duration
}

func start(f func() error) *waiting {
	w := &waiting{done: make(chan struct{})}
	begun := time.Now()
	go func() {
		w.err = f()
		w.took = time.Since(begun)
		close(w.done)
	}()
	synctest.Wait()
	return w
}

// returned reports whether the call has come back by now.
func (w *waiting) returned() bool {
	synctest.Wait()
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func msg(payload string) *iothub.Message { return &iothub.Message{Payload: []byte(payload)} }

// advance lets d of virtual time pass.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// ended returns a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// never acknowledges nothing.
func never(*simhub.Received) bool { return false }

// wantCause checks that err leads to target and is of the right certainty.
func wantCause(t *testing.T, err, target error, notSent bool) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("the error is %v, want one that is %v", err, target)
	}
	if iothub.NotSent(err) != notSent {
		t.Errorf("NotSent(%v) is %v, want %v", err, !notSent, notSent)
	}
}
