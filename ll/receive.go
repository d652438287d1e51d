package ll

import (
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/receiver"
)

// Settle and Respond serve the receiver. They may be called inside callbacks,
// and by the goroutine that owns the client.

func (c *client) Settle(d engine.Delivery, by iothub.Disposition) error {
	return c.during(func(time.Time) error { return c.sess.Settle(d, by) })
}

func (c *client) Respond(call engine.Call, status int, payload []byte) error {
	return c.during(func(time.Time) error { return c.sess.Respond(call, status, payload) })
}

// during runs f on the session, as one call on the client, and sees to it that
// DoWork follows it up.
func (c *client) during(f func(now time.Time) error) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	err := f(time.Now())
	c.notify()
	return err
}

func (c *client) subscribe(f engine.Feature, on bool) error {
	return c.during(func(now time.Time) error {
		if on {
			c.sess.Subscribe(now, f)
		} else {
			c.sess.Unsubscribe(f)
		}
		return nil
	})
}

func (c *client) setMessages(h iothub.MessageHandler) error {
	c.recv.SetMessages(h)
	return c.subscribe(engine.FeatureMessages, h != nil)
}

func (c *client) setInput(name string, h iothub.MessageHandler) error {
	return c.subscribe(engine.FeatureInputs, c.recv.SetInput(name, h))
}

func (c *client) setMethod(name string, h iothub.MethodHandler) error {
	return c.subscribe(engine.FeatureMethods, c.recv.SetMethod(name, h))
}

func (c *client) setDesired(h iothub.DesiredHandler) error {
	state, err := c.recv.SetDesired(h, c.setup.Options.TwinStateFile)
	if err != nil {
		return err
	}
	return c.during(func(now time.Time) error {
		if h == nil {
			c.sess.Unfollow()
		} else {
			c.sess.Follow(now, state)
		}
		return nil
	})
}

func (c *client) getTwin(done func(*iothub.Twin, error)) error {
	if done == nil {
		return &iothub.Error{Op: "get twin", Kind: iothub.KindInvalidArgument, Err: errNoCallback}
	}
	return c.during(func(now time.Time) error {
		c.sess.Request(now, nil, twinTimeout, false, func(r engine.Response) { done(receiver.Twin(r)) })
		return nil
	})
}

func (c *client) report(patch any, done iothub.ReportedFunc) error {
	b, err := receiver.Report(patch)
	if err != nil {
		return err
	}
	return c.during(func(now time.Time) error {
		c.sess.Request(now, b, reportTimeout, false, func(r engine.Response) {
			if done != nil {
				done(r.Version, r.Err)
			}
		})
		return nil
	})
}
