package hub

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub/internal/core"
)

// SendC2D puts a cloud-to-device message into the queue of a device and returns
// when it is durable. The device gets it when it is connected and subscribed. The
// message is the caller's again when SendC2D returns.
//
// Of msg count the payload, the properties, MessageID, CorrelationID, UserID,
// ContentType, ContentEncoding, ExpiryTime, which replaces Options.MessageTTL and
// is at most 48 hours ahead, and Ack, which asks for feedback: "positive" for the
// message having been completed, "negative" for its never being so, "full" for
// both.
//
// The queue holds 50 messages; one has at most 64 KiB. Errors are [iothub.Error].
// When ctx ends first, the message may be in the queue all the same.
func (s *Server) SendC2D(ctx context.Context, deviceID string, msg *iothub.Message) error {
	if s.isClosed() {
		return ErrServerClosed
	}
	if err := msg.Validate(); err != nil {
		return err
	}
	m := core.Message{
		MessageID: msg.MessageID, CorrelationID: msg.CorrelationID, UserID: msg.UserID,
		ContentType: msg.ContentType, ContentEncoding: msg.ContentEncoding,
		Expiry: msg.ExpiryTime, Ack: msg.Ack, Payload: slices.Clone(msg.Payload),
	}
	for _, name := range slices.Sorted(maps.Keys(msg.Properties)) {
		m.Properties = append(m.Properties, core.Property{Name: name, Value: msg.Properties[name]})
	}
	if err := s.hub.SendC2D(ctx, deviceID, m); err != nil {
		return s.contextFailed(ctx, "send to device", err)
	}
	return nil
}

// PurgeC2D empties the queue of a device and returns how many messages were in
// it, those included that the device has not acknowledged yet.
func (s *Server) PurgeC2D(ctx context.Context, deviceID string) (int, error) {
	if s.isClosed() {
		return 0, ErrServerClosed
	}
	n, err := s.hub.PurgeC2D(ctx, deviceID)
	if err != nil {
		return n, s.contextFailed(ctx, "purge", err)
	}
	return n, nil
}

// Feedback tells what has become of a cloud-to-device message whose sender asked
// for it.
type Feedback struct {
	// MessageID is that of the message.
	MessageID string
	// Status is "Success", "Expired", "DeliveryCountExceeded", "Rejected" or
	// "Purged".
	Status string
	// Time is when it was decided.
	Time         time.Time
	DeviceID     string
	GenerationID string // of the device
}

// Feedback returns an iterator over feedback, oldest first, which waits for more
// until ctx ends. A record is taken for good when the body of the loop has been
// left; when it takes longer than a minute, or the hub ends meanwhile, the record
// comes again. Several iterations, and readers over REST, share the records. The
// last 10,000 are kept.
func (s *Server) Feedback(ctx context.Context) iter.Seq2[*Feedback, error] {
	return func(yield func(*Feedback, error) bool) {
		for {
			if s.isClosed() {
				yield(nil, ErrServerClosed)
				return
			}
			batch, err := s.hub.Feedback(ctx, 1)
			if err != nil {
				yield(nil, s.contextFailed(ctx, "feedback", err))
				return
			}
			r := &batch.Records[0]
			more := yield(&Feedback{
				MessageID: r.OriginalMessageID, Status: r.StatusCode, Time: r.EnqueuedTime.Time,
				DeviceID: r.DeviceID, GenerationID: r.DeviceGenerationID,
			}, nil)
			// A lost lock means that it comes again, which is what was said.
			_ = s.hub.SettleFeedback(batch.LockToken, core.Complete)
			if !more {
				return
			}
		}
	}
}

// contextFailed is failed, but lets the error of ctx through as it is.
func (s *Server) contextFailed(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil && err == ctx.Err() {
		return err
	}
	return s.failed(op, err)
}
