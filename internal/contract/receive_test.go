package contract_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/simnet"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// inbound returns the filter and the base topic of messages to the client.
func (s *stage) inbound() (filter, base string) {
	if s.module {
		return topic.InputsFilter("dev1", "mod1"), "devices/dev1/modules/mod1/inputs/in1/"
	}
	return topic.MessagesFilter("dev1"), "devices/dev1/messages/devicebound/"
}

// push sends a message to the client with QoS 1.
func (s *stage) push(payload string, id uint16, dup bool) int {
	filter, base := s.inbound()
	return s.hub.Publish(filter, base+"%24.mid=m-"+payload+"&%24.to=%2Fx&colour=dark%20red%2B", payload, id, dup)
}

// A message is handed to the handler whole and acknowledged only after the
// handler is done, in the order of arrival whatever the order of settling.
func TestMessagesAreSettled(t *testing.T) {
	on(t, nil, func(s *stage) {
		kept := map[string]*iothub.ReceivedMessage{}
		s.onMessage(func(m *iothub.ReceivedMessage) iothub.Disposition {
			kept[string(m.Payload)] = m
			if len(s.hub.Acks()) != 0 && string(m.Payload) == "1" {
				s.Error("acknowledged before it was handled")
			}
			if m.MessageID != "m-"+string(m.Payload) || m.To != "/x" || m.Properties["colour"] != "dark red+" {
				s.Errorf("received %+v", m.Message)
			}
			if s.module && m.InputName != "in1" {
				s.Errorf("input %q", m.InputName)
			}
			if string(m.Payload) == "4" {
				return iothub.DispositionAccepted
			}
			return iothub.DispositionLater
		})
		synctest.Wait()
		for i := range 5 {
			if s.push(fmt.Sprint(i+1), uint16(100+i), false) != 1 {
				s.Fatal("the client is not subscribed")
			}
		}
		synctest.Wait()
		if a := s.hub.Acks(); len(a) != 0 {
			s.Errorf("acknowledged %v before the first was settled", a)
		}
		s.do(func() { kept["2"].Settle(iothub.DispositionAccepted) })
		s.do(func() { kept["3"].Settle(iothub.DispositionAbandoned) })
		synctest.Wait()
		if a := s.hub.Acks(); len(a) != 0 {
			s.Errorf("acknowledged %v before the first was settled", a)
		}
		s.do(func() { kept["1"].Settle(iothub.DispositionRejected) })
		s.do(func() { kept["1"].Settle(iothub.DispositionAccepted) }) // only the first counts
		synctest.Wait()
		if got := fmt.Sprint(s.hub.Acks()); got != "[100 101 103]" {
			s.Errorf("acknowledged %s, want 1, 2 and 4 in order, and not the abandoned 3", got)
		}
		s.hub.Drop()
		advance(5 * time.Second)
		var err error
		s.do(func() { err = kept["5"].Settle(iothub.DispositionAccepted) })
		if err != iothub.ErrLockLost {
			s.Errorf("settling on a lost connection: %v", err)
		}
		if s.push("again", 7, true) != 1 {
			s.Error("not subscribed again after the reconnect")
		}
		synctest.Wait()
		if kept["again"] == nil {
			s.Error("nothing is received after a reconnect")
		}
	})
}

// responses returns the answers to method calls, as "status rid payload".
func (s *stage) responses() (r []string) {
	for _, p := range s.hub.Received() {
		if rest, ok := strings.CutPrefix(p.Topic, "$iothub/methods/res/"); ok {
			r = append(r, rest+" "+p.Payload)
		}
	}
	return r
}

func (s *stage) call(name, rid, payload string) {
	s.Helper()
	if s.hub.Publish(topic.MethodsFilter, "$iothub/methods/POST/"+name+"/?$rid="+rid, payload, 0, false) != 1 {
		s.Fatal("the client is not subscribed to methods")
	}
	synctest.Wait()
}

// Methods are answered now, later, once, and always.
func TestMethods(t *testing.T) {
	on(t, nil, func(s *stage) {
		var later *iothub.MethodRequest
		s.onMethod("now", func(r *iothub.MethodRequest) *iothub.MethodResponse {
			return &iothub.MethodResponse{Status: 201, Payload: []byte(`{"got":` + string(r.Payload) + `}`)}
		})
		s.onMethod("later", func(r *iothub.MethodRequest) *iothub.MethodResponse {
			later = r
			return nil
		})
		s.onMethod("panics", func(*iothub.MethodRequest) *iothub.MethodResponse { panic("boom") })
		s.onMethod("nonsense", func(*iothub.MethodRequest) *iothub.MethodResponse {
			return &iothub.MethodResponse{Status: 200, Payload: []byte("{")}
		})
		synctest.Wait()
		s.call("now", "1", `7`)
		s.call("now", "1", `7`) // arrives twice
		s.call("later", "a-2", ``)
		s.call("panics", "3", `null`)
		s.call("nonsense", "4", `null`)
		s.call("unknown", "5", `null`)
		s.do(func() { later.Respond(200, nil); later.Respond(500, nil) })
		s.call("later", "6", ``) // and never
		advance(31 * time.Second)
		want := []string{
			`201/?$rid=1 {"got":7}`,
			`500/?$rid=3 {"message":"the handler of method \"panics\" failed: boom"}`,
			`500/?$rid=4 {"message":"iothub: invalid argument: the payload of the response to method \"nonsense\" is not JSON"}`,
			`404/?$rid=5 {"message":"there is no handler for method \"unknown\""}`,
			`200/?$rid=a-2 `,
			`500/?$rid=6 {"message":"the method handler did not answer in time"}`,
		}
		if got := s.responses(); !reflect.DeepEqual(got, want) {
			s.Errorf("answers:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		var l ledger
		s.send(msg("alive"), l.confirm("alive"))
		synctest.Wait()
		l.want(s, "alive", iothub.ConfirmOK)
	})
}

// Reports are answered in order with the new version; a refusal says why; what
// a lost connection left unanswered is sent again.
func TestReportedProperties(t *testing.T) {
	on(t, func(s *stage, o *iothub.ClientOptions) {
		s.net.Plan = func(n int) simnet.Plan {
			d := simnet.Direction{Latency: 100 * time.Millisecond}
			return simnet.Plan{Up: d, Down: d}
		}
	}, func(s *stage) {
		var got []string
		done := func(name string) iothub.ReportedFunc {
			return func(v int64, err error) { got = append(got, fmt.Sprintf("%s %d %v", name, v, iothub.KindOf(err))) }
		}
		s.report(map[string]any{"a": 1}, done("a"))
		s.report([]byte(`{"b":{"c":2}}`), done("b"))
		s.report(`{"refuse":1}`, done("r"))
		if err := s.report(`[1]`, done("never")); iothub.KindOf(err) != iothub.KindInvalidArgument {
			s.Errorf("a report that is no object: %v", err)
		}
		advance(3 * time.Second)
		s.report(map[string]any{"a": nil}, done("c"))
		advance(50 * time.Millisecond) // on its way
		s.hub.Drop()
		advance(5 * time.Second)
		want := []string{"a 2 unknown error", "b 3 unknown error", "r 0 invalid argument", "c 4 unknown error"}
		if !reflect.DeepEqual(got, want) {
			s.Errorf("outcomes %q, want %q", got, want)
		}
		if r, _ := s.hub.Reported(); r != `{"b":{"c":2}}` {
			s.Errorf("the hub has %s", r)
		}
	})
}

// follower applies changes as a program would and knows what it has.
type follower struct {
	mu       sync.Mutex
	doc      map[string]any
	version  int64
	changes  int
	complete int
	faults   []string
}

func (f *follower) handle(c *iothub.DesiredChange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes++
	var patch map[string]any
	if err := json.Unmarshal(c.Patch, &patch); err != nil {
		f.faults = append(f.faults, err.Error())
	}
	if _, ok := patch["$version"]; ok {
		f.faults = append(f.faults, "the patch has $version")
	}
	if c.Complete {
		f.complete++
		f.doc = map[string]any{}
	}
	if c.Version <= f.version {
		f.faults = append(f.faults, fmt.Sprintf("version %d after %d", c.Version, f.version))
	}
	if f.doc == nil {
		f.doc = map[string]any{}
	}
	before, _ := json.Marshal(f.doc)
	apply(f.doc, patch)
	if after, _ := json.Marshal(f.doc); string(before) == string(after) && !c.Complete {
		f.faults = append(f.faults, fmt.Sprintf("version %d changes nothing: %s", c.Version, c.Patch))
	}
	f.version = c.Version
}

func apply(doc, patch map[string]any) {
	for k, v := range patch {
		sub, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(doc, k)
		case ok:
			old, isMap := doc[k].(map[string]any)
			if !isMap {
				old = map[string]any{}
				doc[k] = old
			}
			apply(old, sub)
		default:
			doc[k] = v
		}
	}
}

func (f *follower) check(s *stage, h interface{ Desired() (string, int64) }) {
	s.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	want, version := h.Desired()
	got, _ := json.Marshal(f.doc)
	if string(got) != want || (f.version != version && f.version > version) {
		s.Errorf("the program has %s (version %d), the hub %s (version %d)", got, f.version, want, version)
	}
	for _, fault := range f.faults {
		s.Error(fault)
	}
}

// Desired properties change while the client is connected, while it is not,
// while notifications are lost and across restarts of the program: each change
// is told once, none is missed, deleted keys as nulls.
func TestDesiredPropertiesAreFollowed(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			on(t, func(s *stage, o *iothub.ClientOptions) {
				o.TwinStateFile = filepath.Join(s.TempDir(), "twin.json")
				s.net.Plan = func(n int) simnet.Plan {
					d := simnet.Direction{Latency: 20 * time.Millisecond}
					return simnet.Plan{DialDelay: time.Second, Up: d, Down: d}
				}
			}, func(s *stage) {
				random := rand.New(rand.NewPCG(seed, 1))
				f := &follower{}
				if err := s.onDesired(f.handle); err != nil {
					s.Fatal(err)
				}
				for range 200 {
					switch random.IntN(12) {
					case 0:
						s.hub.Drop()
					case 1:
						s.hub.Deaf(true)
					case 2:
						s.hub.Deaf(false)
					case 3:
						advance(time.Duration(random.IntN(5000)) * time.Millisecond)
					default:
						s.hub.PatchDesired(randomPatch(random))
					}
					if random.IntN(3) == 0 {
						advance(time.Duration(random.IntN(100)) * time.Millisecond)
					}
				}
				s.hub.Deaf(false)
				s.hub.PatchDesired(map[string]any{"last": float64(seed) + 0.5})
				// Three drops in a row look like a second client with the
				// same identity, which is given time.
				advance(15 * time.Minute)
				f.check(s, s.hub)
				if f.complete != 1 {
					s.Errorf("told everything %d times", f.complete)
				}
				s.reopen(f)
			})
		})
	}
}

// randomPatch always changes something, so that a change told twice is noticed.
func randomPatch(r *rand.Rand) map[string]any {
	patch := map[string]any{"unique": r.Float64()}
	for range 1 + r.IntN(3) {
		k := string(rune('a' + r.IntN(5)))
		switch r.IntN(4) {
		case 0:
			patch[k] = nil
		case 1:
			patch[k] = map[string]any{string(rune('x' + r.IntN(3))): r.IntN(1000), "n": nil}
		default:
			patch[k] = r.IntN(1000)
		}
	}
	return patch
}

// reopen closes the client, lets the twin change, and opens another with the
// same state file.
func (s *stage) reopen(f *follower) {
	s.close()
	s.hub.PatchDesired(map[string]any{"while": "closed", "last": nil, "unique": nil})
	c, err := s.open()
	if err != nil {
		s.Fatal(err)
	}
	s.client = c
	if err := s.onDesired(f.handle); err != nil {
		s.Fatal(err)
	}
	advance(10 * time.Second)
	f.check(s, s.hub)
	if f.complete != 1 {
		s.Error("the new client began anew in spite of the state file")
	}
}
