package core

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/iothub-go/iothub/internal/guid"
)

// What a sender may ask to hear about a cloud-to-device message: nothing, that it
// was completed, that it never will be, or both.
const (
	AckNone     = "none"
	AckPositive = "positive"
	AckNegative = "negative"
	AckFull     = "full"
)

const (
	// maxC2DBytes is the largest cloud-to-device message (H.1).
	maxC2DBytes = 64 << 10
	// maxC2DDepth is how many may be in the queue of a device, locked ones
	// included (H.1).
	maxC2DDepth = 50
	// maxMessageTTL is how far in the future a message may expire (H.1).
	maxMessageTTL  = 48 * time.Hour
	maxMessageID   = 128
	maxContentType = 1024
)

// SendC2D puts a message into the queue of a device and returns when it is
// durable. The message is the hub's from then on. Errors are *Error: 404001 for
// an unknown or disabled device, 403004 when 50 messages wait already, 413001
// above 64 KiB, 403009 for an expiry more than 48 hours ahead, 400004 for a field
// that is not valid, 503005 when the queues of all devices are too large. After
// the error of ctx the message may be in the queue or not.
func (h *Hub) SendC2D(ctx context.Context, deviceID string, msg Message) error {
	now := h.now()
	if err := checkC2D(&msg, now); err != nil {
		return err
	}
	dev, err := h.enabledDevice(deviceID)
	if err != nil {
		return err
	}
	msg.To = "/devices/" + deviceID + "/messages/deviceBound"
	msg.EnqueuedTime, msg.DeliveryCount, msg.LockToken = now.UTC(), 0, ""
	done := make(chan error, 1)
	if err := h.mail.send(dev, &msg, now, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *mail) send(dev *deviceDoc, msg *Message, now time.Time, done func(error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed()
	}
	b := m.boxLocked(identityKey{device: dev.ID}, dev.GenerationID)
	if !b.due.IsZero() && !now.Before(b.due) {
		m.sweepLocked(b, now)
		b = m.boxLocked(b.key, b.generation) // an empty one was forgotten
	}
	if len(b.letters) >= maxC2DDepth {
		return NewError(CodeQueueDepthExceeded, "%d messages wait for device %s already, which is the limit", len(b.letters), dev.ID)
	}
	if err := m.roomLocked(msg.size() + messageOverhead); err != nil {
		m.tidyLocked(b)
		return err
	}
	m.storeLocked(b, m.addLocked(b, msg, &parcel{done: done}))
	return nil
}

// roomLocked bounds the memory that queues take.
func (m *mail) roomLocked(n int) error {
	if m.bytes+n > m.hub.cfg.MaxQueued {
		return NewError(CodeServerBusy, "the queues of devices and modules hold %d bytes already", m.bytes)
	}
	return nil
}

// enabledDevice finds a device that the service may talk to. IoT Hub gives the
// same code for one that is disabled as for one that is not there (H.4).
func (h *Hub) enabledDevice(deviceID string) (*deviceDoc, error) {
	h.mu.RLock()
	dev := h.registry[deviceID]
	h.mu.RUnlock()
	switch {
	case dev == nil:
		return nil, deviceNotFound(deviceID)
	case dev.Status != StatusEnabled:
		return nil, NewError(CodeDeviceNotFound, "Device %s is disabled", deviceID)
	}
	return dev, nil
}

// checkC2D checks what a sender sets.
func checkC2D(m *Message, now time.Time) error {
	if size := m.size(); size > maxC2DBytes {
		return NewError(CodeMessageTooLarge, "the message has %d bytes, the limit is %d", size, maxC2DBytes)
	}
	switch m.Ack {
	case "", AckNone, AckPositive, AckNegative, AckFull:
	default:
		return NewError(CodeArgumentInvalid, "the feedback asked for is %q, allowed are none, positive, negative and full", m.Ack)
	}
	if !m.Expiry.IsZero() && m.Expiry.Sub(now) > maxMessageTTL {
		return NewError(CodeInvalidExpiry, "the message expires at %s, more than %s ahead",
			m.Expiry.UTC().Format(time.RFC3339), maxMessageTTL)
	}
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"message-id", m.MessageID, maxMessageID},
		{"correlation-id", m.CorrelationID, maxMessageID},
		{"user-id", m.UserID, maxC2DBytes},
		{"content-type", m.ContentType, maxContentType},
		{"content-encoding", m.ContentEncoding, maxContentType},
	} {
		if len(f.value) > f.limit || !isText(f.value) {
			return NewError(CodeArgumentInvalid, "%s is longer than %d characters or no UTF-8 text", f.name, f.limit)
		}
	}
	for _, p := range m.Properties {
		// "$" begins the names of system properties (B.2).
		if p.Name == "" || p.Name[0] == '$' || !isText(p.Name) || !isText(p.Value) {
			return NewError(CodeArgumentInvalid,
				"property %q: a name is neither empty nor begins with $, and name and value are UTF-8 text", p.Name)
		}
	}
	return nil
}

// isText reports what MQTT can carry. [MQTT-1.5.3-1] [MQTT-1.5.3-2]
func isText(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// PurgeC2D empties the queue of a device and returns how many messages it held;
// when it returns they are gone from the storage too. 404001 without the device.
func (h *Hub) PurgeC2D(ctx context.Context, deviceID string) (int, error) {
	if _, err := h.GetDevice(deviceID); err != nil {
		return 0, err
	}
	m := h.mail
	gone := make(chan struct{})
	n := 0
	m.mu.Lock()
	if b := m.boxes[identityKey{device: deviceID}]; b != nil {
		for _, l := range append([]*letter(nil), b.letters...) {
			if l.doc != nil {
				m.endLocked(b, l, feedbackPurged)
				n++
			}
		}
	}
	started := m.choreLocked(func() { close(gone) })
	m.mu.Unlock()
	if !started {
		return n, errClosed()
	}
	select {
	case <-gone:
		return n, nil
	case <-ctx.Done():
		return n, ctx.Err()
	}
}

// LockC2D takes the oldest message of a device for a client without a connection
// of its own; false when there is none. [Hub.SettleC2D] settles it by its lock
// token within a minute, or it is back in the queue.
func (h *Hub) LockC2D(deviceID string) (Message, bool, error) {
	if _, err := h.enabledDevice(deviceID); err != nil {
		return Message{}, false, err
	}
	m, now := h.mail, h.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.boxes[identityKey{device: deviceID}]
	if b == nil {
		return Message{}, false, nil
	}
	l := m.takeLocked(b, nil, now)
	if l == nil {
		return Message{}, false, nil
	}
	l.owner, l.lockedUntil, l.LockToken = nil, now.Add(lockTime), guid.New()
	m.dueLocked(b, l.lockedUntil)
	return *l.Message, true, nil
}

// SettleC2D settles a message that LockC2D gave. Errors are *Error: 412002 when
// the lock is lost.
func (h *Hub) SettleC2D(deviceID, lockToken string, s Settlement) error {
	m, now := h.mail, h.now()
	m.mu.Lock()
	var wake []*Receiver
	found := false
	if b := m.boxes[identityKey{device: deviceID}]; b != nil && lockToken != "" {
		for _, l := range b.letters {
			if l.LockToken == lockToken && l.owner == nil && now.Before(l.lockedUntil) {
				found = true
				wake = m.settleLocked(b, l, s)
				break
			}
		}
	}
	m.mu.Unlock()
	wakeAll(wake)
	if !found {
		return NewError(CodeMessageLockLost, "the lock of the message of device %s is lost: it lasts %s", deviceID, lockTime)
	}
	return nil
}
