package dps_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/dps"
)

// group makes the group g with the vector's key and these further members.
func (e *env) group(members string) {
	e.t.Helper()
	e.put("g", true, `{`+members+`,"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"`+groupKey+`"}}}`)
}

// join registers a device of the group.
func (e *env) join(id, request string) dps.RegistrationState {
	e.t.Helper()
	return e.register(dps.Credential{RegistrationID: id, Token: token(id, derived(groupKey, id))}, request)
}

// Hashed allocation goes by weight, sticks, and moves only what has to move when a
// hub comes.
func TestHashedAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 3)
		third := e.hubs[2]
		e.hubs = e.hubs[:2]
		e.hubs[1].weight = 3
		e.close()
		e.open()
		e.group(`"allocationPolicy":"hashed"`)
		const n = 400
		at := map[string]int{}
		first := map[string]string{}
		for i := range n {
			id := fmt.Sprintf("dev%d", i)
			state := e.join(id, "")
			at[state.AssignedHub]++
			first[id] = state.AssignedHub
		}
		if share := float64(at["two.example"]) / n; share < 0.65 || share > 0.85 {
			t.Errorf("the hub with three quarters of the weight has %v of the devices", share)
		}
		e.hubs = append(e.hubs, third)
		e.close()
		e.open()
		for id, before := range first {
			state := e.join(id, "")
			if state.AssignedHub != before && (state.AssignedHub != "three.example" || state.Substatus != "deviceDataMigrated") {
				t.Fatalf("%s went from %s to %s (%s)", id, before, state.AssignedHub, state.Substatus)
			}
		}
	})
}

func TestStaticAndNearestAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 3)
		for _, c := range []struct{ members, want string }{
			{`"allocationPolicy":"static","iotHubHostName":"two.example"`, "two.example"},
			{`"iotHubHostName":"THREE.example"`, "three.example"},
			{`"allocationPolicy":"static","iotHubs":["three.example","one.example"]`, "three.example"},
			{`"allocationPolicy":"geoLatency"`, "one.example"},
			{`"allocationPolicy":"GeoLatency","iotHubs":["three.example","two.example"]`, "two.example"},
			{`"allocationPolicy":"hashed","iotHubs":["three.example"]`, "three.example"},
		} {
			e.group(c.members)
			if state := e.join("dev", ""); state.AssignedHub != c.want {
				t.Errorf("%s: %+v", c.members, state)
			}
		}
	})
}

// webhook answers requests of custom allocation.
type webhook struct {
	mu     sync.Mutex
	asked  []map[string]any
	urls   []string
	answer func(r *http.Request) (*http.Response, error)
}

func (w *webhook) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var asked map[string]any
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.asked, w.urls = append(w.asked, asked), append(w.urls, r.URL.String())
	answer := w.answer
	w.mu.Unlock()
	return answer(r)
}

func says(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Location": {"https://elsewhere.example/"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func TestCustomAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 3)
		w := &webhook{answer: says(200, `{"iotHubHostName":"two.example","initialTwin":{"tags":{"by":"hook"}},"payload":{"hello":[1]}}`)}
		e.http.Transport = w
		e.close()
		e.open()
		const custom = `"allocationPolicy":"custom","iotHubs":["one.example","two.example"],"initialTwin":{"tags":{"by":"group"}},
			"customAllocationDefinition":{"webhookUrl":"https://hook.example/f?code=SECRET","apiVersion":"2019-03-31"}`
		e.group(custom)
		state := e.join("dev", `{"payload":{"model":"m1"}}`)
		if state.AssignedHub != "two.example" || string(state.Payload) != `{"hello":[1]}` {
			t.Errorf("%+v %s", state, state.Payload)
		}
		if twin, err := e.cores[1].GetTwin("dev", ""); err != nil || string(twin.Tags) != `{"by":"hook"}` {
			t.Errorf("the twin: %s, %v", twin.Tags, err)
		}
		asked, _ := json.Marshal(w.asked[0])
		device := `"deviceRuntimeContext":{"payload":{"model":"m1"},"registrationId":"dev","symmetricKey":{}}`
		if !strings.Contains(string(asked), device) || !strings.Contains(string(asked), `"linkedHubs":["one.example","two.example"]`) ||
			!strings.Contains(string(asked), `"enrollmentGroupId":"g"`) || strings.Contains(string(asked), groupKey) {
			t.Errorf("asked %s", asked)
		}
		if w.urls[0] != "https://hook.example/f?api-version=2019-03-31&code=SECRET" {
			t.Errorf("called %s", w.urls[0])
		}
		w.answer = says(200, `{"iotHubHostName":"one.example"}`)
		if state = e.join("dev", ""); state.Substatus != "deviceDataMigrated" || state.AssignedHub != "one.example" || state.Payload != nil {
			t.Errorf("moved by the webhook: %+v", state)
		}
		asked, _ = json.Marshal(w.asked[1]["deviceRuntimeContext"])
		if !strings.Contains(string(asked), `"currentDeviceId":"dev","currentIotHubHostName":"two.example"`) {
			t.Errorf("asked %s", asked)
		}

		for what, answer := range map[string]func(*http.Request) (*http.Response, error){
			"a hub that the enrollment does not allow": says(200, `{"iotHubHostName":"three.example"}`),
			"no hub":                 says(200, `{}`),
			"no JSON":                says(200, `<html>`),
			"a twin that is none":    says(200, `{"iotHubHostName":"one.example","initialTwin":{"tags":[1]}}`),
			"an error":               says(500, `{"iotHubHostName":"one.example"}`),
			"a redirect":             says(302, `{"iotHubHostName":"one.example"}`),
			"too much":               says(200, `{"iotHubHostName":"one.example","payload":"`+strings.Repeat("x", 200<<10)+`"}`),
			"a network that is down": func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") },
			"silence":                func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() },
		} {
			w.mu.Lock()
			w.answer = answer
			w.mu.Unlock()
			begun := time.Now()
			r := e.signUp(dps.Credential{RegistrationID: "bad", Token: token("bad", derived(groupKey, "bad"))})
			a, err := r.Register(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(6 * time.Second) // virtual: the webhook has five
			synctest.Wait()
			if a, err = r.Operation(t.Context(), a.Operation); err != nil {
				t.Fatal(err)
			}
			got := decode(t, a).RegistrationState
			if got == nil || got.Status != "failed" || got.ErrorCode != 400208 && what != "a twin that is none" || got.ErrorMessage == "" || strings.Contains(got.ErrorMessage, "SECRET") {
				t.Errorf("%s, after %v: %s", what, time.Since(begun), a.Body)
			}
			if _, err := e.cores[0].GetDevice("bad"); err == nil {
				t.Errorf("%s: the device is in a hub", what)
			}
		}
		// A failure does not hide where the device was.
		w.answer = says(500, "")
		if state = e.join("dev", ""); state.Status != "failed" {
			t.Errorf("%+v", state)
		}
		w.answer = says(200, `{"iotHubHostName":"two.example","initialTwin":{"tags":{"by":"hook2"}}}`)
		if state = e.join("dev", ""); state.Status != "assigned" || state.Substatus != "deviceDataMigrated" || state.ErrorCode != 0 {
			t.Errorf("after a failure: %+v", state)
		}
		if twin, err := e.cores[1].GetTwin("dev", ""); err != nil || string(twin.Tags) != `{"by":"hook2"}` {
			t.Errorf("the twin of the webhook goes before what was there: %s, %v", twin.Tags, err)
		}
	})
}

// What happens to the identity and the twin of a device that registers again.
func TestReprovisioning(t *testing.T) {
	for _, c := range []struct {
		what, policy, substatus, hub, tags, desired string
		there                                       bool // still in the hub before
	}{
		{"migrate", `{"updateHubAssignment":true,"migrateDeviceData":true}`, "deviceDataMigrated", "two.example", `{"a":1,"mine":2}`, `"rate":7`, false},
		{"default", `null`, "deviceDataMigrated", "two.example", `{"a":1,"mine":2}`, `"rate":7`, false},
		{"reset", `{"updateHubAssignment":true,"migrateDeviceData":false}`, "deviceDataReset", "two.example", `{"b":2}`, `"rate":9`, false},
		{"never", `{"updateHubAssignment":false,"migrateDeviceData":false}`, "reprovisionedToInitialAssignment", "one.example", `{"a":1,"mine":2}`, `"rate":7`, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t, 2)
			ctx := t.Context()
			members := `"reprovisionPolicy":` + c.policy + `,"allocationPolicy":"static","iotHubHostName":`
			e.group(members + `"one.example","initialTwin":{"tags":{"a":1},"properties":{"desired":{"rate":5}}}`)
			e.join("dev", "")
			if _, err := e.cores[0].UpdateTwin(ctx, "dev", "", []byte(`{"tags":{"mine":2},"properties":{"desired":{"rate":7}}}`), core.AnyETag); err != nil {
				t.Fatal(err)
			}
			if _, err := e.cores[0].UpdateDevice(ctx, core.Device{DeviceID: "dev", Status: core.StatusDisabled}, core.AnyETag); err != nil {
				t.Fatal(err)
			}
			if state := e.join("dev", ""); state.Substatus != "reprovisionedToInitialAssignment" {
				t.Errorf("%s: to the same hub: %+v", c.what, state)
			}
			e.group(members + `"two.example","initialTwin":{"tags":{"b":2},"properties":{"desired":{"rate":9}}}`)
			state := e.join("dev", "")
			if state.Substatus != c.substatus || state.AssignedHub != c.hub {
				t.Errorf("%s: %+v", c.what, state)
			}
			h := e.cores[1]
			if c.there {
				h = e.cores[0]
			}
			twin, err := h.GetTwin("dev", "")
			if err != nil || string(twin.Tags) != c.tags || !strings.Contains(string(twin.Properties.Desired), c.desired) {
				t.Errorf("%s: the twin is %s %s, %v", c.what, twin.Tags, twin.Properties.Desired, err)
			}
			// Who disabled the device did not mean one hub only.
			if moved := c.substatus != "deviceDataReset"; (twin.Status == core.StatusDisabled) != moved {
				t.Errorf("%s: the device is %s", c.what, twin.Status)
			}
			if _, err := e.cores[0].GetDevice("dev"); (err == nil) != c.there {
				t.Errorf("%s: in the hub before: %v", c.what, err)
			}
		})
	}
}

// stuck is a hub that does not answer for a while, or fails after the fact.
type stuck struct {
	dps.Hub
	mu     sync.Mutex
	hold   chan struct{}
	fail   bool
	delete bool // fails after a deletion
}

func (s *stuck) Put(ctx context.Context, d core.Device) (bool, error) {
	s.mu.Lock()
	hold, fail := s.hold, s.fail
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	if fail {
		return false, dps.NewError(dps.CodeUnavailable, "down")
	}
	return s.Hub.Put(ctx, d)
}

func (s *stuck) Delete(ctx context.Context, id string) error {
	err := s.Hub.Delete(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delete {
		return dps.NewError(dps.CodeUnavailable, "the answer was lost")
	}
	return err
}

// A registration that a restart has cut short goes on when its device asks again;
// one that comes while another is being worked on takes its place.
func TestInterruptedRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 1)
		slow := &stuck{Hub: e.hubs[0].Hub, hold: make(chan struct{})}
		e.hubs[0].Hub = slow
		e.close()
		e.open()
		e.group(`"allocationPolicy":"hashed"`)
		c := dps.Credential{RegistrationID: "dev", Token: token("dev", derived(groupKey, "dev"))}
		ctx := t.Context()
		a, err := e.signUp(c).Register(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if again, err := e.signUp(c).Operation(ctx, a.Operation); err != nil || again.Status != http.StatusAccepted || again.RetryAfter <= 0 {
			t.Errorf("while it is worked on: %+v, %v", again, err)
		}
		e.close()
		slow.mu.Lock()
		slow.hold = nil
		slow.mu.Unlock()
		e.open()
		if again, err := e.signUp(c).Operation(ctx, a.Operation); err != nil || again.Status != http.StatusAccepted {
			t.Errorf("after a restart: %+v, %v", again, err)
		}
		synctest.Wait()
		if again, err := e.signUp(c).Operation(ctx, a.Operation); err != nil || again.Status != http.StatusOK || decode(t, again).Status != "assigned" {
			t.Errorf("in the end: %s, %v", again.Body, err)
		}

		hold := make(chan struct{})
		slow.mu.Lock()
		slow.hold = hold
		slow.mu.Unlock()
		first, err := e.signUp(c).Register(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		second, err := e.signUp(c).Register(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		close(hold)
		synctest.Wait()
		_, err = e.signUp(c).Operation(ctx, first.Operation)
		wantCode(t, "the operation that was replaced", err, dps.CodeNotFound)
		if a, err := e.signUp(c).Operation(ctx, second.Operation); err != nil || decode(t, a).Status != "assigned" {
			t.Errorf("the second: %s, %v", a.Body, err)
		}

		// The enrollment goes while its device is being worked on, and comes back.
		hold = make(chan struct{})
		slow.mu.Lock()
		slow.hold = hold
		slow.mu.Unlock()
		if a, err = e.signUp(c).Register(ctx, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := e.Delete(ctx, "g", true, ""); err != nil {
			t.Fatal(err)
		}
		e.group(`"allocationPolicy":"hashed"`)
		close(hold)
		synctest.Wait()
		_, err = e.signUp(c).Operation(ctx, a.Operation)
		wantCode(t, "an operation of the enrollment before", err, dps.CodeNotFound)

		// A hub that does not answer at all is given a minute.
		slow.mu.Lock()
		slow.hold = make(chan struct{})
		slow.mu.Unlock()
		if a, err = e.signUp(c).Register(ctx, nil); err != nil {
			t.Fatal(err)
		}
		<-time.After(61 * time.Second) // virtual
		synctest.Wait()
		if a, err := e.signUp(c).Operation(ctx, a.Operation); err != nil || decode(t, a).RegistrationState.ErrorCode != dps.CodeUnavailable {
			t.Errorf("a silent hub: %s, %v", a.Body, err)
		}
	})
}

// A move whose last step failed is repeated without losing the twin.
func TestMoveIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, 2)
		lossy := &stuck{Hub: e.hubs[0].Hub, delete: true}
		e.hubs[0].Hub = lossy
		e.close()
		e.open()
		e.group(`"allocationPolicy":"static","iotHubHostName":"one.example","initialTwin":{"tags":{"a":1}}`)
		e.join("dev", "")
		if _, err := e.cores[0].UpdateTwin(t.Context(), "dev", "", []byte(`{"tags":{"mine":2}}`), core.AnyETag); err != nil {
			t.Fatal(err)
		}
		e.group(`"allocationPolicy":"static","iotHubHostName":"two.example","initialTwin":{"tags":{"a":1}}`)
		if state := e.join("dev", ""); state.Status != "failed" {
			t.Fatalf("%+v", state)
		}
		lossy.mu.Lock()
		lossy.delete = false
		lossy.mu.Unlock()
		if state := e.join("dev", ""); state.Substatus != "deviceDataMigrated" {
			t.Fatalf("%+v", state)
		}
		if twin, err := e.cores[1].GetTwin("dev", ""); err != nil || string(twin.Tags) != `{"a":1,"mine":2}` {
			t.Errorf("the twin: %s, %v", twin.Tags, err)
		}
	})
}
