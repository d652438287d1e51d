package httpfront_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

func (w *world) createTwins() {
	w.t.Helper()
	if _, err := w.hub.CreateDevice(w.t.Context(), core.Device{DeviceID: "dev1"}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.hub.CreateModule(w.t.Context(), core.Module{DeviceID: "dev1", ModuleID: "mod+1"}); err != nil {
		w.t.Fatal(err)
	}
}

type twinBody struct {
	DeviceID, ModuleID, ETag, DeviceETag, Status string
	Version                                      int
	Tags                                         map[string]any
	Properties                                   struct{ Desired, Reported map[string]any }
	Capabilities                                 *struct{ IoTEdge bool }
}

func TestTwins(t *testing.T) {
	w := newWorld(t)
	w.createTwins()
	for _, path := range []string{"/twins/dev1", "/twins/dev1/modules/mod%2B1"} {
		resp, text := w.want(200, "GET", path, "", "")
		fresh := decode[twinBody](t, text)
		if resp.Header.Get("ETag") != `"AAAAAAAAAAE="` || resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("headers %v", resp.Header)
		}
		module := strings.Contains(path, "modules")
		if fresh.DeviceID != "dev1" || (fresh.ModuleID == "mod+1") != module || (fresh.Capabilities == nil) != module || fresh.ETag != "AAAAAAAAAAE=" {
			t.Errorf("%s: %s", path, text)
		}
		// As the Node SDK does it.
		resp, text = w.want(200, "PATCH", path, `"AAAAAAAAAAE="`, `{"tags":{"a":1},"properties":{"desired":{"n":1.50,"o":{"p":2}}}}`)
		if resp.Header.Get("ETag") != `"AAAAAAAAAAI="` || !strings.Contains(text, `"n":1.50,`) {
			t.Errorf("%v %s", resp.Header, text)
		}
		patched := decode[twinBody](t, text)
		if patched.Version != fresh.Version+1 || patched.Tags["a"] != 1.0 || patched.Properties.Desired["$version"] != 2.0 || patched.DeviceETag != fresh.DeviceETag {
			t.Errorf("patched: %s", text)
		}
		// Tools send the whole twin back, as they got it.
		resp, text = w.want(200, "PUT", path, `"*"`, strings.Replace(text, `"a":1`, `"b":2`, 1))
		replaced := decode[twinBody](t, text)
		if resp.Header.Get("ETag") != `"AAAAAAAAAAM="` || len(replaced.Tags) != 1 || replaced.Tags["b"] != 2.0 ||
			replaced.Properties.Desired["$version"] != 3.0 || replaced.Properties.Reported["$version"] != 1.0 {
			t.Errorf("replaced: %s", text)
		}
		if _, again := w.want(200, "GET", path+"/", "", ""); again != text {
			t.Errorf("read back %s\nwritten %s", again, text)
		}
	}
}

func TestTwinETags(t *testing.T) {
	w := newWorld(t)
	w.createTwins()
	etag := "AAAAAAAAAAE="
	for i, form := range []string{`*`, `"*"`, ``, `"%s"`, `%s`, `W/"%s"`, ` "%s" `} {
		for _, method := range []string{"PATCH", "PUT"} {
			ifMatch := form
			if strings.Contains(form, "%s") {
				ifMatch = fmt.Sprintf(form, etag)
			}
			resp, text := w.want(200, method, "/twins/dev1", ifMatch, fmt.Sprintf(`{"tags":{"i":%d}}`, i))
			etag = decode[twinBody](t, text).ETag
			if resp.Header.Get("ETag") != `"`+etag+`"` {
				t.Errorf("%s: ETag %s", ifMatch, resp.Header.Get("ETag"))
			}
		}
	}
	for _, stale := range []string{`"AAAAAAAAAAE="`, `AAAAAAAAAAE=`, `W/"AAAAAAAAAAE="`, `"nonsense"`} {
		w.wantError(412, "PreconditionFailed", "PATCH", "/twins/dev1", "service", stale, `{"tags":{"i":1}}`)
		w.wantError(412, "PreconditionFailed", "PUT", "/twins/dev1", "service", stale, `{"tags":{"i":1}}`)
		w.wantError(412, "PreconditionFailed", "PATCH", "/twins/dev1", "service", stale, `{}`)
	}
}

func TestTwinErrors(t *testing.T) {
	w := newWorld(t)
	w.createTwins()
	for _, c := range []struct {
		status                     int
		name                       string
		method, path, policy, body string
	}{
		{404, "DeviceNotFound", "GET", "/twins/none", "service", ""},
		{404, "DeviceNotFound", "PATCH", "/twins/none", "service", `{}`},
		{404, "DeviceNotFound", "PUT", "/twins/none/modules/m", "service", `{}`},
		{404, "ModuleNotFound", "GET", "/twins/dev1/modules/none", "service", ""},
		{404, "ModuleNotFound", "PATCH", "/twins/dev1/modules/none", "service", `{}`},
		{404, "GenericNotFound", "GET", "/twins", "service", ""},
		{404, "GenericNotFound", "GET", "/twins/dev1/modules", "service", ""},
		{405, "GenericMethodNotAllowed", "DELETE", "/twins/dev1", "service", ""},
		{400, "IotHubFormatError", "PATCH", "/twins/dev1", "service", ""},
		{400, "IotHubFormatError", "PATCH", "/twins/dev1", "service", `{"tags":`},
		{400, "ArgumentInvalid", "PATCH", "/twins/dev1", "service", `[]`},
		{400, "ArgumentInvalid", "PUT", "/twins/dev1", "service", `{"tags":1}`},
		{400, "ArgumentInvalid", "PATCH", "/twins/dev1", "service", `{"properties":{"desired":{"a b":1}}}`},
		{400, "ArgumentInvalid", "PATCH", "/twins/dev1", "service", `{"properties":{"desired":{"a":4503599627370496}}}`},
		{400, "ArgumentInvalid", "PATCH", "/twins/dev1", "service", `{"deviceId":"dev2","tags":{}}`},
		{400, "ArgumentInvalid", "PATCH", "/twins/dev1/modules/mod+1", "service", `{"moduleId":"m","tags":{}}`},
		{413, "MessageTooLarge", "PATCH", "/twins/dev1", "service", `{"tags":{"a":"` + strings.Repeat("x", 1<<20) + `"}}`},
		{401, "IotHubUnauthorizedAccess", "GET", "/twins/dev1", "", ""},
		{401, "IotHubUnauthorizedAccess", "GET", "/twins/dev1", "registryReadWrite", ""},
		{401, "IotHubUnauthorizedAccess", "PATCH", "/twins/dev1", "device", `{}`},
		{401, "IotHubUnauthorizedAccess", "PUT", "/twins/dev1/modules/mod+1", "registryRead", `{}`},
		{400, "InvalidProtocolVersion", "GET", "/twins/dev1?x=y", "service", ""},
	} {
		w.wantError(c.status, c.name, c.method, c.path, c.policy, "", c.body)
	}
	// The body says where and which limit.
	_, text := w.do("PATCH", "/twins/dev1", "service", "", `{"properties":{"desired":{"a":{"b":"`+strings.Repeat("x", 4097)+`"}}}}`)
	if !strings.Contains(text, "properties.desired.a.b: the text has 4097 bytes, the limit is 4096") {
		t.Error(text)
	}
	if twin, err := w.hub.GetTwin("dev1", ""); err != nil || twin.Version != 2 {
		t.Errorf("something has changed: %+v, %v", twin, err)
	}
}
