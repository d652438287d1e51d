package device

import "github.com/iothub-go/iothub"

// SetCredential replaces the credential: a certificate that is about to expire,
// a key that was rolled. The next connection presents it; the present one, which
// holds, keeps what it began with. Call Reconnect to change over at once.
// Messages, subscriptions and twin requests are not touched. The error is
// iothub.ErrClosed, or says that the credential is empty. It is safe for
// concurrent use.
func (c *Client) SetCredential(cred *iothub.Credential) error { return c.c.SetCredential(cred) }

// Reconnect replaces the connection as the renewal of a token does: no message
// is sent meanwhile, what is in flight is acknowledged first (5 s at most), and
// nothing is lost or sent twice. While the client waits to try again, or has
// given up, it connects at once. It does not wait; the outcome comes to
// ClientOptions.OnConnectionStatus. The error is iothub.ErrClosed.
func (c *Client) Reconnect() error { return c.c.Reconnect() }
