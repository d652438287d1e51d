package managed

import (
	"context"
	"fmt"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/receiver"
)

// locked runs f on the session, does what it brings about, and wakes the loop.
func (c *Client) locked(f func(now time.Time)) {
	c.em.Lock()
	f(time.Now())
	c.collect()
	c.em.Unlock()
	c.wakeLoop()
}

// Settle and Respond serve the receiver.

// Settle settles a received message.
func (c *Client) Settle(d engine.Delivery, by iothub.Disposition) (err error) {
	c.locked(func(time.Time) { err = c.sess.Settle(d, by) })
	return err
}

// Respond answers a method call.
func (c *Client) Respond(call engine.Call, status int, payload []byte) (err error) {
	c.locked(func(time.Time) { err = c.sess.Respond(call, status, payload) })
	return err
}

// subscribe asks for f, or gives it up.
func (c *Client) subscribe(f engine.Feature, on bool) {
	c.locked(func(now time.Time) {
		if on {
			c.sess.Subscribe(now, f)
		} else {
			c.sess.Unsubscribe(f)
		}
	})
}

// HandleMessages sets the handler of cloud-to-device messages.
func (c *Client) HandleMessages(h iothub.MessageHandler) {
	c.recv.SetMessages(h)
	c.subscribe(engine.FeatureMessages, h != nil)
}

// Receive waits for a cloud-to-device message.
func (c *Client) Receive(ctx context.Context) (*iothub.ReceivedMessage, error) {
	pulled := c.recv.Pulled()
	c.subscribe(engine.FeatureMessages, true)
	select {
	case m := <-pulled:
		return m, nil
	case <-c.ctx.Done():
		return nil, iothub.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// HandleInput sets the handler of a module input.
func (c *Client) HandleInput(name string, h iothub.MessageHandler) {
	c.subscribe(engine.FeatureInputs, c.recv.SetInput(name, h))
}

// HandleMethod sets the handler of a direct method.
func (c *Client) HandleMethod(name string, h iothub.MethodHandler) {
	c.subscribe(engine.FeatureMethods, c.recv.SetMethod(name, h))
}

// HandleDesired sets the handler of changes of desired properties.
func (c *Client) HandleDesired(h iothub.DesiredHandler) error {
	state, err := c.recv.SetDesired(h, c.opts.TwinStateFile)
	if err != nil {
		return err
	}
	c.locked(func(now time.Time) {
		if h == nil {
			c.sess.Unfollow()
		} else {
			c.sess.Follow(now, state)
		}
	})
	return nil
}

// request sends a twin request and waits for the answer.
func (c *Client) request(ctx context.Context, op string, report []byte) (engine.Response, error) {
	answer := make(chan engine.Response, 1)
	var r *engine.Request
	c.locked(func(now time.Time) {
		r = c.sess.Request(now, report, 0, true, func(resp engine.Response) { answer <- resp })
	})
	select {
	case resp := <-answer:
		return resp, resp.Err
	case <-ctx.Done():
		c.locked(func(time.Time) { c.sess.Cancel(r) })
		return engine.Response{}, &iothub.Error{Op: op, Kind: iothub.KindTimeout, Retryable: true,
			Err: fmt.Errorf("%w while waiting for the hub's answer", ctx.Err())}
	}
}

// Twin reads the twin.
func (c *Client) Twin(ctx context.Context) (*iothub.Twin, error) {
	resp, err := c.request(ctx, "get twin", nil)
	if err != nil {
		return nil, err
	}
	return receiver.Twin(resp)
}

// UpdateReported patches the reported properties.
func (c *Client) UpdateReported(ctx context.Context, patch any) (int64, error) {
	b, err := receiver.Report(patch)
	if err != nil {
		return 0, err
	}
	resp, err := c.request(ctx, "report properties", b)
	return resp.Version, err
}

// UpdateReportedAsync patches the reported properties without waiting.
func (c *Client) UpdateReportedAsync(patch any, done iothub.ReportedFunc) error {
	b, err := receiver.Report(patch)
	if err != nil {
		return err
	}
	c.em.Lock()
	closed := c.closed
	c.em.Unlock()
	if closed {
		return iothub.ErrClosed
	}
	c.locked(func(now time.Time) {
		c.sess.Request(now, b, 0, false, func(resp engine.Response) {
			if done != nil {
				done(resp.Version, resp.Err)
			}
		})
	})
	return nil
}
