package device

import (
	"context"

	"github.com/iothub-go/iothub"
)

// HandleMessages sets the handler of cloud-to-device messages; nil removes it.
// It runs where confirmations do, one at a time, in the order of delivery. What
// it returns settles the message, after it is done: DispositionLater keeps it,
// and ReceivedMessage.Settle settles it from anywhere. A message that is not
// settled is delivered again on the next connection.
func (c *Client) HandleMessages(h iothub.MessageHandler) { c.c.HandleMessages(h) }

// Receive waits for a cloud-to-device message, to be settled by
// ReceivedMessage.Settle. It gets what no handler set by HandleMessages takes.
// The error is that of ctx, after which no message is lost, or
// iothub.ErrClosed.
func (c *Client) Receive(ctx context.Context) (*iothub.ReceivedMessage, error) {
	return c.c.Receive(ctx)
}

// HandleMethod sets the handler of the direct method called name, or of all
// methods without their own when name is empty; nil removes it. Handlers run
// where confirmations do, one at a time; a nil answer is given later by
// MethodRequest.Respond. A panic, or 30 s without an answer, is answered with
// status 500. A call that arrives twice is handled once.
func (c *Client) HandleMethod(name string, h iothub.MethodHandler) { c.c.HandleMethod(name, h) }

// HandleDesired sets the handler of desired properties; nil removes it. The
// first call is told everything there is (DesiredChange.Complete), or, when
// ClientOptions.TwinStateFile remembers an earlier process, what changed since.
// After every reconnect, and whenever a version was skipped, the client reads
// the twin and delivers exactly the difference, deleted keys as nulls included:
// each change once, in order. The error is about the state file only.
func (c *Client) HandleDesired(h iothub.DesiredHandler) error { return c.c.HandleDesired(h) }

// Twin reads the twin. It waits through reconnects until ctx ends.
func (c *Client) Twin(ctx context.Context) (*iothub.Twin, error) { return c.c.Twin(ctx) }

// UpdateReported changes reported properties by a JSON merge patch (a key with
// null is deleted) and returns their new version. patch is JSON text ([]byte,
// json.RawMessage or string) or anything that encoding/json makes an object
// of. It waits through reconnects until ctx ends; then the patch may or may not
// have been applied. Patches are applied in the order of the calls; one that a
// lost connection left unanswered is sent again, which changes nothing but the
// version.
func (c *Client) UpdateReported(ctx context.Context, patch any) (version int64, err error) {
	return c.c.UpdateReported(ctx, patch)
}

// UpdateReportedAsync is UpdateReported that does not wait: done, which may be
// nil, runs once with the outcome, where confirmations do. The error says that
// the patch was not accepted, and then done never runs.
func (c *Client) UpdateReportedAsync(patch any, done iothub.ReportedFunc) error {
	return c.c.UpdateReportedAsync(patch, done)
}
