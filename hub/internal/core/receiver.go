package core

import (
	"slices"
	"time"
)

// Receiver takes messages off the queue of one identity for one connection: the
// cloud-to-device messages of a device, the inputs of a module. A message that
// was taken belongs to the receiver until it is settled or the receiver is
// closed; it gets each message once. Other receivers may have it when its lock
// lapses, after a minute, and until one of them takes it the first may still
// complete it.
type Receiver struct {
	mail *mail
	box  *mailbox
	wake func()
}

// Receive opens a receiver on the queue of the identity. wake tells that Next may
// have something: it is called from any goroutine, off every lock, and must not
// block. Every Receive is ended by a Close.
func (a *Attachment) Receive(wake func()) *Receiver {
	m := a.hub.mail
	r := &Receiver{mail: m, wake: wake}
	m.mu.Lock()
	defer m.mu.Unlock()
	r.box = m.boxLocked(a.key, a.principal.GenerationID)
	r.box.receivers = append(r.box.receivers, r)
	return r
}

// Next takes the oldest message there is to take.
func (r *Receiver) Next() (Message, bool) {
	m, b := r.mail, r.box
	now := m.hub.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(b.receivers, r) {
		return Message{}, false
	}
	l := m.takeLocked(b, r, now)
	if l == nil {
		return Message{}, false
	}
	l.owner = r
	l.lockedUntil = now.Add(lockTime)
	if len(b.receivers) > 1 {
		m.dueLocked(b, l.lockedUntil)
	}
	return *l.Message, true
}

// takeLocked finds the oldest message that is not locked. A message that is
// still being stored holds back those behind it: the order is kept.
func (m *mail) takeLocked(b *mailbox, r *Receiver, now time.Time) *letter {
	if !b.due.IsZero() && !now.Before(b.due) {
		m.sweepLocked(b, now)
	}
	for _, l := range b.letters {
		if l.doc == nil {
			return nil
		}
		if (l.owner == nil || l.owner != r) && !now.Before(l.lockedUntil) {
			return l
		}
	}
	return nil
}

// Settlement is what becomes of a message that was taken.
type Settlement uint8

// The settlements of IoT Hub. Complete is what a client does with a message that
// it has dealt with, Reject with one that it never will; Abandon gives it back,
// which counts.
const (
	Complete Settlement = iota
	Reject
	Abandon
)

// Settle settles a message that Next gave; it does nothing when the message is
// not this receiver's any more.
func (r *Receiver) Settle(seq uint64, s Settlement) {
	m, b := r.mail, r.box
	m.mu.Lock()
	var wake []*Receiver
	if i, ok := b.find(seq); ok && b.letters[i].owner == r {
		wake = m.settleLocked(b, b.letters[i], s)
	}
	m.mu.Unlock()
	wakeAll(wake)
}

// Close gives back what was taken and not settled, which does not count as a
// delivery.
func (r *Receiver) Close() {
	m, b := r.mail, r.box
	m.mu.Lock()
	b.receivers = slices.DeleteFunc(b.receivers, func(x *Receiver) bool { return x == r })
	for _, l := range b.letters {
		if l.owner == r {
			l.owner, l.lockedUntil = nil, time.Time{}
		}
	}
	m.sweepLocked(b, m.hub.now())
	wake := slices.Clone(b.receivers)
	m.tidyLocked(b)
	m.mu.Unlock()
	wakeAll(wake)
}

// settleLocked settles a message and returns whom to wake.
func (m *mail) settleLocked(b *mailbox, l *letter, s Settlement) (wake []*Receiver) {
	l.owner, l.lockedUntil = nil, time.Time{}
	switch s {
	case Complete:
		m.endLocked(b, l, feedbackSuccess)
	case Reject:
		m.endLocked(b, l, feedbackRejected)
	case Abandon:
		l.DeliveryCount++
		if b.key.module != "" {
			return slices.Clone(b.receivers) // the limit is one of devices
		}
		if l.DeliveryCount >= m.hub.cfg.MaxDeliveryCount {
			m.endLocked(b, l, feedbackDeliveryCount)
			break
		}
		m.storeAgainLocked(l)
		return slices.Clone(b.receivers)
	}
	return nil
}

// endLocked takes a message out of its queue for good, with the feedback that its
// sender has asked for.
func (m *mail) endLocked(b *mailbox, l *letter, outcome string) {
	wanted := l.Ack == AckFull || l.Ack == AckPositive && outcome == feedbackSuccess ||
		l.Ack == AckNegative && outcome != feedbackSuccess
	if wanted && b.key.module == "" {
		// Before the message goes: a crash in between repeats the record, and
		// loses none.
		m.hub.feedback.add(m, FeedbackRecord{
			OriginalMessageID: l.MessageID, EnqueuedTime: Time{m.hub.now().UTC()}, StatusCode: outcome, Description: outcome,
			DeviceID: b.key.device, DeviceGenerationID: b.generation,
		})
	}
	m.removeLocked(b, l)
}

// storeAgainLocked has the delivery count of a message stored.
func (m *mail) storeAgainLocked(l *letter) {
	data, err := l.doc.encode()
	if err != nil {
		m.hub.log.Error("a delivery count was not stored", "error", err)
		return
	}
	m.putLocked(m.spool, l.doc.key, data)
}

// sweepLocked ends what has expired and is not locked, and sets the clock for
// what comes next.
func (m *mail) sweepLocked(b *mailbox, now time.Time) {
	var due time.Time
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	for _, l := range slices.Clone(b.letters) {
		switch {
		case l.doc == nil:
		case now.Before(l.lockedUntil):
			sooner(l.lockedUntil)
		case !now.Before(l.expires):
			m.endLocked(b, l, feedbackExpired)
		default:
			sooner(l.expires)
		}
	}
	b.due = time.Time{}
	if !due.IsZero() {
		m.dueLocked(b, due)
	}
}

// dueLocked has the queue looked at when it is time.
func (m *mail) dueLocked(b *mailbox, at time.Time) {
	if m.closed || !b.due.IsZero() && !at.Before(b.due) {
		return
	}
	b.due = at
	wait := max(at.Sub(m.hub.now()), time.Millisecond)
	if b.timer == nil {
		b.timer = time.AfterFunc(wait, func() { m.tick(b) })
		return
	}
	b.timer.Reset(wait)
}

func (m *mail) tick(b *mailbox) {
	m.mu.Lock()
	if m.closed || m.boxes[b.key] != b {
		m.mu.Unlock()
		return
	}
	m.sweepLocked(b, m.hub.now())
	wake := slices.Clone(b.receivers)
	m.mu.Unlock()
	wakeAll(wake)
}
