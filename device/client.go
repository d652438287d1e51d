// Package device is the client of a device of an IoT Hub: it connects and
// reconnects by itself, queues what cannot be sent yet, and confirms every
// message exactly once.
//
// A [Client] is safe for concurrent use, and every method may be called inside
// every callback. Callbacks run one at a time on a goroutine of their own and
// hold no lock; a slow one delays other callbacks, never the connection.
package device

import (
	"context"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/managed"
	"github.com/iothub-go/iothub/internal/setup"
	"github.com/iothub-go/iothub/provisioning"
)

// ClientOptions configures a client; the zero value, or nil, is the documented
// default.
type ClientOptions = iothub.ClientOptions

// Client is a device that sends events to its hub. It is safe for concurrent
// use. It connects with the first message, or with Open, and must be closed.
type Client struct{ c *managed.Client }

// NewClientFromConnectionString returns a client for the device that the
// connection string names. Nothing touches the network yet; errors are
// *iothub.Error of kind KindInvalidArgument and name what is wrong, never a
// secret. o may be nil.
func NewClientFromConnectionString(connectionString string, o *ClientOptions) (*Client, error) {
	s, err := setup.FromConnectionString(connectionString, setup.Device, o)
	if err != nil {
		return nil, err
	}
	return &Client{managed.New(s.Setup, s.Options)}, nil
}

// NewClientFromProvisioning returns a client for a device that registers by itself with
// the Device Provisioning Service: when it connects first, again when its hub refuses it,
// because it was deleted, disabled or moved, and when the hub has been out of reach for
// five minutes. Messages, subscriptions, the twin that is followed and all callbacks stay
// what they are, in order, whichever hub it is: what waits goes to the new one. It asks as
// often as ClientOptions.Retry says, but at most every 30 s for a hub that does not let it
// in; what the service refuses comes to ClientOptions.OnConnectionStatus, and it goes on trying.
//
// With cfg.StateFile a process that starts again needs no provisioning service as long as
// the hub takes the device. What the device has registered with is also what it presents
// to the hub: ClientOptions.Credential has to be nil, and SetCredential is refused. Until
// the device is assigned, Identity is that of its registration id, and uploads fail with
// KindUnavailable.
//
// Nothing touches the network yet; errors are *iothub.Error of kind KindInvalidArgument.
// The client copies cfg, and uses what it points to. o may be nil.
func NewClientFromProvisioning(cfg *provisioning.Config, o *ClientOptions) (*Client, error) {
	s, err := setup.FromProvisioning(cfg, o)
	if err != nil {
		return nil, err
	}
	return &Client{managed.New(s.Setup, s.Options)}, nil
}

// NewClientFromAssignment returns a client for a device that provisioning.Register has
// registered. It stays with that hub. Nothing touches the network yet; errors are
// *iothub.Error of kind KindInvalidArgument. o may be nil.
func NewClientFromAssignment(a *provisioning.Assignment, o *ClientOptions) (*Client, error) {
	s, err := setup.FromAssignment(a, o)
	if err != nil {
		return nil, err
	}
	return &Client{managed.New(s.Setup, s.Options)}, nil
}

// Identity returns the device the client is for. It changes only for one that registers
// by itself, see NewClientFromProvisioning.
func (c *Client) Identity() iothub.Identity { return c.c.Params().Identity }

// Open starts connecting without waiting for the first message. The outcome
// comes to ClientOptions.OnConnectionStatus.
func (c *Client) Open() { c.c.Open() }

// SendEventAsync accepts a copy of msg to be sent and returns at once: it never
// blocks and never touches the network. msg is the caller's again when it
// returns, to change, reuse or send once more.
//
// If the returned error is nil, confirm, which may be nil, runs exactly once:
// with ConfirmOK when the hub has the message durably, with
// ConfirmMessageTimeout when ClientOptions.MessageTimeout or msg.ExpiryTime
// passed first, with ConfirmBecauseDestroy when the client was closed first,
// with ConfirmError when the retry policy gave up. It never runs inside this
// call. While there is no connection messages wait; after a reconnect what was
// in flight is sent again, in order, before what was waiting.
//
// If the returned error is not nil, nothing was kept and confirm never runs:
// iothub.ErrQueueFull, iothub.ErrClosed, or an *iothub.Error that says what is
// wrong with msg (nil, larger than iothub.MaxMessageSize, a property that
// cannot be carried).
func (c *Client) SendEventAsync(msg *iothub.Message, confirm iothub.ConfirmFunc) error {
	return c.c.SendEventAsync(msg, confirm)
}

// SendEvent sends msg and waits until the hub has it durably. While the queue
// is full it waits for room. If ctx ends first, the error says whether the
// message was accepted: if iothub.NotSent reports true it was not, otherwise
// it stays queued and may still be sent. Inside a callback a full queue is
// returned as iothub.ErrQueueFull, because waiting there could wait for ever.
func (c *Client) SendEvent(ctx context.Context, msg *iothub.Message) error {
	return c.c.SendEvent(ctx, msg)
}

// SendEventBatch sends msgs in order and waits until the hub has all of them.
// Nothing is sent if one of them is invalid. An *iothub.BatchError says which
// were not confirmed, and why; when ctx ends first those stay queued, except
// where iothub.NotSent reports true.
func (c *Client) SendEventBatch(ctx context.Context, msgs []*iothub.Message) error {
	return c.c.SendEventBatch(ctx, msgs)
}

// Stats returns the client's counters as of now.
func (c *Client) Stats() iothub.Stats { return c.c.Stats() }

// Close refuses further messages, waits until all accepted ones are confirmed,
// says goodbye to the hub and waits for the callbacks to have run. When ctx
// ends first, everything left confirms ConfirmBecauseDestroy, and Close returns
// ctx's error, at most two seconds later. Inside a callback Close does not
// wait and nothing is flushed: it takes effect when that callback returns, and
// everything left confirms ConfirmBecauseDestroy. Closing twice is allowed.
func (c *Client) Close(ctx context.Context) error { return c.c.Close(ctx) }
