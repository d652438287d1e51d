package ll_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/ll"
)

const (
	key          = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	deviceString = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=" + key
	moduleString = "HostName=hub.example;DeviceId=dev1;ModuleId=mod1;SharedAccessKey=" + key
)

// stage is a poll-driven client, a network and a hub for one test. What every
// client must do, of whatever layer, is in internal/contract; here is what
// only a poll-driven one does.
type stage struct {
	*testing.T
	c   *ll.ModuleClient
	hub *simhub.Hub
	net *simnet.Network
}

// play runs f on a stage, in virtual time. prepare, which may be nil, scripts
// the stage before the client is made.
func play(t *testing.T, prepare func(s *stage, o *ll.ClientOptions), f func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, hub: &simhub.Hub{}, net: simnet.New(nil)}
		o := &ll.ClientOptions{DialTLS: s.net.Dial}
		if prepare != nil {
			prepare(s, o)
		}
		go s.hub.Serve(s.net)
		c, err := ll.NewModuleClientFromConnectionString(moduleString, o)
		if err != nil {
			t.Fatal(err)
		}
		s.c = c
		f(s)
		if err := s.c.Destroy(); err != nil {
			s.Error(err)
		}
		s.net.Close()
		s.hub.Drop()
		s.hub.Wait()
	})
}

func msg(payload string) *iothub.Message { return &iothub.Message{Payload: []byte(payload)} }

// never acknowledges nothing.
func never(*simhub.Received) bool { return false }

func (s *stage) send(payload string, confirm iothub.ConfirmFunc) {
	s.Helper()
	if err := s.c.SendEventAsync(msg(payload), confirm); err != nil {
		s.Fatalf("SendEventAsync(%s): %v", payload, err)
	}
}

// work calls DoWork until nothing moves any more, without letting time pass.
func (s *stage) work() time.Time {
	s.Helper()
	for {
		next, err := s.c.DoWork()
		if err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-s.c.Wakeup():
		default:
			if next.After(time.Now()) {
				return next
			}
		}
	}
}

// drive runs the loop of the package's documentation for d: DoWork is called
// when Wakeup fires or when the time that it returned has come, never else. It
// returns the number of calls.
func (s *stage) drive(d time.Duration) (calls int) {
	s.Helper()
	end := time.Now().Add(d)
	for {
		next, err := s.c.DoWork()
		if err != nil {
			s.Fatal(err)
		}
		calls++
		if calls > 1_000_000 {
			s.Fatal("DoWork wants to be called without end")
		}
		if next.After(end) {
			next = end
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-s.c.Wakeup():
		case <-timer.C:
		}
		timer.Stop()
		if !time.Now().Before(end) {
			return calls
		}
	}
}
