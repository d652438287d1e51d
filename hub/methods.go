package hub

import (
	"context"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// MethodOptions are the timeouts of a direct method. The zero value, and nil, are
// the defaults.
type MethodOptions struct {
	// ConnectTimeout is how long to wait for the device to be connected and
	// subscribed to methods, up to 300 s; default is not to wait.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long to wait for its answer, 5 to 300 s; default
	// 30 s.
	ResponseTimeout time.Duration
}

// InvokeMethod calls a direct method of a device, or of a module when moduleID is
// not empty, and returns what it answered: a status that the device chose, and a
// JSON value, empty when there was none. payload is a JSON value of at most
// 128 KiB, or empty.
//
// Errors are [iothub.Error]: code 404103 when the device did not connect in time,
// 504101 when it did not answer in time, which leaves open whether it has done
// what was asked.
func (s *Server) InvokeMethod(ctx context.Context, deviceID, moduleID, name string, payload []byte, o *MethodOptions) (status int, response []byte, err error) {
	if s.isClosed() {
		return 0, nil, ErrServerClosed
	}
	call := core.MethodCall{Name: name, Payload: payload}
	if o != nil {
		call.ConnectTimeout, call.ResponseTimeout = o.ConnectTimeout, o.ResponseTimeout
	}
	r, err := s.hub.InvokeMethod(ctx, deviceID, moduleID, call)
	if err != nil {
		return 0, nil, s.contextFailed(ctx, "invoke method", err)
	}
	return r.Status, r.Payload, nil
}
