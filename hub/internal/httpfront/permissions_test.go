package httpfront_test

import (
	"slices"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// operations are the requests of the REST API that a policy can make, each with
// what it answers to one that may. They are sent in this order.
var operations = []struct {
	method, path  string
	ifMatch, body string
	need          core.Permission
	want          int
}{
	{"PUT", "/devices/d", "", `{}`, core.RegistryWrite, 200},
	{"PUT", "/devices/d", "*", `{}`, core.RegistryWrite, 200},
	{"GET", "/devices", "", "", core.RegistryRead, 200},
	{"GET", "/devices/d", "", "", core.RegistryRead, 200},
	{"POST", "/devices", "", `[{"id":"b"}]`, core.RegistryWrite, 200},
	{"POST", "/devices/keys/regenerate", "", `{"policyKey":"both","devices":[{"id":"b"}]}`, core.RegistryWrite, 200},
	{"PUT", "/devices/d/modules/m", "", `{}`, core.RegistryWrite, 200},
	{"GET", "/devices/d/modules", "", "", core.RegistryRead, 200},
	{"GET", "/devices/d/modules/m", "", "", core.RegistryRead, 200},
	{"GET", "/twins/d", "", "", core.ServiceConnect, 200},
	{"PATCH", "/twins/d", "", `{"tags":{"a":1}}`, core.ServiceConnect, 200},
	{"PUT", "/twins/d", "", `{"tags":{"a":1}}`, core.ServiceConnect, 200},
	{"GET", "/twins/d/modules/m", "", "", core.ServiceConnect, 200},
	{"PATCH", "/twins/d/modules/m", "", `{"tags":{"a":1}}`, core.ServiceConnect, 200},
	{"PUT", "/twins/d/modules/m", "", `{"tags":{"a":1}}`, core.ServiceConnect, 200},
	{"POST", "/twins/d/methods", "", `{"methodName":"x"}`, core.ServiceConnect, 404},           // not online
	{"POST", "/twins/d/modules/m/methods", "", `{"methodName":"x"}`, core.ServiceConnect, 404}, // not online
	{"GET", "/digitaltwins/d", "", "", core.ServiceConnect, 200},
	{"PATCH", "/digitaltwins/d", "", `[{"op":"add","path":"/x","value":1}]`, core.ServiceConnect, 202},
	{"POST", "/digitaltwins/d/commands/x", "", "", core.ServiceConnect, 404},              // not online
	{"POST", "/digitaltwins/d/components/c/commands/x", "", "", core.ServiceConnect, 404}, // not online
	{"DELETE", "/devices/d/commands", "", "", core.ServiceConnect, 200},
	{"GET", "/messages/servicebound/filenotifications", "", "", core.ServiceConnect, 204},
	{"DELETE", "/messages/servicebound/filenotifications/lost", "", "", core.ServiceConnect, 412},
	{"POST", "/messages/servicebound/filenotifications/lost/abandon", "", "", core.ServiceConnect, 412},
	{"GET", "/messages/servicebound/feedback", "", "", core.ServiceConnect, 204},
	{"DELETE", "/messages/servicebound/feedback/lost", "", "", core.ServiceConnect, 412},
	{"POST", "/messages/servicebound/feedback/lost/abandon", "", "", core.ServiceConnect, 412},
	{"POST", "/jobs/create", "", `{"type":"export"}`, core.RegistryWrite, 400}, // this hub has no blobs
	{"GET", "/jobs", "", "", core.RegistryRead, 200},
	{"GET", "/jobs/none", "", "", core.RegistryRead, 404},
	{"DELETE", "/jobs/none", "", "", core.RegistryWrite, 404},
	{"PUT", "/configurations/c", "", `{"content":{"deviceContent":{"properties.desired.x":1}}}`, core.RegistryWrite, 200},
	{"PUT", "/configurations/c", "*", `{"priority":3}`, core.RegistryWrite, 200},
	{"GET", "/configurations", "", "", core.RegistryRead, 200},
	{"GET", "/configurations/c", "", "", core.RegistryRead, 200},
	{"POST", "/configurations/testQueries", "", `{"targetCondition":"*"}`, core.RegistryRead, 200},
	{"DELETE", "/configurations/c", "*", "", core.RegistryWrite, 204},
	{"POST", "/devices/d/applyConfigurationContent", "", `{"deviceContent":{"properties.desired.x":1}}`, core.RegistryWrite, 204},
	{"GET", "/statistics/devices", "", "", core.RegistryRead, 200},
	{"GET", "/statistics/service", "", "", core.ServiceConnect, 200},
	{"GET", "/iothub/events?wait=false", "", "", core.ServiceConnect, 200},
	{"GET", "/iothub/routing", "", "", core.RegistryWrite, 200},
	{"PUT", "/iothub/routing", "", `{}`, core.RegistryWrite, 200},
	{"POST", "/iothub/routing/test", "", `{"condition":"true"}`, core.RegistryRead, 200},
	{"GET", "/iothub/routing/statistics", "", "", core.RegistryRead, 200},
	{"POST", "/iothub/devices/d/messages", "", `{"body":"aGk="}`, core.ServiceConnect, 204},
	{"POST", "/devices/query", "", `{"query":"SELECT * FROM devices"}`, core.ServiceConnect, 200},
	{"PUT", "/jobs/v2/j", "", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{"a":1}},"queryCondition":"false"}`, core.ServiceConnect, 200},
	{"GET", "/jobs/v2/j", "", "", core.ServiceConnect, 200},
	{"GET", "/jobs/v2/query", "", "", core.ServiceConnect, 200},
	{"POST", "/jobs/v2/none/cancel", "", "", core.ServiceConnect, 404},
	{"DELETE", "/devices/d/modules/m", "*", "", core.RegistryWrite, 204},
	{"DELETE", "/devices/d", "", "", core.RegistryWrite, 204},
}

// TestPermissions makes every request as every policy: one without the right is
// refused and changes nothing, one with it gets its answer.
func TestPermissions(t *testing.T) {
	w := newWorld(t)
	policies := w.hub.Policies()
	// The one with the most rights comes last, as what creates succeeds once.
	slices.SortFunc(policies, func(a, b core.Policy) int { return int(a.Permissions) - int(b.Permissions) })
	for _, o := range operations {
		for _, nobody := range []string{"", "Bearer x", "SharedAccessSignature sr=hub.example&sig=x&se=1&skn=iothubowner"} {
			w.wantError(401, "IotHubUnauthorizedAccess", o.method, o.path, nobody, o.ifMatch, o.body)
		}
		for _, p := range policies {
			if !p.Permissions.Has(o.need) {
				w.wantError(401, "IotHubUnauthorizedAccess", o.method, o.path, p.Name, o.ifMatch, o.body)
			}
		}
		least := slices.IndexFunc(policies, func(p core.Policy) bool { return p.Permissions.Has(o.need) })
		resp, text := w.do(o.method, o.path, policies[least].Name, o.ifMatch, o.body)
		if resp.StatusCode != o.want {
			t.Errorf("%s %s as %s: %d, want %d: %s", o.method, o.path, policies[least].Name, resp.StatusCode, o.want, text)
		}
	}
}
