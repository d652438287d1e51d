//go:build linux

package client_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/capi/internal/client"
	"github.com/iothub-go/iothub/internal/simhub"
)

func payloads(records []client.Record) string {
	var all []string
	for _, r := range records {
		all = append(all, strings.Repeat("+", int(r.Result))+string(r.Payload))
	}
	return strings.Join(all, " ")
}

// A subscriber is told the whole twin, what was reported included, and then what
// changes, each version once; nothing more when it has left.
func TestFollowTwin(t *testing.T) {
	play(t, false, func(s *stage) {
		s.hub.PatchDesired(map[string]any{"a": 1.0})
	}, func(s *stage) {
		if r := s.c.FollowTwin(client.RecordTwin, client.Callback{Func: 1}); r != client.OK {
			s.Fatalf("FollowTwin: %d", r)
		}
		s.work()
		s.hub.PatchDesired(map[string]any{"b": "x"})
		s.work()
		want := `{"desired":{"a":1,"$version":2},"reported":{"$version":1}} +{"b":"x","$version":3}`
		if got := payloads(s.told(client.RecordTwin)); got != want {
			s.Errorf("told %s\nwant %s", got, want)
		}
		s.c.FollowTwin(client.RecordTwin, client.Callback{})
		s.work()
		s.hub.PatchDesired(map[string]any{"c": 3.0})
		s.work()
		if got := payloads(s.told(client.RecordTwin)); got != want {
			s.Errorf("told %s after it has left", got)
		}
	})
}

// A twin is read once, for a function only.
func TestGetTwin(t *testing.T) {
	play(t, false, nil, func(s *stage) {
		if r := s.c.GetTwin(client.RecordProperties, client.Callback{Context: 5}); r != client.InvalidArg {
			s.Errorf("no function: %d", r)
		}
		s.c.GetTwin(client.RecordProperties, client.Callback{Func: 1, Context: 5})
		s.work()
		got := s.told(client.RecordProperties)
		if len(got) != 1 || !got[0].Asked() || got[0].Context != 5 || string(got[0].Payload) != `{"desired":{"$version":1},"reported":{"$version":1}}` {
			s.Errorf("told %+v", got)
		}
		s.c.GetTwin(client.RecordProperties, client.Callback{Func: 1})
		s.c.Destroy()
		if got := s.told(client.RecordProperties); len(got) != 2 || got[1].Payload != nil {
			s.Errorf("after Destroy: told %+v", got)
		}
	})
}

// The status of a report is the hub's, 408 for one without an answer and 0 for one
// that never left.
func TestReport(t *testing.T) {
	play(t, false, nil, func(s *stage) {
		cb := client.Callback{Func: 1, Context: 1}
		if r := s.c.Report(nil, cb); r != client.InvalidArg {
			s.Errorf("nothing: %d", r)
		}
		patch := []byte(`{"x":1}`)
		s.c.Report(patch, cb)
		copy(patch, "changed")
		s.work()
		if got, _ := s.hub.Reported(); got != `{"x":1}` {
			s.Errorf("the hub has %s", got)
		}
		if got := results(s.told(client.RecordReported)); got != "1:204" {
			s.Errorf("told %s", got)
		}
		s.c.Report([]byte(`{"y":1}`), client.Callback{Func: 1, Context: 2})
		s.c.Destroy()
		if got := results(s.told(client.RecordReported)); got != "1:204 2:408" {
			s.Errorf("after Destroy: told %s", got)
		}
	})
	play(t, false, nil, func(s *stage) {
		s.c.Report([]byte(`{"y":1}`), client.Callback{Func: 1, Context: 3})
		s.c.Destroy()
		if got := results(s.told(client.RecordReported)); got != "3:0" {
			s.Errorf("never connected: told %s", got)
		}
	})
}

// Methods and commands exclude each other, and the name of a command is split.
func TestMethods(t *testing.T) {
	play(t, false, nil, func(s *stage) {
		none, f := client.Callback{}, client.Callback{Func: 1}
		for i, c := range []struct {
			style client.MethodStyle
			cb    client.Callback
			want  client.Result
		}{
			{client.MethodNow, none, client.Failed},
			{client.MethodNow, f, client.OK},
			{client.MethodCommand, f, client.Failed},
			{client.MethodNow, none, client.OK},
			{client.MethodCommand, f, client.OK},
			{client.MethodLater, f, client.Failed},
		} {
			if got := s.c.SetMethodCallback(c.style, c.cb); got != c.want {
				s.Errorf("step %d: %d, want %d", i, got, c.want)
			}
		}
		s.work()
		s.hub.Publish("$iothub/methods/POST/#", "$iothub/methods/POST/thermostat1*reboot/?$rid=1", "{}", 0, false)
		s.work()
		calls := s.told(client.RecordMethod)
		if len(calls) != 1 || calls[0].Style != client.MethodCommand {
			s.Fatalf("called %+v", calls)
		}
		if r := s.c.Respond(calls[0].Method, 200, []byte("no JSON")); r != client.Failed {
			s.Errorf("an answer that is not JSON: %d", r)
		}
		s.work()
		var answers []string
		for _, r := range s.hub.Received() {
			answers = append(answers, r.Topic)
		}
		if len(answers) != 1 || !strings.HasPrefix(answers[0], "$iothub/methods/res/500/") {
			s.Errorf("the hub was answered %q", answers)
		}
	})
	for method, want := range map[string][3]any{
		"reboot": {"", "reboot", false}, "thermostat1*reboot": {"thermostat1", "reboot", true}, "*x": {"", "x", true}, "a*b*c": {"a", "b*c", true},
	} {
		component, command, ok := client.SplitCommand(method)
		if got := [3]any{component, command, ok}; got != want {
			t.Errorf("%s: %v, want %v", method, got, want)
		}
	}
}

// A message is settled when the program says so, and gives what it will decode.
func TestMessages(t *testing.T) {
	play(t, false, nil, func(s *stage) {
		if r := s.c.SetMessageCallback(client.Callback{}); r != client.Failed {
			s.Errorf("nobody leaves: %d", r)
		}
		if at, r := s.c.LastReceived(); r != client.IndefiniteTime {
			s.Errorf("before the first: %v, %d", at, r)
		}
		s.c.SetMessageCallback(client.Callback{Func: 1, Context: 9})
		s.work()
		s.hub.Publish("devices/dev1/messages/devicebound/#", "devices/dev1/messages/devicebound/k=a%26b", "hi", 7, false)
		s.work()
		got := s.told(client.RecordMessage)
		if len(got) != 1 || got[0].Context != 9 || got[0].Message.Properties["k"] != "a%26b" {
			s.Fatalf("told %+v", got)
		}
		if len(s.hub.Acks()) != 0 {
			s.Error("acknowledged before it was settled")
		}
		if r := s.c.Settle(got[0].Message, iothub.DispositionAccepted); r != client.OK {
			s.Errorf("Settle: %d", r)
		}
		s.work()
		if len(s.hub.Acks()) != 1 {
			s.Errorf("acknowledged %v", s.hub.Acks())
		}
		if at, r := s.c.LastReceived(); r != client.OK || !at.Equal(time.Now()) {
			s.Errorf("received at %v, %d", at, r)
		}
	})
}

// A device calls no methods of others and has no inputs.
func TestWhatADeviceCannotDo(t *testing.T) {
	play(t, false, nil, func(s *stage) {
		if r := s.c.SetInputCallback("in", client.Callback{Func: 1}); r != client.Failed {
			s.Errorf("SetInputCallback: %d", r)
		}
		if r := s.c.Invoke("dev2", "", "m", nil, 0, client.Callback{Func: 1}); r != client.Failed {
			s.Errorf("Invoke: %d", r)
		}
		if _, r := s.c.InvokeAndWait("dev2", "", "m", nil, 0); r != client.Failed {
			s.Errorf("InvokeAndWait: %d", r)
		}
	})
}

// An upload that cannot begin is told once, to whoever provides its blocks, and
// leaves the client as it was.
func TestUploadWithoutAHub(t *testing.T) {
	for _, threaded := range []bool{false, true} {
		play(t, threaded, func(s *stage) {
			s.hub.Ack = func(*simhub.Received) bool { return true }
		}, func(s *stage) {
			if threaded {
				if r := s.c.UploadBlocks("", client.Callback{Func: 1, Context: 3}, true); r != client.OK {
					s.Errorf("UploadBlocks: %d", r)
				}
				if r := s.c.Upload("", []byte("x"), client.Callback{Func: 1, Context: 3}); r != client.OK {
					s.Errorf("Upload: %d", r)
				}
				s.work()
				if got := results(s.told(client.RecordUploaded)); got != "3:1" {
					s.Errorf("told %s", got)
				}
			} else if r := s.c.UploadBlocksAndWait("", client.Callback{Func: 1, Context: 3}, true); r != client.Failed {
				s.Errorf("UploadBlocksAndWait: %d", r)
			}
			if got := results(s.told(client.RecordBlocksEnd)); got != "3:1" || len(s.told(client.RecordBlock)) != 0 {
				s.Errorf("told %s", got)
			}
			s.send(iothub.Message{Payload: []byte("m")}, 1)
			s.work()
			if got := results(s.told(client.RecordConfirm)); got != "1:0" {
				s.Errorf("confirmed: %s", got)
			}
			synctest.Wait()
		})
	}
}
