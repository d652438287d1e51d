//go:build linux

package client_test

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/internal/simhub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.Main(m, 2*time.Second, "iothub/capi/internal/client.", "iothub/ll.", "iothub/internal/link.")
}

const deviceString = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// stage is a client, and in place of the C side what it was told.
type stage struct {
	*testing.T
	c   *client.Client
	hub *simhub.Hub
	net *simnet.Network
	// inside is called for each record, on the thread of its function.
	inside func(r client.Record)

	mu      sync.Mutex
	records []client.Record
	logged  []string
}

func (s *stage) Dispatch(_ *client.Client, records []client.Record) {
	for _, r := range records {
		s.mu.Lock()
		s.records = append(s.records, r)
		s.mu.Unlock()
		if s.inside != nil {
			s.inside(r)
		}
	}
}

func (s *stage) Thread() uintptr { return uintptr(syscall.Gettid()) }

func (s *stage) Log(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logged = append(s.logged, err.Error())
}

// told returns the records of a kind.
func (s *stage) told(kind client.RecordKind) (told []client.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if r.Kind == kind {
			told = append(told, r)
		}
	}
	return told
}

// play runs f on a stage, in virtual time.
func play(t *testing.T, threaded bool, prepare func(s *stage), f func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, hub: &simhub.Hub{}, net: simnet.New(nil)}
		if prepare != nil {
			prepare(s)
		}
		go s.hub.Serve(s.net)
		c, err := client.New(deviceString, s, client.Options{Threaded: threaded, DialTLS: s.net.Dial})
		if err != nil {
			t.Fatal(err)
		}
		s.c = c
		f(s)
		s.c.Destroy()
		s.net.Close()
		synctest.Wait() // a connection that nobody has fetched is one of the hub's now
		s.hub.Drop()
		s.hub.Wait()
	})
}

// work lets everything happen that can without time passing.
func (s *stage) work() {
	for range 20 {
		if !s.c.Threaded() {
			s.c.DoWork()
		}
		synctest.Wait()
	}
}

func (s *stage) send(m iothub.Message, context uintptr) {
	s.Helper()
	if r := s.c.Send(&m, client.Callback{Func: 1, Context: context}); r != client.OK {
		s.Fatalf("Send: %d, %q", r, s.logged)
	}
}

// results are the results of records, in order.
func results(records []client.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%d:%d ", r.Context, r.Result)
	}
	return strings.TrimSpace(b.String())
}

// Nothing is dispatched outside DoWork, and what is in flight is confirmed by
// Destroy, once.
func TestWithoutAThread(t *testing.T) {
	play(t, false, func(s *stage) {
		s.hub.Ack = func(r *simhub.Received) bool { return r.Payload == "ok" }
	}, func(s *stage) {
		s.send(iothub.Message{Payload: []byte("ok")}, 1)
		s.send(iothub.Message{Payload: []byte("not")}, 2)
		<-time.After(time.Hour)
		if len(s.told(client.RecordConfirm)) != 0 || s.net.Dials() != 0 {
			s.Error("something happened outside DoWork")
		}
		s.work()
		if got := results(s.told(client.RecordConfirm)); got != "1:0" {
			s.Errorf("confirmed: %s", got)
		}
		if busy, r := s.c.Busy(); !busy || r != client.OK {
			s.Errorf("busy: %v, %d", busy, r)
		}
		s.c.Destroy()
		s.c.Destroy()
		if got := results(s.told(client.RecordConfirm)); got != "1:0 2:1" {
			s.Errorf("confirmed: %s", got)
		}
		if r := s.c.Send(&iothub.Message{}, client.Callback{}); r != client.Failed || !s.c.Closed() {
			s.Errorf("after Destroy: %d", r)
		}
	})
}

// A thread does by itself what DoWork does otherwise.
func TestWithAThread(t *testing.T) {
	play(t, true, nil, func(s *stage) {
		s.send(iothub.Message{Payload: []byte("m")}, 1)
		s.work()
		if got := results(s.told(client.RecordConfirm)); got != "1:0" {
			s.Errorf("confirmed: %s", got)
		}
	})
}

// Destroy inside a function takes effect when it returns; what was sent in it, and
// what waits, is confirmed, and nothing else is told.
func TestDestroyInside(t *testing.T) {
	for _, threaded := range []bool{false, true} {
		t.Run(fmt.Sprint("threaded=", threaded), func(t *testing.T) {
			play(t, threaded, nil, func(s *stage) {
				s.c.SetStatusCallback(client.Callback{Func: 2})
				s.inside = func(r client.Record) {
					if r.Kind != client.RecordConfirm || r.Context != 1 {
						return
					}
					s.send(iothub.Message{Payload: []byte("late")}, 2)
					s.c.Destroy()
					if got := results(s.told(client.RecordConfirm)); got != "1:0" {
						s.Errorf("Destroy ran functions inside another: %s", got)
					}
					if r := s.c.Send(&iothub.Message{}, client.Callback{Func: 1}); r != client.Failed {
						s.Errorf("Send after Destroy: %d", r)
					}
				}
				s.send(iothub.Message{Payload: []byte("m")}, 1)
				s.work()
				if got := results(s.told(client.RecordConfirm)); got != "1:0 2:1" {
					s.Errorf("confirmed: %s", got)
				}
				for _, r := range s.told(client.RecordStatus) {
					if r.Result != 0 {
						s.Errorf("the program was told of its own Destroy: %+v", r)
					}
				}
			})
		})
	}
}

// DoWork inside a function does nothing: functions never run inside each other.
func TestDoWorkInside(t *testing.T) {
	play(t, false, nil, func(s *stage) {
		depth := 0
		s.inside = func(r client.Record) {
			if depth++; depth > 1 {
				s.Error("a function ran inside another")
			}
			s.c.DoWork()
			depth--
		}
		for i := range 10 {
			s.send(iothub.Message{Payload: []byte("m")}, uintptr(i))
		}
		s.work()
		if n := len(s.told(client.RecordConfirm)); n != 10 {
			s.Errorf("%d confirmations", n)
		}
	})
}

// What a program has percent-encoded by itself goes out as it means; with
// auto_url_encode_decode it goes out as it stands.
func TestEncodingOfProperties(t *testing.T) {
	for auto, want := range map[bool]string{false: "application/json 100%", true: "application%2fjson 100%25"} {
		play(t, false, nil, func(s *stage) {
			if r := s.c.SetOption("auto_url_encode_decode", auto); r != client.OK {
				s.Errorf("SetOption: %d", r)
			}
			given := map[string]string{"p": "100%25", "%": "%zz"}
			s.send(iothub.Message{ContentType: "application%2fjson", Properties: given}, 1)
			s.work()
			got := s.hub.Received()[0].Properties
			if got := got["$.ct"] + " " + got["p"]; got != want {
				s.Errorf("auto %v: %q, want %q", auto, got, want)
			}
			if got["%"] != "%zz" {
				s.Errorf("what is no percent-encoding: %q", got)
			}
			if len(given) != 2 || given["p"] != "100%25" {
				s.Errorf("the program's map was changed: %q", given)
			}
		})
	}
}

// The share of messages that diag_sampling_percentage asks for is marked, the first
// among them.
func TestSampling(t *testing.T) {
	for _, percent := range []uint64{0, 1, 33, 50, 100} {
		play(t, false, nil, func(s *stage) {
			if r := s.c.SetOption("diag_sampling_percentage", percent); r != client.OK {
				s.Errorf("SetOption: %d", r)
			}
			const total = 200
			for range total {
				s.send(iothub.Message{Payload: []byte("m")}, 1)
			}
			s.work()
			marked := uint64(0)
			for i, r := range s.hub.Received() {
				id := r.Properties["$.diagid"]
				if id != "" {
					marked++
				}
				if i == 0 && (id != "") != (percent > 0) {
					s.Errorf("%d %%: the id of the first is %q", percent, id)
				}
			}
			if want := float64(total * percent / 100); math.Abs(float64(marked)-want) > 1 {
				s.Errorf("%d %% of %d: %d are marked", percent, total, marked)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	cases := []struct {
		name  string
		value any
		want  client.Result
	}{
		{"messageTimeout", uint64(60_000), client.OK},
		{"messageTimeout", uint64(math.MaxUint64), client.InvalidArg},
		{"messageTimeout", uint64(0), client.OK},
		{"do_work_freq_ms", uint64(10), client.InvalidArg}, // there is no thread
		{"diag_sampling_percentage", uint64(101), client.Failed},
		{"sas_token_lifetime", uint64(4), client.Failed},
		{"tls_version", nil, client.OK},
		{"no such option", true, client.InvalidArg},
	}
	play(t, false, nil, func(s *stage) {
		for _, c := range cases {
			if got := s.c.SetOption(c.name, c.value); got != c.want {
				s.Errorf("%s = %v: %d, want %d (%q)", c.name, c.value, got, c.want, s.logged)
			}
		}
		s.c.Destroy()
		if got := s.c.SetOption("keepalive", int64(60)); got != client.Failed {
			s.Errorf("after Destroy: %d", got)
		}
	})
	if _, ok := client.OptionType("Batching"); ok {
		t.Error("an option of HTTP is known")
	}
}
