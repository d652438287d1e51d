package module

import (
	"context"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/invoke"
)

// InvokeOptions says how long a method call may take.
type InvokeOptions = iothub.InvokeOptions

// InvokeMethod calls a direct method of a device, or of a module when moduleID
// is not empty, and waits for the answer. payload is a JSON value or nil. It
// goes over HTTPS to the IoT Edge hub (the gateway host name), which offers it
// to modules of its own device; IoT Hub in the cloud does not, a local hub
// does. Whatever status the method answered is no error. An error is an
// *iothub.Error: KindTimeout when the target is not connected (404103) or did
// not answer (504101), KindNotFound, KindUnauthorized and so on. When ctx ends
// first, the method may or may not have run. o may be nil.
func (c *Client) InvokeMethod(ctx context.Context, deviceID, moduleID, name string, payload []byte, o *InvokeOptions) (*iothub.MethodResponse, error) {
	return invoke.Do(ctx, c.c.Params(), invoke.NewCall(deviceID, moduleID, name, payload, o))
}
