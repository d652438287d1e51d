package httpfront_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/httpfront"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/sas"
)

type world struct {
	t   *testing.T
	hub *core.Hub
	srv *httptest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, memory.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(httpfront.New(h, []byte("the CA"), nil))
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		srv.Close()
	})
	return &world{t, h, srv}
}

func (w *world) token(policy string) string {
	for _, p := range w.hub.Policies() {
		if p.Name == policy {
			key, err := base64.StdEncoding.DecodeString(p.PrimaryKey)
			if err != nil {
				w.t.Fatal(err)
			}
			return sas.Sign("hub.example", key, time.Now().Add(time.Hour), policy)
		}
	}
	return policy // not a policy: sent as it is
}

// do sends a request as a policy; api-version is added unless the query is there.
func (w *world) do(method, path, policy, ifMatch, body string) (*http.Response, string) {
	w.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?api-version=2021-04-12"
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.srv.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if policy != "" {
		r.Header.Set("Authorization", w.token(policy))
	}
	if ifMatch != "" {
		r.Header.Set("If-Match", ifMatch)
	}
	resp, err := w.srv.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(data)
}

// want sends a request as the owner and checks the status.
func (w *world) want(status int, method, path, ifMatch, body string) (*http.Response, string) {
	w.t.Helper()
	resp, text := w.do(method, path, "iothubowner", ifMatch, body)
	if resp.StatusCode != status {
		w.t.Errorf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, text)
	}
	return resp, text
}

func (w *world) wantError(status int, name, method, path, policy, ifMatch, body string) {
	w.t.Helper()
	resp, text := w.do(method, path, policy, ifMatch, body)
	var e struct{ Message, ExceptionMessage string }
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		w.t.Errorf("%s %s: %s", method, path, text)
	}
	if resp.StatusCode != status || resp.Header.Get("iothub-errorcode") != name ||
		!strings.HasPrefix(e.Message, "ErrorCode:"+name+";") || !strings.HasPrefix(e.ExceptionMessage, "Tracking ID:") ||
		resp.Header.Get("x-ms-request-id") == "" || resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		w.t.Errorf("%s %s: %d %v %s, want %d %s", method, path, resp.StatusCode, resp.Header, text, status, name)
	}
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func TestDevices(t *testing.T) {
	w := newWorld(t)
	// As the Node SDK sends it, with keys to be generated.
	resp, text := w.want(200, "PUT", "/devices/dev1", "", `{"deviceId":"dev1","authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}}`)
	d := decode[core.Device](t, text)
	if d.DeviceID != "dev1" || d.Authentication.SymmetricKey.PrimaryKey == "" || resp.Header.Get("ETag") != `"`+d.ETag+`"` ||
		resp.Header.Get("Content-Type") != "application/json; charset=utf-8" || resp.Header.Get("x-ms-request-id") == "" {
		t.Errorf("created %s, %v", text, resp.Header)
	}
	w.wantError(409, "DeviceAlreadyExists", "PUT", "/devices/dev1", "iothubowner", "", `{"deviceId":"dev1"}`)
	_, text = w.want(200, "GET", "/DEVICES/dev1/", "", "")
	if got := decode[core.Device](t, text); got.ETag != d.ETag {
		t.Errorf("got %s", text)
	}
	for _, match := range []string{`"*"`, "*", `W/"*"`} {
		_, text = w.want(200, "PUT", "/devices/dev1", match, `{"DEVICEID":"dev1","Status":"disabled"}`)
	}
	tag := decode[core.Device](t, text).ETag
	for _, match := range []string{`"` + tag + `"`, tag, `W/"` + tag + `"`} {
		_, text = w.want(200, "PUT", "/devices/dev1", strings.Replace(match, tag, decode[core.Device](t, text).ETag, 1), `{"status":"enabled"}`)
	}
	w.wantError(412, "PreconditionFailed", "PUT", "/devices/dev1", "iothubowner", `"`+tag+`"`, `{}`)
	w.wantError(412, "PreconditionFailed", "DELETE", "/devices/dev1", "iothubowner", `"`+tag+`"`, "")
	w.wantError(404, "DeviceNotFound", "PUT", "/devices/nobody", "iothubowner", "*", `{}`)
	w.wantError(404, "DeviceNotFound", "GET", "/devices/nobody", "iothubowner", "", "")
	w.wantError(400, "ArgumentInvalid", "PUT", "/devices/a", "iothubowner", "", `{"deviceId":"b"}`)
	w.wantError(400, "ArgumentInvalid", "PUT", "/devices/a%20b", "iothubowner", "", `{"deviceId":"a b"}`)
	w.wantError(400, "IotHubFormatError", "PUT", "/devices/a", "iothubowner", "", `{"deviceId":`)
	w.wantError(413, "MessageTooLarge", "PUT", "/devices/a", "iothubowner", "", `{"deviceId":"`+strings.Repeat("x", 1<<20)+`"}`)
	w.wantError(400, "InvalidProtocolVersion", "GET", "/devices/dev1?x=y", "iothubowner", "", "")
	w.want(200, "GET", "/devices/dev1?x=y&api-version=anything", "", "")

	_, text = w.want(204, "DELETE", "/devices/dev1", "", "")
	if text != "" {
		t.Errorf("a 204 with a body: %s", text)
	}
	w.wantError(404, "DeviceNotFound", "DELETE", "/devices/dev1", "iothubowner", `"*"`, "")
}

func TestIdsAreDecodedOnce(t *testing.T) {
	w := newWorld(t)
	for path, id := range map[string]string{"a%23b%3F%25": "a#b?%", "50%2525": "50%25", "x%2By": "x+y", "x+z": "x+z"} {
		w.want(200, "PUT", "/devices/"+path, "", `{}`)
		if _, err := w.hub.GetDevice(id); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		w.want(200, "PUT", "/devices/"+path+"/modules/%24m%23", "", `{}`)
		if _, err := w.hub.GetModule(id, "$m#"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	w.wantError(400, "ArgumentInvalid", "PUT", "/devices/a%2Fb", "iothubowner", "", `{}`)
}

func TestLists(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.want(200, "PUT", fmt.Sprint("/devices/d", i), "", `{}`)
	}
	for path, want := range map[string]int{"/devices": 3, "/devices/": 3, "/devices?top=2&api-version=1": 2, "/devices/d0/modules": 0} {
		_, text := w.want(200, "GET", path, "", "")
		if n := len(decode[[]map[string]any](t, text)); n != want || text[0] != '[' {
			t.Errorf("%s: %s", path, text)
		}
	}
	for _, top := range []string{"0", "1001", "x"} {
		w.wantError(400, "ArgumentInvalid", "GET", "/devices?api-version=1&top="+top, "iothubowner", "", "")
	}
	_, text := w.want(200, "GET", "/statistics/devices", "", "")
	if text != `{"totalDeviceCount":3,"enabledDeviceCount":3,"disabledDeviceCount":0}` {
		t.Error(text)
	}
	if _, text = w.want(200, "GET", "/statistics/service", "", ""); text != `{"connectedDeviceCount":0}` {
		t.Error(text)
	}
}

func TestModules(t *testing.T) {
	w := newWorld(t)
	w.wantError(404, "DeviceNotFound", "PUT", "/devices/d/modules/m", "iothubowner", "", `{}`)
	w.want(200, "PUT", "/devices/d", "", `{}`)
	resp, text := w.want(200, "PUT", "/devices/d/modules/m", "", `{"deviceId":"d","moduleId":"m"}`)
	m := decode[core.Module](t, text)
	if m.ModuleID != "m" || m.DeviceID != "d" || resp.Header.Get("ETag") != `"`+m.ETag+`"` {
		t.Error(text)
	}
	w.wantError(409, "ModuleAlreadyExistsOnDevice", "PUT", "/devices/d/modules/m", "iothubowner", "", `{}`)
	w.want(200, "PUT", "/devices/d/modules/m", `"`+m.ETag+`"`, `{"managedBy":"x"}`)
	w.wantError(412, "PreconditionFailed", "PUT", "/devices/d/modules/m", "iothubowner", m.ETag, `{}`)
	if _, text = w.want(200, "GET", "/devices/d/Modules", "", ""); len(decode[[]core.Module](t, text)) != 1 {
		t.Error(text)
	}
	w.want(200, "GET", "/devices/d/modules/m", "", "")
	w.want(204, "DELETE", "/devices/d/modules/m", `"*"`, "")
	w.wantError(404, "ModuleNotFound", "GET", "/devices/d/modules/m", "iothubowner", "", "")
}

func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.wantError(404, "GenericNotFound", "GET", "/nothing/c", "", "", "")
	w.wantError(404, "GenericNotFound", "GET", "/", "", "", "")
	w.wantError(405, "GenericMethodNotAllowed", "PATCH", "/devices/d", "", "", "")
	if _, text := w.do("GET", "/nothing", "", "", ""); !strings.Contains(text, "PUT /devices/{id}/modules/{id}") {
		t.Errorf("does not say what there is: %s", text)
	}
	if resp, text := w.do("GET", "/ca.pem", "", "", ""); resp.StatusCode != 200 || text != "the CA" {
		t.Errorf("ca.pem: %d %s", resp.StatusCode, text)
	}
}

// device connects a device whose events can be sent at once.
func (w *world) device(id string) *core.Attachment {
	w.t.Helper()
	d, err := w.hub.CreateDevice(w.t.Context(), core.Device{DeviceID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(string(d.Authentication.SymmetricKey.PrimaryKey))
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	p, err := w.hub.Authenticate(now, core.AuthRequest{DeviceID: id, Token: sas.Sign("hub.example", key, now.Add(time.Hour), "")})
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := w.hub.Attach(p, "", func(error) {})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) send(a *core.Attachment, bodies ...string) {
	w.t.Helper()
	done := make(chan error, 1)
	var events []core.Event
	for _, b := range bodies {
		events = append(events, core.Event{Bag: []byte("%24.mid=id&k=v"), Payload: []byte(b)})
	}
	if err := a.Ingest(events, func(err error) { done <- err }); err != nil {
		w.t.Fatal(err)
	}
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) events(query string) []core.StoredEvent {
	w.t.Helper()
	_, text := w.want(200, "GET", "/iothub/events?wait=false&"+query, "", "")
	var list []core.StoredEvent
	for line := range strings.Lines(text) {
		list = append(list, decode[core.StoredEvent](w.t, line))
	}
	return list
}

func TestStoredEvents(t *testing.T) {
	w := newWorld(t)
	a, b := w.device("a"), w.device("b")
	w.send(a, "a1", "a2", "a3")
	w.send(b, "b1")
	all := w.events("from=start")
	if len(all) != 4 || all[0].System["message-id"] != "id" || all[0].Properties["k"] != "v" {
		t.Fatalf("%+v", all)
	}
	first := w.events("from=start&device=a")
	if len(first) != 3 || string(first[2].Body) != "a3" {
		t.Errorf("%+v", first)
	}
	part := fmt.Sprint(first[0].Partition)
	if rest := w.events("device=a&partition=" + part + "&from=" + first[0].Offset); len(rest) != 2 {
		t.Errorf("behind an offset: %+v", rest)
	}
	if none := w.events(""); len(none) != 0 {
		t.Errorf("from now: %+v", none)
	}
	if later := w.events("from=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)); len(later) != 0 {
		t.Errorf("from a later time: %+v", later)
	}
	for _, bad := range []string{"from=x", "wait=maybe", "partition=x", "partition=1,1"} {
		w.wantError(400, "ArgumentInvalid", "GET", "/iothub/events?"+bad, "service", "", "")
	}
	w.wantError(503, "PartitionNotFound", "GET", "/iothub/events?partition=9", "service", "", "")
}

// TestFollowedEvents: each event reaches a client that waits before the next is sent.
func TestFollowedEvents(t *testing.T) {
	w := newWorld(t)
	a := w.device("a")
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.srv.URL+"/iothub/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", w.token("service"))
	resp, err := w.srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	for i := range 5 {
		w.send(a, fmt.Sprint(i))
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		if e := decode[core.StoredEvent](t, lines.Text()); string(e.Body) != fmt.Sprint(i) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	// The hub's end is the stream's.
	if err := w.hub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("one more line: %s", lines.Text())
	}
}
