package httpfront_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
)

// identity is what a test needs of a device or module.
type identity struct {
	device, module string
	key            string
}

func (w *world) newDevice(id string) identity {
	w.t.Helper()
	d, err := w.hub.CreateDevice(w.t.Context(), core.Device{DeviceID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return identity{id, "", string(d.Authentication.SymmetricKey.PrimaryKey)}
}

func (w *world) newModule(device, id string) identity {
	w.t.Helper()
	m, err := w.hub.CreateModule(w.t.Context(), core.Module{DeviceID: device, ModuleID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return identity{device, id, string(m.Authentication.SymmetricKey.PrimaryKey)}
}

func (w *world) tokenOf(id identity) string {
	return sas.Sign(sas.Resource("hub.example", id.device, id.module), keyBytes(w.t, id.key), time.Now().Add(time.Hour), "")
}

func (w *world) attach(id identity) *core.Attachment {
	w.t.Helper()
	p, err := w.hub.Authenticate(time.Now(), core.AuthRequest{DeviceID: id.device, ModuleID: id.module, Token: w.tokenOf(id)})
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := w.hub.Attach(p, "", func(error) {})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(a.Detach)
	return a
}

// answer has an identity answer every call with a status and what it was asked.
func (w *world) answer(id identity, status int) *sync.Map {
	a := w.attach(id)
	var asked sync.Map
	a.ServeMethods(func(r core.MethodRequest) bool {
		asked.Store(r.Name, string(r.Payload))
		a.AnswerMethod([]byte(r.RequestID), status, true, r.Payload)
		return true
	})
	return &asked
}

func TestInvokeMethod(t *testing.T) {
	w := newWorld(t)
	asked := w.answer(w.newDevice("dev1"), 200)
	w.answer(w.newModule("dev1", "mod1"), 418)
	w.newDevice("offline")
	for _, tt := range []struct {
		name, path, policy, body string
		status                   int
		want                     string
	}{
		{"usual", "/twins/dev1/methods", "service", `{"methodName":"a","payload":{"x":[1, 2]},"responseTimeoutInSeconds":15,"connectTimeoutInSeconds":5}`,
			200, `{"status":200,"payload":{"x":[1,2]}}`},
		{"module", "/twins/dev1/modules/mod1/methods", "service", `{"methodName":"a","payload":"p"}`, 200, `{"status":418,"payload":"p"}`},
		{"no payload", "/twins/dev1/methods", "iothubowner", `{"methodName":"none"}`, 200, `{"status":200,"payload":null}`},
		{"null payload", "/twins/dev1/methods", "service", `{"METHODNAME":"null","Payload":null}`, 200, `{"status":200,"payload":null}`},
		{"old timeout", "/twins/dev1/methods", "service", `{"methodName":"a","timeoutInSeconds":5}`, 200, `{"status":200,"payload":null}`},
		{"timeout of the C SDK", "/twins/dev1/methods", "service", `{"methodName":"a","timeout":5}`, 200, `{"status":200,"payload":null}`},
		{"trailing slash", "/TWINS/dev1/Methods/", "service", `{"methodName":"a"}`, 200, `{"status":200,"payload":null}`},
		{"no name", "/twins/dev1/methods", "service", `{}`, 400, "ErrorCode:ArgumentNull;"},
		{"bad body", "/twins/dev1/methods", "service", `{`, 400, "ErrorCode:IotHubFormatError;"},
		{"short timeout", "/twins/dev1/methods", "service", `{"methodName":"a","responseTimeoutInSeconds":4}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"no timeout", "/twins/dev1/methods", "service", `{"methodName":"a","responseTimeoutInSeconds":0}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"endless timeout", "/twins/dev1/methods", "service", `{"methodName":"a","connectTimeoutInSeconds":1e300}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"offline", "/twins/offline/methods", "service", `{"methodName":"a"}`, 404, "ErrorCode:DeviceNotOnline;Timed out waiting for device to connect."},
		{"unknown", "/twins/nobody/methods", "service", `{"methodName":"a"}`, 404, "ErrorCode:DeviceNotFound;"},
		{"unknown module", "/twins/dev1/modules/nobody/methods", "service", `{"methodName":"a"}`, 404, "ErrorCode:ModuleNotFound;"},
		{"not allowed", "/twins/dev1/methods", "registryReadWrite", `{"methodName":"a"}`, 401, "ErrorCode:IotHubUnauthorizedAccess;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := w.do("POST", tt.path, tt.policy, "", tt.body)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, body, tt.status, tt.want)
			}
		})
	}
	if p, _ := asked.Load("none"); p != "" {
		t.Errorf("without a payload the device was given %q", p)
	}
	if p, _ := asked.Load("null"); p != "null" {
		t.Errorf("with null the device was given %q", p)
	}
}

// TestInvokeMethodAsModule is a module that calls with its own token (E.5).
func TestInvokeMethodAsModule(t *testing.T) {
	w := newWorld(t)
	w.answer(w.newDevice("dev1"), 200)
	caller := w.newModule("dev1", "caller")
	w.answer(w.newModule("dev1", "mod1"), 201)
	w.answer(w.newDevice("dev2"), 200)
	for _, tt := range []struct {
		name, path, header string
		as                 identity
		status             int
	}{
		{"its device", "/twins/dev1/methods", "dev1/caller", caller, 200},
		{"another module", "/twins/dev1/modules/mod1/methods", "dev1/caller", caller, 200},
		{"without a version, as the Node SDK", "/twins/dev1/methods?", "dev1/caller", caller, 200},
		{"another device", "/twins/dev2/methods", "dev1/caller", caller, 401},
		{"as somebody else", "/twins/dev1/methods", "dev1/mod1", caller, 401},
		{"as its device", "/twins/dev1/methods", "dev1", caller, 400},
		{"without the header", "/twins/dev1/methods", "", caller, 401},
		{"something else", "/devices/dev1", "dev1/caller", caller, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path
			if !strings.Contains(path, "?") {
				path += "?api-version=2018-06-30"
			}
			r, err := http.NewRequestWithContext(t.Context(), "POST", w.srv.URL+path, strings.NewReader(`{"methodName":"a"}`))
			if err != nil {
				t.Fatal(err)
			}
			if tt.path == "/devices/dev1" {
				r.Method = "GET"
			}
			r.Header.Set("Authorization", w.tokenOf(tt.as))
			if tt.header != "" {
				r.Header.Set("x-ms-edge-moduleId", tt.header)
			}
			resp, err := w.srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("%d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
}

func (w *world) sendC2D(device string, m core.Message) {
	w.t.Helper()
	if err := w.hub.SendC2D(context.Background(), device, m); err != nil {
		w.t.Fatal(err)
	}
}

func TestPurgeCommands(t *testing.T) {
	w := newWorld(t)
	w.newDevice("dev1")
	for range 3 {
		w.sendC2D("dev1", core.Message{})
	}
	if _, body := w.do("GET", "/devices/dev1", "iothubowner", "", ""); !strings.Contains(body, `"cloudToDeviceMessageCount":3`) {
		t.Errorf("the device is %s", body)
	}
	if resp, body := w.do("DELETE", "/devices/dev1/commands", "service", "", ""); resp.StatusCode != 200 ||
		body != `{"deviceId":"dev1","moduleId":null,"totalMessagesPurged":3}` {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, body := w.do("DELETE", "/devices/nobody/commands", "service", "", ""); resp.StatusCode != 404 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := w.do("DELETE", "/devices/dev1/commands", "device", "", ""); resp.StatusCode != 401 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestFeedbackOverREST(t *testing.T) {
	const path = "/messages/serviceBound/feedback"
	w := newWorld(t)
	w.newDevice("dev1")
	if resp, _ := w.do("GET", path, "service", "", ""); resp.StatusCode != 204 {
		t.Errorf("no feedback: %d", resp.StatusCode)
	}
	take := func(settle, suffix string) {
		t.Helper()
		resp, body := w.do("GET", path, "service", "", "")
		var list []map[string]string
		if err := json.Unmarshal([]byte(body), &list); err != nil || resp.StatusCode != 200 ||
			resp.Header.Get("Content-Type") != "application/vnd.microsoft.iothub.feedback.json" {
			t.Fatalf("%d %s %s", resp.StatusCode, resp.Header, body)
		}
		r := list[0]
		if len(list) != 1 || r["originalMessageId"] != "m" || r["statusCode"] != "Purged" || r["description"] == "" || r["deviceId"] != "dev1" ||
			r["deviceGenerationId"] == "" || r["enqueuedTimeUtc"] == "" {
			t.Errorf("records %s", body)
		}
		token := resp.Header.Get("ETag")
		if token[0] != '"' {
			t.Errorf("the ETag %s has no quotes", token)
		}
		if suffix != "/abandon" {
			token = strings.Trim(token, `"`) // either form will do
		} else {
			token = strings.ReplaceAll(token, `"`, "%22")
		}
		if resp, body := w.do(settle, path+"/"+token+suffix, "service", "", ""); resp.StatusCode != 204 {
			t.Errorf("%s: %d %s", settle+suffix, resp.StatusCode, body)
		}
	}
	purged := func() {
		t.Helper()
		w.sendC2D("dev1", core.Message{MessageID: "m", Ack: core.AckFull})
		w.do("DELETE", "/devices/dev1/commands", "service", "", "")
	}
	purged()
	take("POST", "/abandon")
	take("DELETE", "")
	purged()
	take("DELETE", "?api-version=2021-04-12&reject")
	if resp, _ := w.do("GET", path, "service", "", ""); resp.StatusCode != 204 {
		t.Errorf("no feedback is left: %d", resp.StatusCode)
	}
	if resp, body := w.do("DELETE", path+"/nonsense", "service", "", ""); resp.StatusCode != 412 || !strings.Contains(body, "DeviceMessageLockLost") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := w.do("GET", path, "registryRead", "", ""); resp.StatusCode != 401 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func keyBytes(t *testing.T, text string) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
