package ll

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/invoke"
)

// InvokeOptions says how long a method call may take.
type InvokeOptions = iothub.InvokeOptions

// InvokeMethodAsync calls a direct method of a device, or of a module when
// moduleID is not empty, over HTTPS: see InvokeMethod of package module for
// who offers that, and for the errors. It returns at once; done runs once,
// inside DoWork or Destroy, with the answer or the error. payload is a JSON
// value or nil; o may be nil.
func (c *ModuleClient) InvokeMethodAsync(deviceID, moduleID, name string, payload []byte, o *InvokeOptions, done func(*iothub.MethodResponse, error)) error {
	return c.c.invoke(invoke.NewCall(deviceID, moduleID, name, bytes.Clone(payload), o), done)
}

// finished is what goroutines have done for a client whose callbacks run in
// DoWork only.
type finished struct {
	mu    sync.Mutex
	calls []func()
}

func (f *finished) add(call func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

// take appends what is finished to events.
func (f *finished) take(events []engine.Event) []engine.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, call := range f.calls {
		events = append(events, engine.Event{Kind: engine.EventCall, Call: call})
	}
	f.calls = nil
	return events
}

func (c *client) invoke(call *invoke.Call, done func(*iothub.MethodResponse, error)) error {
	if done == nil {
		return &iothub.Error{Op: "invoke method", Kind: iothub.KindInvalidArgument, Err: errNoCallback}
	}
	return c.during(func(time.Time) error {
		params := c.setup.Params
		c.gate.Go(func() {
			ctx, cancel := context.WithCancel(c.ctx)
			defer cancel()
			resp, err := invoke.Do(ctx, params, call)
			c.finished.add(func() { done(resp, err) })
			c.notify()
		})
		return nil
	})
}
