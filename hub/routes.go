package hub

import (
	"fmt"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Route says where messages go that modules send, as IoT Edge does on the device:
//
//	hub.Route{Text: `FROM /messages/modules/camera/outputs/frames INTO BrokeredEndpoint("/modules/filter/inputs/in")`}
//
// A message goes to every route that it matches. One that goes to an input is
// acknowledged when it is stored in the queue of that module, where it waits for
// up to two hours. What no route matches, and what would go to a module that is
// not registered, goes upstream, to the events of the hub.
type Route struct {
	// DeviceID is the device whose messages it is for; empty is every device.
	DeviceID string
	// Text is FROM, a source, INTO and a sink. The source is /messages/*,
	// /messages/modules/{module}/*, /messages/modules/{module}/outputs/* or
	// /messages/modules/{module}/outputs/{output}, where {module} may be *. The
	// sink is $upstream or BrokeredEndpoint("/modules/{module}/inputs/{input}").
	Text string
}

// CheckRoutes says what is wrong with routes, nil when nothing is.
func CheckRoutes(list []Route) error {
	_, err := parseRoutes(list)
	return err
}

func parseRoutes(list []Route) ([]core.Route, error) {
	var routes []core.Route
	for i, r := range list {
		parsed, err := core.ParseRoute(r.DeviceID, r.Text)
		if err != nil {
			return nil, fmt.Errorf("hub: Options.Routes[%d]: %w", i, err)
		}
		routes = append(routes, parsed)
	}
	return routes, nil
}
