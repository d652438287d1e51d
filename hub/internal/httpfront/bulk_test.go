package httpfront_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

type bulkReply struct {
	IsSuccessful bool
	Errors       []struct {
		DeviceID, ErrorCode, ErrorStatus, Operation string
		ModuleID                                    *string
	}
	Warnings []any
}

func TestBulk(t *testing.T) {
	w := newWorld(t)
	// As the Node SDK sends it: keys empty, modes in any case, "etag".
	const keys = `"authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}`
	_, text := w.want(200, "POST", "/devices", "", `[{"id":"a","importMode":"create",`+keys+`},
		{"id":"b","importMode":"create",`+keys+`,"status":"disabled","tags":{"site":"n"},"properties":{"desired":{"x":1}},"capabilities":{"iotEdge":true}},
		{"id":"a","moduleId":"m","importMode":"CreateOrUpdate"}]`)
	if text != `{"isSuccessful":true,"errors":[],"warnings":[]}` {
		t.Error(text)
	}
	b := decode[core.Device](t, second(w.want(200, "GET", "/devices/b", "", "")))
	twin := decode[twinBody](t, second(w.want(200, "GET", "/twins/b", "", "")))
	if b.Status != "disabled" || !b.Capabilities.IoTEdge || twin.Tags["site"] != "n" || twin.Properties.Desired["x"] != 1.0 {
		t.Errorf("%+v %+v", b, twin)
	}
	a := decode[core.Device](t, second(w.want(200, "GET", "/devices/a", "", "")))

	resp, text := w.want(400, "POST", "/devices", "", `[{"etag":"AAAA","id":"a","importMode":"DeleteIfMatchETag",`+keys+`},
		{"id":"nobody","importMode":"Delete"},
		{"id":"a","moduleId":"m","importMode":"create"},
		{"id":"b","importMode":"updateTwin","tags":{"site":null,"k":2}},
		{"id":"b","importMode":"updateTwinIfMatchETag","twinETag":"AAAAAAAAAAE=","tags":{"k":3}},
		{"id":"b","importMode":"updateIfMatchETag"},
		{"id":"b","importMode":"sideways"},
		{"etag":"`+a.ETag+`","id":"a","importMode":"UpdateIfMatchETag","status":"disabled"},
		{"id":"c d","importMode":"create"},
		{"id":"e","importMode":"create","tags":{"bad name":1}}]`)
	var got []string
	reply := decode[bulkReply](t, text)
	for _, e := range reply.Errors {
		module := ""
		if e.ModuleID != nil {
			module = "/" + *e.ModuleID
		}
		got = append(got, e.DeviceID+module+" "+e.ErrorCode+" "+e.Operation)
	}
	want := []string{"a PreconditionFailed DeleteIfMatchETag", "nobody DeviceNotFound Delete", "a/m ModuleAlreadyExistsOnDevice create",
		"b PreconditionFailed updateTwinIfMatchETag", "b ArgumentNull updateIfMatchETag", "b ArgumentInvalid sideways",
		"c d ArgumentInvalid create", "e ArgumentInvalid create"}
	if fmt.Sprint(got) != fmt.Sprint(want) || reply.IsSuccessful || reply.Warnings == nil ||
		resp.Header.Get("iothub-errorcode") != "BulkRegistryOperationFailure" {
		t.Errorf("%v %s\ngot  %q\nwant %q", resp.Header, text, got, want)
	}
	twin = decode[twinBody](t, second(w.want(200, "GET", "/twins/b", "", "")))
	if len(twin.Tags) != 1 || twin.Tags["k"] != 2.0 {
		t.Errorf("%+v", twin)
	}
	if d := decode[core.Device](t, second(w.want(200, "GET", "/devices/a", "", ""))); d.Status != "disabled" ||
		d.Authentication.SymmetricKey != a.Authentication.SymmetricKey {
		t.Errorf("%+v", d)
	}
	w.wantError(404, "DeviceNotFound", "GET", "/devices/e", "iothubowner", "", "") // nothing is made of what is half right
	w.wantError(413, "TooManyDevices", "POST", "/devices", "iothubowner", "", "[{}"+strings.Repeat(",{}", 100)+"]")
	w.wantError(400, "IotHubFormatError", "POST", "/devices", "iothubowner", "", `{"id":"a"}`)
}

// second gives the body of what want returns.
func second[T any](_ T, text string) string { return text }

func TestRegenerateKeys(t *testing.T) {
	w := newWorld(t)
	w.want(200, "PUT", "/devices/a", "", `{}`)
	w.want(200, "PUT", "/devices/a/modules/m", "", `{}`)
	w.want(200, "PUT", "/devices/x", "", `{"authentication":{"type":"certificateAuthority"}}`)
	type reply struct {
		PolicyKey   string
		RotatedKeys []struct{ ID, ModuleID, PrimaryKey, SecondaryKey string }
		Errors      []struct{ ID, ModuleID, ErrorCode, ErrorStatus string }
	}
	keysOf := func(path string) core.SymmetricKey {
		return decode[core.Device](t, second(w.want(200, "GET", path, "", ""))).Authentication.SymmetricKey
	}
	device, module := keysOf("/devices/a"), keysOf("/devices/a/modules/m")
	r := decode[reply](t, second(w.want(200, "POST", "/devices/keys/regenerate", "",
		`{"policyKey":"primaryKey","devices":[{"id":"a"},{"id":"a","moduleId":"m"}]}`)))
	now, nowModule := keysOf("/devices/a"), keysOf("/devices/a/modules/m")
	if len(r.RotatedKeys) != 2 || len(r.Errors) != 0 || r.RotatedKeys[0].PrimaryKey != string(now.PrimaryKey) ||
		now.PrimaryKey == device.PrimaryKey || now.SecondaryKey != device.SecondaryKey ||
		nowModule.PrimaryKey == module.PrimaryKey || r.RotatedKeys[1].ModuleID != "m" {
		t.Errorf("%+v", r)
	}
	r = decode[reply](t, second(w.want(207, "POST", "/devices/keys/regenerate", "",
		`{"policyKey":"both","devices":[{"id":"a"},{"id":"x"},{"id":"a","moduleId":"none"}]}`)))
	if len(r.RotatedKeys) != 1 || len(r.Errors) != 2 || r.Errors[0].ErrorCode != "ArgumentInvalid" || r.Errors[1].ErrorCode != "ModuleNotFound" {
		t.Errorf("%+v", r)
	}
	w.want(400, "POST", "/devices/keys/regenerate", "", `{"policyKey":"secondaryKey","devices":[{"id":"nobody"}]}`)
	w.wantError(400, "ArgumentInvalid", "POST", "/devices/keys/regenerate", "iothubowner", "", `{"policyKey":"x","devices":[{"id":"a"}]}`)
	w.wantError(400, "ArgumentNull", "POST", "/devices/keys/regenerate", "iothubowner", "", `{"policyKey":"both"}`)
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	edge := decode[core.Device](t, second(w.want(200, "PUT", "/devices/edge", "", `{"capabilities":{"iotEdge":true}}`)))
	if edge.DeviceScope != "ms-azure-iot-edge://edge-"+edge.GenerationID {
		t.Errorf("%+v", edge)
	}
	leaf := decode[core.Device](t, second(w.want(200, "PUT", "/devices/leaf", "", `{"deviceScope":"`+edge.DeviceScope+`"}`)))
	if leaf.DeviceScope != edge.DeviceScope || len(leaf.ParentScopes) != 1 || leaf.ParentScopes[0] != edge.DeviceScope {
		t.Errorf("%+v", leaf)
	}
	child := decode[core.Device](t, second(w.want(200, "PUT", "/devices/child", "",
		`{"capabilities":{"iotEdge":true},"parentScopes":["`+edge.DeviceScope+`"]}`)))
	if child.DeviceScope == edge.DeviceScope || child.ParentScopes[0] != edge.DeviceScope {
		t.Errorf("%+v", child)
	}
	// What does not speak of the parent leaves it.
	child = decode[core.Device](t, second(w.want(200, "PUT", "/devices/child", "*", `{"capabilities":{"iotEdge":true}}`)))
	if len(child.ParentScopes) != 1 {
		t.Errorf("%+v", child)
	}
	leaf = decode[core.Device](t, second(w.want(200, "PUT", "/devices/leaf", "*", `{"parentScopes":[],"deviceScope":""}`)))
	if leaf.DeviceScope != "" || len(leaf.ParentScopes) != 0 {
		t.Errorf("%+v", leaf)
	}
	edge = decode[core.Device](t, second(w.want(200, "PUT", "/devices/edge", "*", `{"status":"enabled"}`)))
	if !edge.Capabilities.IoTEdge {
		t.Errorf("%+v", edge)
	}
	edge = decode[core.Device](t, second(w.want(200, "PUT", "/devices/edge", "*", `{"capabilities":{"iotEdge":false}}`)))
	modules := decode[[]core.Module](t, second(w.want(200, "GET", "/devices/edge/modules", "", "")))
	if edge.Capabilities.IoTEdge || edge.DeviceScope != "" || len(modules) != 0 {
		t.Errorf("%+v %+v", edge, modules)
	}
	for _, body := range []string{`{"deviceScope":"edge"}`, `{"parentScopes":["a"]}`, `{"parentScopes":["ms-azure-iot-edge://a","ms-azure-iot-edge://b"]}`} {
		w.wantError(400, "ArgumentInvalid", "PUT", "/devices/bad", "iothubowner", "", body)
	}
}
