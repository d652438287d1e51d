package managed

import (
	"errors"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/transport"
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
	c.adopt(s) // a dial under way notices
	c.collect()
	return nil
}

// adopt makes s the client's setup. The caller holds em.
func (c *Client) adopt(s *transport.Setup) {
	if s == c.setup || c.closed {
		return
	}
	if s.Params.Identity != c.setup.Params.Identity {
		c.mu.Lock()
		c.out.Readdress(s.Encoder, c.sess.Readdress(s.Encoder, c.setup.Encoder))
		c.mu.Unlock()
	}
	c.setup = s
	c.sess.Reconfigure(time.Now(), s.Session)
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
