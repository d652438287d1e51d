package amqpfront

import (
	"context"
	"errors"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// openCBS is the node to which clients bring their tokens. (wire-service D2)
func openCBS(l *link) (serve, error) {
	if l.sends {
		return l.serveAnswers(), nil
	}
	l.window, l.maxMessage = 32, 16<<10
	return l.serveRequests(l.putToken), nil
}

// putToken answers one request of claims-based security. The status of success is
// 200 and an int: clients take nothing else for it.
func (l *link) putToken(_ context.Context, m *amqp.Message) (*amqp.Message, error) {
	status, text := 200, "OK"
	if err := l.c.token(m); err != nil {
		e := amqpError(err)
		status, text = 500, e.Description
		if refused, ok := errors.AsType[*core.Error](err); ok {
			status, text = refused.Status, refused.Message
		}
		l.c.front.log.Info("amqp: a token was refused", "remote", l.c.raw.RemoteAddr().String(), "reason", err)
	}
	return &amqp.Message{
		ApplicationProperties: amqp.Map{
			{Key: "status-code", Value: int32(status)}, {Key: "status-description", Value: text},
		},
		HasValue: true,
	}, nil
}

func (c *conn) token(m *amqp.Message) error {
	p := m.ApplicationProperties
	name := strings.ToLower(p.Text("name"))
	if name == "" {
		return core.NewError(core.CodeArgumentInvalid, "the application property name is missing")
	}
	switch op := p.Text("operation"); op {
	case "put-token":
	case "delete-token":
		c.mu.Lock()
		delete(c.grants, name)
		c.mu.Unlock()
		return nil
	default:
		return core.NewError(core.CodeArgumentInvalid, "the operation is %q, it can be put-token or delete-token", op)
	}
	if t := p.Text("type"); !strings.EqualFold(t, "servicebus.windows.net:sastoken") {
		return core.NewError(core.CodeArgumentInvalid, "the type of the token is %q, this hub takes servicebus.windows.net:sastoken", t)
	}
	token, ok := m.Value.(string)
	if !ok {
		token = string(m.Body())
	}
	g, err := c.verify(token)
	if err != nil {
		return err
	}
	return c.addGrant(name, g)
}
