package amqpfront

import (
	"context"
	"slices"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// delivery is a message that the client has sent.
type delivery struct {
	// Format is the message-format of the transfer, 0 for a message of AMQP.
	Format uint32
	// Payload is the message as it was sent. It is the node's.
	Payload []byte

	link      *link
	id        uint32
	presettle bool // settled by the client; guarded by conn.mu like the rest
	done      bool
	gone      bool
}

func (d *delivery) cost() int { return len(d.Payload) + deliveryCost }

// Message decodes the delivery; the message aliases it. Errors are *amqp.Error, to
// be given back as a rejection.
func (d *delivery) Message() (*amqp.Message, error) {
	if d.Format != 0 {
		return nil, &amqp.Error{Condition: amqp.ErrCondNotImplemented, Description: "this message-format is not taken here"}
	}
	m := new(amqp.Message)
	if err := m.Decode(d.Payload); err != nil {
		return nil, &amqp.Error{Condition: amqp.ErrCondDecode, Description: err.Error()}
	}
	return m, nil
}

// receive calls handle with one delivery after the other until the link ends or
// handle fails, which detaches the link.
func (l *link) receive(ctx context.Context, handle func(ctx context.Context, d *delivery) error) error {
	for {
		l.c.mu.Lock()
		var d *delivery
		if len(l.queue) > 0 {
			d = l.queue[0]
			l.queue[0] = nil
			l.queue = l.queue[1:]
		}
		l.c.mu.Unlock()
		if d != nil {
			if err := handle(ctx, d); err != nil {
				return err
			}
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// transferLocked takes in a transfer on a link on which the client sends.
func (l *link) transferLocked(p *amqp.Transfer) error {
	d := l.partial
	if d == nil {
		switch {
		case !p.DeliveryID.OK || p.DeliveryTag == nil:
			l.detachLocked(&amqp.Error{Condition: amqp.ErrCondInvalidField, Description: "the first transfer of a delivery has no delivery-id or no delivery-tag"})
			return nil
		case l.credit == 0:
			l.detachLocked(&amqp.Error{Condition: amqp.ErrCondTransferLimit, Description: "the link has no credit"})
			return nil
		}
		l.credit--
		l.count++
		d = &delivery{link: l, id: p.DeliveryID.V, Format: p.MessageFormat.Or(0)}
		l.c.held += deliveryCost
		l.partial = d
	} else if p.DeliveryID.OK && p.DeliveryID.V != d.id {
		l.detachLocked(&amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: "a delivery began before the one before it was whole"})
		return nil
	}
	d.presettle = d.presettle || p.Settled.Or(false)
	if p.Aborted {
		l.partial = nil
		l.c.held -= d.cost()
		l.grantLocked()
		return nil
	}
	if len(d.Payload)+len(p.Payload) > l.maxMessage {
		l.detachLocked(&amqp.Error{Condition: amqp.ErrCondMessageSizeExceeded, Description: "the message is larger than max-message-size"})
		return nil
	}
	limit := maxHeld
	if !l.c.proved {
		limit = unprovedHeld
	}
	if l.c.held+len(p.Payload) > limit {
		return &amqp.Error{Condition: amqp.ErrCondResourceLimit, Description: "too much was sent that the hub has not settled yet"}
	}
	l.c.held += len(p.Payload)
	d.Payload = append(slices.Grow(d.Payload, len(p.Payload)), p.Payload...)
	if p.More {
		return nil
	}
	l.partial = nil
	l.outstanding++
	if !d.presettle {
		l.s.received[d.id] = d
	}
	l.queue = append(l.queue, d)
	l.wakeUp()
	return nil
}

// settle tells the client what has become of the delivery. Only the first call
// counts, and none after the link has ended.
func (d *delivery) settle(state amqp.State) {
	l := d.link
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if d.done {
		return
	}
	d.done = true
	if !d.presettle && !d.gone && !l.detached {
		l.c.frameLocked(amqp.FrameAMQP, l.s.channel, &amqp.Disposition{
			Role: amqp.RoleReceiver, First: d.id, Settled: !l.second, State: state,
		})
	}
	if !l.second || d.presettle || l.detached {
		d.forgetLocked()
	}
	l.c.flushLocked()
}

// reject settles the delivery as refused.
func (d *delivery) reject(err error) { d.settle(amqp.Rejected(amqpError(err))) }

// forgetLocked gives back what a delivery takes, once both sides have settled it.
func (d *delivery) forgetLocked() {
	if d.gone {
		return
	}
	d.gone = true
	l := d.link
	delete(l.s.received, d.id)
	l.c.held -= d.cost()
	l.outstanding--
	if !l.detached {
		l.grantLocked()
	}
}

// grantLocked gives the client as much credit as the window has room for, in
// steps of half of it.
func (l *link) grantLocked() {
	credit := l.window - l.outstanding
	if l.partial != nil {
		credit--
	}
	if int(l.credit) > l.window/2 || credit <= int(l.credit) {
		return
	}
	l.credit = uint32(credit)
	l.sayFlowLocked(&amqp.Flow{})
}
