package httpfront

import (
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// None is what a route has that the throttle does not know.
const none = core.Operation(255)

func TestOperationsOfRoutes(t *testing.T) {
	for _, tt := range []struct {
		method, pattern string
		want            core.Operation
	}{
		{"GET", "devices", core.OpRegistry},
		{"POST", "devices", core.OpRegistry},
		{"PUT", "devices/*", core.OpRegistry},
		{"DELETE", "devices/*/modules/*", core.OpRegistry},
		{"DELETE", "devices/*/commands", core.OpRegistry},
		{"POST", "devices/query", core.OpQuery},
		{"POST", "devices/*/messages/events", none},
		{"GET", "devices/*/messages/deviceBound", none},
		{"GET", "twins/*", core.OpTwinRead},
		{"PATCH", "twins/*", core.OpTwinUpdate},
		{"PUT", "twins/*/modules/*/tags", core.OpTwinUpdate},
		{"POST", "twins/*/methods", core.OpMethod},
		{"POST", "twins/*/modules/*/methods", core.OpMethod},
		{"GET", "digitaltwins/*", core.OpTwinRead},
		{"PATCH", "digitaltwins/*", core.OpTwinUpdate},
		{"POST", "digitaltwins/*/commands/*", core.OpMethod},
		{"POST", "digitaltwins/*/components/*/commands/*", core.OpMethod},
		{"POST", "devices/keys/regenerate", core.OpRegistry},
		{"GET", "statistics/devices", core.OpRegistry},
		{"GET", "iothub/events", none},
		{"GET", "messages/serviceBound/feedback", none},
	} {
		op, ok := (&route{method: tt.method, pattern: tt.pattern}).operation()
		if !ok {
			op = none
		}
		if op != tt.want {
			t.Errorf("%s %s: %v, want %v", tt.method, tt.pattern, op, tt.want)
		}
	}
}
