package service

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
)

// The addresses of what the hub tells back ends (IoT Hub AMQP support).
const (
	feedbackAddress    = "/messages/servicebound/feedback"
	fileNoticesAddress = "/messages/servicebound/filenotifications"
)

const (
	// maxNotice bounds what the hub may send at once, in bytes.
	maxNotice = 1 << 20
	// defaultCredit is how many deliveries may wait to be settled.
	defaultCredit = 10
)

// FeedbackRecord says what has become of a message to a device whose sender asked
// for it.
type FeedbackRecord struct {
	// MessageID is that of the message.
	MessageID string `json:"originalMessageId"`
	// Status is "Success", "Expired", "DeliveryCountExceeded", "Rejected" or
	// "Purged"; Description says it in words.
	Status      string `json:"statusCode"`
	Description string `json:"description"`
	// DeviceID and GenerationID are those of the device.
	DeviceID     string `json:"deviceId"`
	GenerationID string `json:"deviceGenerationId"`
	// EnqueuedTime is when it was decided.
	EnqueuedTime Time `json:"enqueuedTimeUtc"`
}

// FileNotice says that a device has uploaded a file.
type FileNotice struct {
	// DeviceID is that of the device.
	DeviceID string `json:"deviceId"`
	// BlobURI is where the file is, BlobName its name there.
	BlobURI  string `json:"blobUri"`
	BlobName string `json:"blobName"`
	// BlobSize is its size in bytes.
	BlobSize int64 `json:"blobSizeInBytes"`
	// LastUpdatedTime is that of the file, EnqueuedTime that of the notice.
	LastUpdatedTime Time `json:"lastUpdatedTime"`
	EnqueuedTime    Time `json:"enqueuedTimeUtc"`
}

// ReceiverOptions are for [Receiver]. The zero value, and nil, are the defaults.
type ReceiverOptions struct {
	// Prefetch is how many deliveries the hub may send before they are
	// settled, 1 to 1000; 0 is 10.
	Prefetch int
}

// Receiver receives what a hub tells back ends, over AMQP. Several receivers, in
// one process or many, share the deliveries. A connection that is lost is made
// again. It is safe for use by many goroutines.
type Receiver[T any] struct {
	client  *Client
	op      string
	address string
	credit  int32
	decode  func([]byte) (T, error)

	turn backend.Turn // free while nobody makes the link

	mu     sync.Mutex
	link   *amqp.Receiver // nil until needed, or lost
	owner  *session
	closed bool
}

// Delivery is something that was received and is to be settled. What is not settled
// within a minute, or when the connection ends, comes again.
type Delivery[T any] struct {
	// Body is what was received.
	Body T
	// EnqueuedTime is when the hub got it.
	EnqueuedTime time.Time

	receiver *Receiver[T]
	link     *amqp.Receiver
	message  *amqp.Message
}

// Feedback returns a receiver of what became of messages to devices, up to 64
// records at a time. It does no I/O.
func (c *Client) Feedback(o *ReceiverOptions) *Receiver[[]FeedbackRecord] {
	return newReceiver(c, "feedback", feedbackAddress, o, func(b []byte) (r []FeedbackRecord, err error) {
		err = json.Unmarshal(b, &r)
		return r, err
	})
}

// FileNotices returns a receiver of notices about uploaded files, for hubs on which
// they are turned on. It does no I/O.
func (c *Client) FileNotices(o *ReceiverOptions) *Receiver[FileNotice] {
	return newReceiver(c, "file notices", fileNoticesAddress, o, func(b []byte) (n FileNotice, err error) {
		err = json.Unmarshal(b, &n)
		return n, err
	})
}

func newReceiver[T any](c *Client, op, address string, o *ReceiverOptions, decode func([]byte) (T, error)) *Receiver[T] {
	r := &Receiver[T]{client: c, op: op, address: address, credit: defaultCredit, decode: decode, turn: backend.NewTurn()}
	if o != nil && o.Prefetch > 0 {
		r.credit = int32(min(o.Prefetch, 1000))
	}
	return r
}

// Receive waits for a delivery. It fails when ctx ends, when the receiver or the
// client is closed, and when the hub refuses for a reason that waiting does not
// cure; a connection that is lost is made again.
func (r *Receiver[T]) Receive(ctx context.Context) (*Delivery[T], error) {
	ctx, cancel := r.client.amqp.bind(ctx)
	defer cancel()
	for n := 1; ; n++ {
		link, err := r.open(ctx)
		if err == nil {
			var m *amqp.Message
			if m, err = link.Receive(ctx, nil); err == nil {
				return r.delivery(ctx, link, m)
			}
			r.lost(link, err)
		}
		if r.isClosed() || r.client.amqp.ctx.Err() != nil {
			return nil, iothub.ErrClosed
		}
		err = amqpError(ctx, r.op, err)
		if ctx.Err() != nil {
			return nil, err
		}
		if kind := iothub.KindOf(err); !iothub.Retryable(err) || kind == iothub.KindTLS || r.client.opts.Retry.Strategy == iothub.RetryNone {
			return nil, err
		}
		r.client.opts.Logger.Info("receiving again", "op", r.op, "error", err)
		if e := pause(ctx, max(r.client.opts.Retry.Delay(n, rand.Float64()), iothub.RetryAfter(err))); e != nil {
			if r.client.amqp.ctx.Err() != nil {
				return nil, iothub.ErrClosed
			}
			return nil, amqpError(ctx, r.op, e)
		}
	}
}

// All returns what Receive does, until it fails or the reader has enough. Each
// delivery is the reader's to settle.
func (r *Receiver[T]) All(ctx context.Context) iter.Seq2[*Delivery[T], error] {
	return func(yield func(*Delivery[T], error) bool) {
		for {
			d, err := r.Receive(ctx)
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// delivery reads a message. One that cannot be read is rejected, so that it does
// not come for ever.
func (r *Receiver[T]) delivery(ctx context.Context, link *amqp.Receiver, m *amqp.Message) (*Delivery[T], error) {
	d := &Delivery[T]{receiver: r, link: link, message: m}
	var body []byte
	for _, part := range m.Data {
		body = append(body, part...)
	}
	var err error
	if d.Body, err = r.decode(body); err != nil {
		err = fmt.Errorf("what the hub sent is not what was expected: %w", err)
		if e := link.RejectMessage(ctx, m, nil); e != nil {
			err = fmt.Errorf("%w (and it could not be rejected: %w)", err, e)
		}
		return nil, &iothub.Error{Op: r.op, Kind: iothub.KindProtocol, Err: err}
	}
	if t, ok := m.Annotations["iothub-enqueuedtime"].(time.Time); ok {
		d.EnqueuedTime = t
	}
	return d, nil
}

// open returns the link, made when it is not there.
func (r *Receiver[T]) open(ctx context.Context) (*amqp.Receiver, error) {
	if err := r.turn.Take(ctx); err != nil {
		return nil, err
	}
	defer r.turn.Give()
	r.mu.Lock()
	link, owner, closed := r.link, r.owner, r.closed
	r.mu.Unlock()
	if closed {
		return nil, iothub.ErrClosed
	}
	if link != nil && !owner.lost() {
		return link, nil
	}
	s, err := r.client.amqp.get(ctx)
	if err != nil {
		return nil, err
	}
	link, err = s.amqp.NewReceiver(ctx, r.address, &amqp.ReceiverOptions{
		Credit: r.credit, MaxMessageSize: maxNotice,
		// The hub confirms what is settled.
		SettlementMode: amqp.ReceiverSettleModeSecond.Ptr(),
	})
	if err != nil {
		s.broken(err)
		return nil, err
	}
	r.mu.Lock()
	if closed = r.closed; !closed {
		r.link, r.owner = link, s
	}
	r.mu.Unlock()
	if closed {
		_ = link.Close(ctx) // what has come goes to other receivers
		return nil, iothub.ErrClosed
	}
	return link, nil
}

// lost forgets a link that has ended.
func (r *Receiver[T]) lost(link *amqp.Receiver, err error) {
	if !linkGone(err) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link == link {
		r.owner.broken(err)
		r.link, r.owner = nil, nil
	}
}

func (r *Receiver[T]) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Close ends the link: what is not settled goes to other receivers. The connection
// stays, for it is the client's.
func (r *Receiver[T]) Close(ctx context.Context) error {
	r.mu.Lock()
	link := r.link
	r.closed, r.link = true, nil
	r.mu.Unlock()
	if link == nil {
		return nil
	}
	if err := link.Close(ctx); err != nil && !linkGone(err) {
		return amqpError(ctx, r.op, err)
	}
	return nil
}

// Complete tells the hub that the delivery was handled: it does not come again.
// It returns when the hub has confirmed it; when it fails, the delivery may come
// again.
func (d *Delivery[T]) Complete(ctx context.Context) error {
	return d.settled(ctx, "complete", d.link.AcceptMessage(ctx, d.message))
}

// Abandon gives the delivery back to the hub, for this receiver or another one.
func (d *Delivery[T]) Abandon(ctx context.Context) error {
	return d.settled(ctx, "abandon", d.link.ReleaseMessage(ctx, d.message))
}

func (d *Delivery[T]) settled(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if linkGone(err) {
		return fmt.Errorf("%s: %w", op, iothub.ErrLockLost)
	}
	return amqpError(ctx, op, err)
}
