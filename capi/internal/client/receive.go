package client

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
)

// SetMessageCallback sets who is told of cloud-to-device messages, no function
// for nobody. Modules have none.
func (c *Client) SetMessageCallback(cb Callback) Result {
	return c.failed(c.call(true, func() error {
		switch {
		case c.device == nil:
			return fmt.Errorf("%w: a module gets messages by its inputs only", iothub.ErrNotSupported)
		case cb.Func == 0 && c.messages.Func == 0:
			return errNotSubscribed
		}
		c.messages = cb
		if cb.Func == 0 {
			return c.device.SetMessageCallback(nil)
		}
		return c.device.SetMessageCallback(func(m *iothub.ReceivedMessage) iothub.Disposition {
			return c.arrived(m, c.messages)
		})
	}))
}

// SetInputCallback sets who is told of messages to a module's input, "" for
// those without their own.
func (c *Client) SetInputCallback(input string, cb Callback) Result {
	return c.failed(c.call(true, func() error {
		if c.module == nil {
			return fmt.Errorf("%w: a device has no inputs", iothub.ErrNotSupported)
		}
		if cb.Func == 0 {
			if _, ok := c.inputs[input]; !ok {
				return errNotSubscribed
			}
			delete(c.inputs, input)
			return c.module.SetInputCallback(input, nil)
		}
		if c.inputs == nil {
			c.inputs = map[string]Callback{}
		}
		c.inputs[input] = cb
		return c.module.SetInputCallback(input, func(m *iothub.ReceivedMessage) iothub.Disposition {
			return c.arrived(m, c.inputs[input])
		})
	}))
}

// arrived is called inside the lock. The program decides later, in its
// function.
func (c *Client) arrived(m *iothub.ReceivedMessage, cb Callback) iothub.Disposition {
	if !c.autoEncode {
		encodeMessage(&m.Message)
	}
	c.records = append(c.records, Record{Kind: RecordMessage, Message: m, Callback: cb})
	return iothub.DispositionLater
}

// Settle tells the hub what the program has decided about a message.
func (c *Client) Settle(m *iothub.ReceivedMessage, d iothub.Disposition) Result {
	return c.failed(c.answer(func() error { return m.Settle(d) }))
}

// MethodStyle is how a program wants to be called for a direct method.
type MethodStyle uint8

// The styles: an answer as the result of the function, one given later, and a
// command with its component.
const (
	MethodNow MethodStyle = iota
	MethodLater
	MethodCommand
)

type methodCallback struct {
	Callback
	style MethodStyle
}

// SetMethodCallback sets who is called for direct methods, no function for
// nobody. A client has one style at a time.
func (c *Client) SetMethodCallback(style MethodStyle, cb Callback) Result {
	return c.failed(c.call(true, func() error {
		had := c.method.Func != 0
		switch {
		case had && c.method.style != style:
			return errors.New("methods have a callback of another kind already: remove that first")
		case cb.Func == 0 && !had:
			return errNotSubscribed
		}
		c.method = methodCallback{cb, style}
		if cb.Func == 0 {
			return c.ll.SetMethodCallback("", nil)
		}
		return c.ll.SetMethodCallback("", c.called)
	}))
}

// called is called inside the lock.
func (c *Client) called(r *iothub.MethodRequest) *iothub.MethodResponse {
	c.records = append(c.records, Record{Kind: RecordMethod, Style: c.method.style, Method: r, Callback: c.method.Callback})
	return nil
}

// Respond answers a direct method. What is no JSON is answered with status 500,
// so that the caller is told something.
func (c *Client) Respond(r *iothub.MethodRequest, status int, payload []byte) Result {
	return c.failed(c.answer(func() error {
		err := r.Respond(status, payload)
		if iothub.KindOf(err) == iothub.KindInvalidArgument {
			err = cmp.Or(r.Respond(500, []byte(`{"message":"the device's answer is not JSON, or too large"}`)), err)
		}
		return err
	}))
}

// SplitCommand separates the component from a command's name, which is
// "component*command" in a direct method.
func SplitCommand(method string) (component, command string, hasComponent bool) {
	component, command, hasComponent = strings.Cut(method, "*")
	if !hasComponent {
		return "", method, false
	}
	return component, command, true
}

// How long a hub waits for a method's answer. The C SDK does not pass on what a
// program says, so programs say anything.
const (
	minInvoke = 5 * time.Second
	maxInvoke = 300 * time.Second
)

// Invoke calls a method of another device, or module, and returns at once; cb
// is told the outcome.
func (c *Client) Invoke(deviceID, moduleID, method string, payload []byte, timeout time.Duration, cb Callback) Result {
	return c.failed(c.call(true, func() error {
		return c.invoke(deviceID, moduleID, method, payload, timeout, func(resp *iothub.MethodResponse, err error) {
			if err != nil {
				c.host.Log(err)
			}
			if cb.Func == 0 {
				return
			}
			r := Record{Kind: RecordInvoked, Result: int32(Failed), Callback: cb}
			if err == nil {
				r.Result, r.Reason, r.Payload = int32(OK), int32(resp.Status), resp.Payload
			}
			c.records = append(c.records, r)
		})
	}))
}

// InvokeAndWait calls a method of another device, or module, and waits for the
// answer.
func (c *Client) InvokeAndWait(deviceID, moduleID, method string, payload []byte, timeout time.Duration) (resp *iothub.MethodResponse, r Result) {
	err := c.await(func(done func(error)) error {
		return c.invoke(deviceID, moduleID, method, payload, timeout, func(m *iothub.MethodResponse, err error) {
			resp = m
			done(err)
		})
	})
	return resp, c.failed(err)
}

// invoke is called inside the lock.
func (c *Client) invoke(deviceID, moduleID, method string, payload []byte, timeout time.Duration, done func(*iothub.MethodResponse, error)) error {
	if c.module == nil {
		return fmt.Errorf("%w: only modules call methods", iothub.ErrNotSupported)
	}
	o := &iothub.InvokeOptions{ResponseTimeout: min(max(timeout, minInvoke), maxInvoke), Port: c.httpsPort}
	return c.module.InvokeMethodAsync(deviceID, moduleID, method, payload, o, done)
}
