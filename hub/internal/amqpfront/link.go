package amqpfront

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// errLinkEnded is what calls on a link return that has ended; there is nobody to
// tell.
var errLinkEnded = errors.New("the link has ended")

// link is one link, as its node sees it. Fields are read-only once it is served
// unless they say otherwise.
type link struct {
	c      *conn
	s      *session
	handle uint32
	name   string
	sends  bool // the hub sends, the client receives
	// request is what the client has attached with, answer what it gets back.
	request, answer *amqp.Attach
	// path is the address, unescaped.
	path []string
	// window is the credit of a link on which the client sends; maxMessage the
	// largest message. The node may set both in open.
	window, maxMessage int

	// need and scope are what a token has to have; see authorize.
	need  core.Permission
	scope []string

	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}

	// conn.mu guards what follows.
	detached bool // it is over, though the client may not know yet
	expires  time.Time
	credit   uint32
	count    uint32 // delivery-count

	// Of a link on which the hub sends.
	drain     bool
	pause     context.CancelFunc // ends the wait for the next message
	unsettled int
	settled   bool     // messages are sent settled; read-only
	replies   *answers // of a node that answers requests; read-only
	buf       []byte

	// Of a link on which the client sends.
	partial     *delivery
	queue       []*delivery
	outstanding int  // handed over or queued, and not settled
	second      bool // the client settles after the hub
}

func (l *link) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// authorize checks that a token on this connection has the right and reaches the
// resource, which is a path of words that are not escaped, and has it checked
// again when that token runs out. It is for open.
func (l *link) authorize(need core.Permission, scope ...string) error {
	until, err := l.c.authorize(need, scope...)
	if err != nil {
		return err
	}
	l.need, l.scope, l.expires = need, scope, until
	return nil
}

// handleAttach attaches a link or refuses it. (AMQP 2.6.3)
func (c *conn) handleAttach(channel uint16, body []byte) error {
	p := new(amqp.Attach)
	if err := p.Decode(slices.Clone(body)); err != nil {
		return err
	}
	l, err := c.newLink(channel, p)
	if l == nil || err != nil {
		return err
	}
	serve, refusal := c.route(l)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.flushLocked()
	if l.s.ended || c.dead || c.closing {
		c.links--
		return nil
	}
	l.s.links[l.handle] = l
	if refusal != nil {
		c.links--
		c.front.log.Debug("amqp: a link was refused", "client", c.who, "remote", c.raw.RemoteAddr().String(), "reason", refusal)
		l.refuseLocked(amqpError(refusal))
		return nil
	}
	l.attachLocked()
	c.wg.Add(1)
	go l.serve(serve)
	return nil
}

// newLink checks what has nothing to do with the address. It returns nil when the
// session is at its end.
func (c *conn) newLink(channel uint16, p *amqp.Attach) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.flushLocked()
	s := c.sessions[channel]
	if s == nil {
		return nil, &amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: fmt.Sprintf("attach on channel %d, on which no session is", channel)}
	}
	limit := maxLinks
	if !c.proved {
		limit = unprovedLinks
	}
	switch {
	case s.ended:
		return nil, nil
	case p.Handle > handleMax:
		return nil, &amqp.Error{Condition: amqp.ErrCondFraming, Description: fmt.Sprintf("handle %d is above handle-max, which is %d", p.Handle, handleMax)}
	case s.links[p.Handle] != nil:
		s.failLocked(amqp.ErrCondHandleInUse, "handle %d is attached already", p.Handle)
		return nil, nil
	case c.links >= limit:
		s.failLocked(amqp.ErrCondResourceLimit, "the connection has %d links already", limit)
		return nil, nil
	}
	c.links++
	l := &link{
		c: c, s: s, handle: p.Handle, name: p.Name, sends: p.Role == amqp.RoleReceiver, request: p,
		window: defaultWindow, maxMessage: defaultMaxMessage, wake: make(chan struct{}, 1),
		settled: p.SenderSettleMode.Or(amqp.SenderMixed) == amqp.SenderSettled,
		second:  p.ReceiverSettleMode.Or(amqp.ReceiverFirst) == amqp.ReceiverSecond,
	}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	l.answer = &amqp.Attach{
		Name: p.Name, Handle: p.Handle, Role: !p.Role,
		// Clients leave when a mode that they asked for is not echoed.
		SenderSettleMode: p.SenderSettleMode, ReceiverSettleMode: p.ReceiverSettleMode,
	}
	if p.Source != nil {
		source := *p.Source
		source.Filter = nil // until the node accepts it
		l.answer.Source = &source
	}
	if p.Target != nil {
		target := *p.Target
		l.answer.Target = &target
	}
	if l.sends {
		l.answer.InitialDeliveryCount = amqp.Some(uint32(0))
	}
	return l, nil
}

// attachLocked answers with what the link has become, and gives credit.
func (l *link) attachLocked() {
	if !l.sends {
		l.answer.MaxMessageSize = amqp.Some(uint64(l.maxMessage))
		l.count = l.request.InitialDeliveryCount.Or(0)
	}
	l.c.frameLocked(amqp.FrameAMQP, l.s.channel, l.answer)
	if !l.sends {
		l.grantLocked()
	}
	if !l.expires.IsZero() {
		l.c.watchLocked()
	}
}

// refuseLocked attaches without source and target, and detaches. (AMQP 2.6.3)
func (l *link) refuseLocked(e *amqp.Error) {
	l.answer.Source, l.answer.Target = nil, nil
	l.c.frameLocked(amqp.FrameAMQP, l.s.channel, l.answer)
	l.detachLocked(e)
}

// serve runs the node.
func (l *link) serve(node func(context.Context) error) {
	c := l.c
	defer c.wg.Done()
	err := node(l.ctx)
	c.mu.Lock()
	c.links--
	var e *amqp.Error
	if err != nil {
		e = amqpError(err)
	}
	l.detachLocked(e)
	c.flushLocked()
	calls := c.takeCallsLocked()
	c.mu.Unlock()
	run(calls)
}

// detachLocked ends the link from the side of the hub; nothing if it has ended.
func (l *link) detachLocked(e *amqp.Error) {
	if l.detached {
		return
	}
	l.endLocked()
	l.c.frameLocked(amqp.FrameAMQP, l.s.channel, &amqp.Detach{Handle: l.handle, Closed: true, Error: e})
}

// endLocked gives up what the link holds. What was sent and is not settled is told
// to its node as lost.
func (l *link) endLocked() {
	if l.detached {
		return
	}
	l.detached = true
	l.cancel()
	if l.partial != nil {
		l.c.held -= l.partial.cost()
		l.partial = nil
	}
	for _, d := range l.queue { // nobody has seen them
		d.forgetLocked()
	}
	l.queue = nil
	for id, m := range l.s.sent {
		if m.link == l {
			m.endLocked(id, amqp.State{}, nil)
		}
	}
	for _, d := range l.s.received {
		if d.link == l {
			delete(l.s.received, d.id)
		}
	}
}

// sayFlowLocked sends a flow with the state of the link filled in.
func (l *link) sayFlowLocked(p *amqp.Flow) {
	p.Handle, p.DeliveryCount, p.LinkCredit = amqp.Some(l.handle), amqp.Some(l.count), amqp.Some(l.credit)
	l.s.sayFlowLocked(p)
}
