// Package pnp makes a device or module follow the IoT Plug and Play
// conventions: telemetry of components, writable properties that are
// acknowledged, commands, and the JSON around them, so that a program deals with
// the names and types of its DTDL model only.
//
//	d := pnp.New(client, &pnp.Options{Components: []string{"thermostat1"}})
//	pnp.HandleWritable(d, "thermostat1", "targetTemperature", func(u pnp.Update[float64]) pnp.Ack {
//		target = u.Value
//		return pnp.Ack{}
//	})
//	pnp.HandleCommand(d, "", "reboot", func(seconds int) (any, error) { … })
//	err := d.Start()
//
// The client says what it is by ClientOptions.ModelID. An empty component name
// is the default component: what the root of the model defines itself.
package pnp

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/iothub-go/iothub"
)

// Client is what the package needs of a client: *device.Client and
// *module.Client have it.
type Client interface {
	// SendEvent sends a message and waits for its confirmation.
	SendEvent(ctx context.Context, msg *iothub.Message) error
	// SendEventAsync sends a message without waiting.
	SendEventAsync(msg *iothub.Message, confirm iothub.ConfirmFunc) error
	// UpdateReported patches the reported properties and waits.
	UpdateReported(ctx context.Context, patch any) (version int64, err error)
	// UpdateReportedAsync patches the reported properties without waiting.
	UpdateReportedAsync(patch any, done iothub.ReportedFunc) error
	// HandleDesired sets the handler of desired properties.
	HandleDesired(h iothub.DesiredHandler) error
	// HandleMethod sets the handler of a direct method.
	HandleMethod(name string, h iothub.MethodHandler)
}

// Options of a [Device]. The zero value is a device without components.
type Options struct {
	// Components are the names of the model's components. Without them a
	// component is known only where the back end marks it ("__t": "c"),
	// which a notification of a change need not do.
	Components []string
	// OnError is told what no caller is there for: a report that the hub
	// refused, a change that cannot be understood. It runs where the
	// client's callbacks do. Nil ignores them.
	OnError func(error)
}

// Device is a client that follows the conventions. It is safe for concurrent
// use; handlers run where the client's callbacks do, one at a time.
type Device struct {
	c       Client
	parts   []string
	onError func(error)

	mu       sync.Mutex
	writable map[property]func(*Property) any // returns what to report
}

type property struct{ component, name string }

// New returns a device on c. o may be nil. Set the handlers, then call Start.
func New(c Client, o *Options) *Device {
	d := &Device{c: c, writable: map[property]func(*Property) any{}}
	if o != nil {
		d.parts = append(d.parts, o.Components...)
		d.onError = o.OnError
	}
	return d
}

func (d *Device) failed(err error) {
	if err != nil && d.onError != nil {
		d.onError(err)
	}
}

// Start begins to handle writable properties: the handlers are told the desired
// values there are, then every change. It takes the place of the client's
// HandleDesired, whose errors it returns.
func (d *Device) Start() error { return d.c.HandleDesired(d.desired) }

// Telemetry returns the message that carries values, anything that
// encoding/json makes an object of, of a component. The error says that it does
// not.
func Telemetry(component string, values any) (*iothub.Message, error) {
	b, err := json.Marshal(values)
	if err != nil {
		return nil, invalid("telemetry: %w", err)
	}
	if len(b) == 0 || b[0] != '{' {
		return nil, invalid("telemetry has to be a JSON object of names and values, not %.20s", b)
	}
	return &iothub.Message{Payload: b, ContentType: "application/json", ContentEncoding: "utf-8", Component: component}, nil
}

// SendTelemetry sends values of a component and waits until the hub has them;
// see [Telemetry] and the client's SendEvent.
func (d *Device) SendTelemetry(ctx context.Context, component string, values any) error {
	m, err := Telemetry(component, values)
	if err != nil {
		return err
	}
	return d.c.SendEvent(ctx, m)
}

// SendTelemetryAsync sends values of a component without waiting; see
// [Telemetry] and the client's SendEventAsync.
func (d *Device) SendTelemetryAsync(component string, values any, confirm iothub.ConfirmFunc) error {
	m, err := Telemetry(component, values)
	if err != nil {
		return err
	}
	return d.c.SendEventAsync(m, confirm)
}

// Report reports read-only properties of a component and waits until the hub
// has them; see the client's UpdateReported. A nil value removes a property.
func (d *Device) Report(ctx context.Context, component string, values map[string]any) error {
	_, err := d.c.UpdateReported(ctx, report(component, values))
	return err
}

// ReportAsync is Report that does not wait; see the client's
// UpdateReportedAsync.
func (d *Device) ReportAsync(component string, values map[string]any, done iothub.ReportedFunc) error {
	return d.c.UpdateReportedAsync(report(component, values), done)
}

func report(component string, values map[string]any) Patch {
	p := Patch{}
	for name, v := range values {
		p.Set(component, name, v)
	}
	return p
}

// Update is a value that the back end wants a writable property to have.
type Update[T any] struct {
	// Value is what is wanted; the zero value when Deleted.
	Value T
	// Deleted says that the back end wants nothing any more.
	Deleted bool
	// Version is that of the desired properties.
	Version int64
}

// Ack is the answer to an update of a writable property. The zero value says
// that the wanted value is now in effect.
type Ack struct {
	// Status is in the manner of HTTP: 200 done, 202 under way, 400 not
	// possible, 500 failed; 0 is 200.
	Status int
	// Description is for people; it may be empty.
	Description string
	// Value is the value now in effect; nil is the one that was wanted.
	Value any
}

// HandleWritable sets the handler of a writable property; nil removes it. What
// it returns is reported as the acknowledgement that the conventions ask for. A
// value that cannot be decoded into a T is answered with status 400 without the
// handler. When the property was deleted and Ack.Value is nil, it is removed
// from the reported properties.
func HandleWritable[T any](d *Device, component, name string, h func(Update[T]) Ack) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := property{component, name}
	if h == nil {
		delete(d.writable, key)
		return
	}
	d.writable[key] = func(p *Property) any {
		u := Update[T]{Version: p.Version, Deleted: p.Value == nil}
		if !u.Deleted {
			if err := json.Unmarshal(p.Value, &u.Value); err != nil {
				return acknowledged{Value: p.Value, Status: 400, Version: p.Version, Description: fmt.Sprintf("the value cannot be used: %v", err)}
			}
		}
		a := h(u)
		if a.Value == nil {
			if u.Deleted {
				return nil
			}
			a.Value = p.Value
		}
		if a.Status == 0 {
			a.Status = 200
		}
		return acknowledged{Value: a.Value, Status: a.Status, Version: p.Version, Description: a.Description}
	}
}

// desired handles a change: all acknowledgements go in one report.
func (d *Device) desired(c *iothub.DesiredChange) {
	properties, err := ParseDesired(c, d.parts...)
	if err != nil {
		d.failed(err)
		return
	}
	answer := Patch{}
	for i := range properties {
		for key, h := range d.handlers(&properties[i]) {
			answer.Set(key.component, key.name, h(&properties[i]))
		}
	}
	if len(answer) == 0 {
		return
	}
	d.failed(d.c.UpdateReportedAsync(answer, func(_ int64, err error) { d.failed(err) }))
}

// handlers returns the handlers for p: one, none, or for a component that was
// deleted as a whole all of its.
func (d *Device) handlers(p *Property) map[property]func(*Property) any {
	d.mu.Lock()
	defer d.mu.Unlock()
	hs := map[property]func(*Property) any{}
	for key, h := range d.writable {
		if key.component == p.Component && (p.Name == "" || key.name == p.Name) {
			hs[key] = h
		}
	}
	return hs
}

// CommandError is what a command's handler returns to choose the status of the
// response. Any other error is answered with status 500.
type CommandError struct {
	// Status is in the manner of HTTP, Message for people.
	Status  int
	Message string
}

// Error returns the message.
func (e *CommandError) Error() string { return e.Message }

// HandleCommand sets the handler of a command; nil removes it. Its result is
// the response, with status 200, and its error one with the error's status (see
// [CommandError]) and {"message": "…"}. A request that cannot be decoded into a
// Req is answered with status 400; one without payload is the zero Req.
func HandleCommand[Req, Resp any](d *Device, component, name string, h func(Req) (Resp, error)) {
	method := CommandName(component, name)
	if h == nil {
		d.c.HandleMethod(method, nil)
		return
	}
	d.c.HandleMethod(method, func(r *iothub.MethodRequest) *iothub.MethodResponse {
		var req Req
		if len(r.Payload) > 0 {
			if err := json.Unmarshal(r.Payload, &req); err != nil {
				return problem(400, fmt.Sprintf("the request cannot be used: %v", err))
			}
		}
		resp, err := h(req)
		if err != nil {
			return refusal(err)
		}
		b, err := json.Marshal(resp)
		if err != nil {
			return problem(500, err.Error())
		}
		return &iothub.MethodResponse{Status: 200, Payload: b}
	})
}
