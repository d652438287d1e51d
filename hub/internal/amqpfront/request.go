package amqpfront

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// maxAnswers bounds the answers that wait on a link for credit.
const maxAnswers = 64

// answers is a queue of messages for a link on which a node answers requests.
type answers struct {
	mu    sync.Mutex
	queue []*amqp.Message
	added chan struct{} // cap 1
}

// push reports whether there was room.
func (a *answers) push(m *amqp.Message) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) >= maxAnswers {
		return false
	}
	a.queue = append(a.queue, m)
	select {
	case a.added <- struct{}{}:
	default:
	}
	return true
}

func (a *answers) next(ctx context.Context) (*outgoing, error) {
	for {
		a.mu.Lock()
		var m *amqp.Message
		if len(a.queue) > 0 {
			m, a.queue = a.queue[0], a.queue[1:]
		}
		a.mu.Unlock()
		if m != nil {
			return &outgoing{Message: m}, nil
		}
		select {
		case <-a.added:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// serveAnswers is what serves the receiving link of a node that answers requests.
func (l *link) serveAnswers() serve {
	l.replies = &answers{added: make(chan struct{}, 1)}
	return func(context.Context) error { return l.send(l.replies.next) }
}

// serveRequests is what serves the sending link: answer is called with one request
// after the other and gives the answer to it, without ids, or the error that the
// request is rejected with.
func (l *link) serveRequests(answer func(ctx context.Context, request *amqp.Message) (*amqp.Message, error)) serve {
	return func(ctx context.Context) error {
		return l.receive(ctx, func(ctx context.Context, d *delivery) error {
			m, err := d.Message()
			if err != nil {
				d.reject(err)
				return nil
			}
			reply, err := answer(ctx, m)
			if err != nil {
				d.reject(err)
				return nil
			}
			request := m.Properties
			if request == nil {
				request = &amqp.Properties{}
			}
			to := l.replyLink(request.ReplyTo)
			if to == nil {
				d.reject(&amqp.Error{Condition: amqp.ErrCondNotFound, Description: "there is no link to send the answer to: attach one that receives from the same address"})
				return nil
			}
			if reply.Properties == nil {
				reply.Properties = &amqp.Properties{}
			}
			reply.Properties.To = request.ReplyTo
			if reply.Properties.CorrelationID = request.MessageID; request.MessageID == nil {
				reply.Properties.CorrelationID = request.CorrelationID
			}
			if !to.replies.push(reply) {
				d.reject(&amqp.Error{Condition: amqp.ErrCondResourceLimit, Description: "too many answers wait for credit"})
				return nil
			}
			d.settle(amqp.Accepted)
			return nil
		})
	}
}

// replyLink finds where to answer: the link of that name or target, or else any
// that receives from the same node; on the session of the request first.
func (l *link) replyLink(replyTo string) *link {
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var best *link
	rank := 0
	consider := func(o *link, bonus int) {
		if !o.sends || o.detached || o.replies == nil {
			return
		}
		r := bonus
		switch {
		case replyTo != "" && (o.name == replyTo || o.request.Target != nil && o.request.Target.Address == replyTo):
			r += 4
		case samePath(o.path, l.path):
			r += 2
		default:
			return
		}
		if r > rank {
			best, rank = o, r
		}
	}
	for _, o := range l.s.links {
		consider(o, 1)
	}
	for _, s := range c.sessions {
		if s != l.s {
			for _, o := range s.links {
				consider(o, 0)
			}
		}
	}
	return best
}

func samePath(a, b []string) bool { return slices.EqualFunc(a, b, strings.EqualFold) }
