package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
)

// MaxC2DSize is the largest cloud-to-device message in bytes, counted as
// iothub.Message.Size does (IoT Hub quotas).
const MaxC2DSize = 64 * 1024

// deviceBound is the address of messages to devices (IoT Hub AMQP support).
const deviceBound = "/messages/devicebound"

// SendC2D sends a message to a device and returns when the hub has it in its
// queue. The device gets it when it is connected. The message is the caller's
// again when SendC2D returns.
//
// Of msg count the payload, the properties, MessageID, CorrelationID, UserID,
// ContentType, ContentEncoding, CreationTime, ExpiryTime and Ack, which asks for
// feedback: "positive" for the message having been completed, "negative" for its
// never being so, "full" for both; see [Client.Feedback].
//
// It fails with iothub.KindNotFound when there is no such device, and with
// iothub.KindThrottled, code 403004, when 50 messages wait for it. A message of
// which bytes have left is not sent again by itself: unless iothub.NotSent says
// otherwise, it may be in the queue when the connection, or ctx, has ended.
func (c *Client) SendC2D(ctx context.Context, deviceID string, msg *iothub.Message) error {
	const op = "send to device"
	if _, err := identityPath(op, "devices", deviceID, ""); err != nil {
		return err
	}
	m, err := c2dMessage(op, deviceID, msg)
	if err != nil {
		return err
	}
	if err := c.amqp.enter(); err != nil {
		return err
	}
	defer c.amqp.calls.Done()
	bound, cancel := c.amqp.bind(ctx)
	defer cancel()
	err = c.repeatC2D(bound, op, m)
	if err != nil && c.amqp.ctx.Err() != nil {
		return iothub.ErrClosed
	}
	return err
}

// repeatC2D sends m, again as long as that is certainly the first time.
func (c *Client) repeatC2D(ctx context.Context, op string, m *amqp.Message) error {
	begun := time.Now()
	for n := 1; ; n++ {
		err := c.trySendC2D(ctx, op, m)
		if err == nil || ctx.Err() != nil || !iothub.NotSent(err) || !iothub.Retryable(err) || c.opts.Retry.Strategy == iothub.RetryNone {
			return err
		}
		if kind := iothub.KindOf(err); kind == iothub.KindTLS {
			return err
		}
		wait := max(c.opts.Retry.Delay(n, rand.Float64()), iothub.RetryAfter(err))
		if n == 1 {
			wait = 0 // a link that was found dead says nothing of the hub
		}
		if c.opts.Retry.Limit > 0 && time.Since(begun)+wait > c.opts.Retry.Limit {
			return err
		}
		if pause(ctx, wait) != nil {
			return err
		}
	}
}

// trySendC2D sends m once.
func (c *Client) trySendC2D(ctx context.Context, op string, m *amqp.Message) error {
	s, err := c.amqp.get(ctx)
	if err != nil {
		return iothub.MarkNotSent(amqpError(ctx, op, err))
	}
	sender, err := s.deviceBound(ctx)
	if err != nil {
		s.broken(err)
		return iothub.MarkNotSent(amqpError(ctx, op, err))
	}
	before := s.written.Load()
	if err = sender.Send(ctx, m, nil); err == nil {
		return nil
	}
	gone, untouched := linkGone(err), s.written.Load() == before
	if gone {
		s.mu.Lock()
		if s.sender == sender {
			s.sender = nil
		}
		s.mu.Unlock()
		s.broken(err)
	}
	err = amqpError(ctx, op, err)
	if gone && untouched {
		return iothub.MarkNotSent(err)
	}
	return err
}

// deviceBound returns the link for messages to devices, made when it is not there.
func (s *session) deviceBound(ctx context.Context) (*amqp.Sender, error) {
	if err := s.turn.Take(ctx); err != nil {
		return nil, err
	}
	defer s.turn.Give()
	s.mu.Lock()
	sender := s.sender
	s.mu.Unlock()
	if sender != nil {
		return sender, nil
	}
	sender, err := s.amqp.NewSender(ctx, deviceBound, nil)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.sender = sender
	s.mu.Unlock()
	return sender, nil
}

// broken ends the connection when err says that more than a link is gone.
func (s *session) broken(err error) {
	if _, ok := errors.AsType[*amqp.SessionError](err); ok {
		_ = s.conn.Close() // of no use any more
	}
}

// linkGone reports whether err is the end of a link rather than a refusal of one
// message.
func linkGone(err error) bool {
	if _, ok := errors.AsType[*amqp.LinkError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*amqp.SessionError](err); ok {
		return true
	}
	_, ok := errors.AsType[*amqp.ConnError](err)
	return ok
}

// c2dMessage makes the AMQP message of msg.
func c2dMessage(op, deviceID string, msg *iothub.Message) (*amqp.Message, error) {
	if err := msg.Validate(); err != nil {
		return nil, err
	}
	if n := msg.Size(); n > MaxC2DSize {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindMessageTooLarge, Code: 413001,
			Err: fmt.Errorf("the message has %d bytes, the limit to a device is %d", n, MaxC2DSize)}
	}
	switch msg.Ack {
	case "", "none", "positive", "negative", "full":
	default:
		return nil, backend.Invalid(op, "Ack is %q, it can be none, positive, negative or full", msg.Ack)
	}
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	when := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	m := &amqp.Message{
		Data: [][]byte{msg.Payload},
		Properties: &amqp.MessageProperties{
			To:          text("/devices/" + url.PathEscape(deviceID) + "/messages/devicebound"),
			ContentType: text(msg.ContentType), ContentEncoding: text(msg.ContentEncoding),
			AbsoluteExpiryTime: when(msg.ExpiryTime), CreationTime: when(msg.CreationTime),
		},
		ApplicationProperties: map[string]any{},
	}
	if msg.MessageID != "" {
		m.Properties.MessageID = msg.MessageID
	}
	if msg.CorrelationID != "" {
		m.Properties.CorrelationID = msg.CorrelationID
	}
	if msg.UserID != "" {
		m.Properties.UserID = []byte(msg.UserID)
	}
	for k, v := range msg.Properties {
		m.ApplicationProperties[k] = v
	}
	if msg.Ack != "" {
		m.ApplicationProperties["iothub-ack"] = msg.Ack
	}
	return m, nil
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
