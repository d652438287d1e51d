package ll

import (
	"errors"
	"fmt"
	"time"

	"github.com/iothub-go/iothub"
)

// SetOption sets an option by its name in the C SDK; docs/options.md lists
// names, types and when each takes effect. Integers may be of any integer type.
// The error is an *iothub.Error of kind KindInvalidArgument that names the
// option and the type of the value, and that is iothub.ErrNotSupported where an
// option of the C SDK has no meaning here; or iothub.ErrClosed or
// iothub.ErrConcurrentUse. It never repeats a secret.
func (c *DeviceClient) SetOption(name string, value any) error { return c.c.setOption(name, value) }

// SetOption sets an option by its name in the C SDK; docs/options.md lists
// names, types and when each takes effect. Integers may be of any integer type.
// The error is an *iothub.Error of kind KindInvalidArgument that names the
// option and the type of the value, and that is iothub.ErrNotSupported where an
// option of the C SDK has no meaning here; or iothub.ErrClosed or
// iothub.ErrConcurrentUse. It never repeats a secret.
func (c *ModuleClient) SetOption(name string, value any) error { return c.c.setOption(name, value) }

// SetRetryPolicy changes how the client connects again, at once: limit ends the
// attempts this long after the first one of an outage, 0 means never. A client
// that has given up connects again. The delays that ClientOptions.Retry or the
// options retry_interval_sec and retry_max_delay_secs have set stay (the C SDK
// drops them).
func (c *DeviceClient) SetRetryPolicy(policy iothub.RetryStrategy, limit time.Duration) error {
	return c.c.setRetryPolicy(policy, limit)
}

// SetRetryPolicy changes how the client connects again, at once: limit ends the
// attempts this long after the first one of an outage, 0 means never. A client
// that has given up connects again. The delays that ClientOptions.Retry or the
// options retry_interval_sec and retry_max_delay_secs have set stay (the C SDK
// drops them).
func (c *ModuleClient) SetRetryPolicy(policy iothub.RetryStrategy, limit time.Duration) error {
	return c.c.setRetryPolicy(policy, limit)
}

// RetryPolicy returns how the client connects again; see SetRetryPolicy.
func (c *DeviceClient) RetryPolicy() (policy iothub.RetryStrategy, limit time.Duration, err error) {
	return c.c.retryPolicy()
}

// RetryPolicy returns how the client connects again; see SetRetryPolicy.
func (c *ModuleClient) RetryPolicy() (policy iothub.RetryStrategy, limit time.Duration, err error) {
	return c.c.retryPolicy()
}

// LastMessageReceiveTime returns when a cloud-to-device message was last handed
// to its handler; the zero time when none ever was.
func (c *DeviceClient) LastMessageReceiveTime() (time.Time, error) { return c.c.lastReceived() }

// LastMessageReceiveTime returns when a message was last handed to an input's
// handler; the zero time when none ever was.
func (c *ModuleClient) LastMessageReceiveTime() (time.Time, error) { return c.c.lastReceived() }

// SetCredential replaces the credential, from the next connection on: a
// certificate that is about to expire, a key that was rolled. Call Reconnect to
// change over at once. The error is iothub.ErrClosed, iothub.ErrConcurrentUse,
// or says that the credential is empty.
func (c *DeviceClient) SetCredential(cred *iothub.Credential) error { return c.c.setCredential(cred) }

// SetCredential replaces the credential, from the next connection on: a
// certificate that is about to expire, a key that was rolled. Call Reconnect to
// change over at once. The error is iothub.ErrClosed, iothub.ErrConcurrentUse,
// or says that the credential is empty.
func (c *ModuleClient) SetCredential(cred *iothub.Credential) error { return c.c.setCredential(cred) }

// Reconnect replaces the connection as the renewal of a token does: no message
// is sent meanwhile, what is in flight is acknowledged first (5 s at most), and
// nothing is lost or sent twice. A client that waits to try again, or has given
// up, connects at once. Later calls of DoWork do it.
func (c *DeviceClient) Reconnect() error { return c.c.reconnect() }

// Reconnect replaces the connection as the renewal of a token does: no message
// is sent meanwhile, what is in flight is acknowledged first (5 s at most), and
// nothing is lost or sent twice. A client that waits to try again, or has given
// up, connects at once. Later calls of DoWork do it.
func (c *ModuleClient) Reconnect() error { return c.c.reconnect() }

func (c *client) setRetryPolicy(policy iothub.RetryStrategy, limit time.Duration) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	if policy > iothub.RetryRandom || limit < 0 {
		return &iothub.Error{Op: "set retry policy", Kind: iothub.KindInvalidArgument,
			Err: fmt.Errorf("strategy %d (0 to %d), limit %v (not negative)", policy, iothub.RetryRandom, limit)}
	}
	o := *c.setup.Options
	r := *o.Retry
	r.Strategy, r.Limit = policy, limit
	o.Retry = &r
	return c.apply(&o, false)
}

func (c *client) retryPolicy() (iothub.RetryStrategy, time.Duration, error) {
	if err := c.enter(); err != nil {
		return 0, 0, err
	}
	defer c.leave()
	p := c.sess.RetryPolicy()
	return p.Strategy, p.Limit, nil
}

func (c *client) lastReceived() (time.Time, error) {
	if err := c.enter(); err != nil {
		return time.Time{}, err
	}
	defer c.leave()
	return c.received, nil
}

func (c *client) setCredential(cred *iothub.Credential) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	if cred.String() == "none" {
		return &iothub.Error{Op: "set credential", Kind: iothub.KindInvalidArgument, Err: errors.New("the credential is empty")}
	}
	o := *c.setup.Options
	o.Credential = cred
	return c.apply(&o, false)
}

func (c *client) reconnect() error {
	return c.during(func(now time.Time) error {
		c.started = true // this is the first connection, if there was none
		c.sess.Reconnect(now)
		return nil
	})
}
