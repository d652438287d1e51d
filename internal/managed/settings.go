package managed

import (
	"errors"
	"time"

	"github.com/iothub-go/iothub"
)

// SetCredential replaces the credential, from the next connection on.
func (c *Client) SetCredential(cred *iothub.Credential) error {
	if cred.String() == "none" {
		return &iothub.Error{Op: "set credential", Kind: iothub.KindInvalidArgument, Err: errors.New("the credential is empty")}
	}
	c.em.Lock()
	defer c.em.Unlock()
	if c.closed {
		return iothub.ErrClosed
	}
	o := *c.opts
	o.Credential = cred
	s, err := c.setup.Again(&o)
	if err != nil {
		return err
	}
	c.setup = s // a dial under way notices
	c.sess.Reconfigure(time.Now(), s.Session)
	c.collect()
	return nil
}

// Reconnect replaces the connection, or makes one at once.
func (c *Client) Reconnect() error {
	c.em.Lock()
	closed := c.closed
	c.em.Unlock()
	if closed {
		return iothub.ErrClosed
	}
	c.locked(c.sess.Reconnect)
	return nil
}
