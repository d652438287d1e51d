package module

import (
	"context"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/invoke"
)

// InvokeOptions says how long a method call may take. The zero value, or nil,
// is the hub's default.
type InvokeOptions struct {
	// ConnectTimeout is how long the hub waits for the target to connect,
	// up to 5 minutes; 0 is not at all.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long the hub waits for the answer, 5 s to 5
	// minutes; 0 is 30 s.
	ResponseTimeout time.Duration
	// Port is that of the hub's HTTPS endpoint; 0 is 443.
	Port int
}

// InvokeMethod calls a direct method of a device, or of a module when moduleID
// is not empty, and waits for the answer. payload is a JSON value or nil. It
// goes over HTTPS to the IoT Edge hub (the gateway host name), which offers it
// to modules of its own device; IoT Hub in the cloud does not, a local hub
// does. Whatever status the method answered is no error. An error is an
// *iothub.Error: KindTimeout when the target is not connected (404103) or did
// not answer (504101), KindNotFound, KindUnauthorized and so on. When ctx ends
// first, the method may or may not have run. o may be nil.
func (c *Client) InvokeMethod(ctx context.Context, deviceID, moduleID, name string, payload []byte, o *InvokeOptions) (*iothub.MethodResponse, error) {
	call := &invoke.Call{DeviceID: deviceID, ModuleID: moduleID, Name: name, Payload: payload}
	if o != nil {
		call.ConnectTimeout, call.ResponseTimeout, call.Port = o.ConnectTimeout, o.ResponseTimeout, o.Port
	}
	return invoke.Do(ctx, c.c.Params(), call)
}
