package amqpfront

import (
	"context"
	"errors"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/head"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// serve is what serves a link until its context ends.
type serve = func(ctx context.Context) error

// direction says which side of a link a client may be on at an address.
type direction uint8

const (
	sends direction = 1 << iota
	receives
	both = sends | receives
)

// route says who serves the links at an address; see the package comment.
type route struct {
	pattern string
	client  direction
	need    core.Permission
	public  bool // no token is needed to attach
	open    func(l *link) (serve, error)
}

// routes are all addresses. The first one that matches counts.
var routes = []route{
	{pattern: "$cbs", client: both, public: true, open: openCBS},
	{pattern: "messages/devicebound", client: sends, need: core.ServiceConnect, open: openDeviceBound},
	{pattern: "messages/servicebound/feedback", client: receives, need: core.ServiceConnect, open: openFeedback},
	{pattern: "messages/servicebound/filenotifications", client: receives, need: core.ServiceConnect, open: openFileNotifications},
	{pattern: "$management", client: both, public: true, open: openManagement},
	{pattern: "*/$management", client: both, public: true, open: openManagement},
	{pattern: "*/consumergroups/*/partitions/*", client: receives, public: true, open: openEvents},
	{pattern: "*", client: sends, need: core.ServiceConnect, open: refuseEvents},
	{pattern: "*/partitions/*", client: sends, need: core.ServiceConnect, open: refuseEvents},
	{pattern: "*/" + registrations + "/*", client: both, public: true, open: openRegistration},
	{pattern: "messages/events", client: receives, need: core.ServiceConnect, open: redirect("/")},
	{pattern: "messages/events/$management", client: both, need: core.ServiceConnect, open: redirect("/$management")},
}

// route finds the node at the address of a link, checks that the client may use
// it, and opens it.
func (c *conn) route(l *link) (serve, error) {
	address, err := linkAddress(l)
	if err != nil {
		return nil, err
	}
	if l.path, err = splitAddress(address); err != nil {
		return nil, err
	}
	side := sends
	if l.sends {
		side = receives
	}
	for _, r := range routes {
		if !head.Match(r.pattern, l.path) || r.client&side == 0 {
			continue
		}
		if !r.public {
			if err := l.authorize(r.need, l.path...); err != nil {
				return nil, err
			}
		}
		return r.open(l)
	}
	if _, err := c.authorize(0); err != nil && len(c.certificates()) == 0 && !c.hasIdentity() {
		return nil, err // who has proved nothing learns nothing
	}
	return nil, &core.Error{Status: 404, Code: 404006, Name: "AmqpAddressNotFound",
		Message: "The link address '" + address + "' did not match any of the expected formats."}
}

func (c *conn) hasIdentity() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.grants {
		if g.principal != nil {
			return true
		}
	}
	return false
}

// linkAddress is the address of the hub's end of a link.
func linkAddress(l *link) (string, error) {
	switch {
	case l.request.Coordinator:
		return "", &amqp.Error{Condition: amqp.ErrCondNotImplemented, Description: "there are no transactions here"}
	case l.sends && l.request.Source != nil:
		if l.request.Source.Dynamic {
			return "", &amqp.Error{Condition: amqp.ErrCondNotImplemented, Description: "there are no dynamic nodes here"}
		}
		return l.request.Source.Address, nil
	case !l.sends && l.request.Target != nil:
		if l.request.Target.Dynamic {
			return "", &amqp.Error{Condition: amqp.ErrCondNotImplemented, Description: "there are no dynamic nodes here"}
		}
		return l.request.Target.Address, nil
	}
	return "", nil
}

// splitAddress takes scheme and host off an address, and cuts it into words that
// are not escaped. (wire-service D3)
func splitAddress(address string) ([]string, error) {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		_, address, _ = strings.Cut(rest, "/")
	}
	words := strings.Split(strings.Trim(address, "/"), "/")
	for i, w := range words {
		text, err := url.PathUnescape(w)
		if err != nil {
			return nil, core.NewError(core.CodeArgumentInvalid, "the address is not properly escaped")
		}
		words[i] = text
	}
	return words, nil
}

// amqpError gives an error of the hub its condition. The description is the JSON
// that clients read the code from. (wire-service D3, D4; wire-device D.7)
func amqpError(err error) *amqp.Error {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		e = core.NewError(core.CodeServerError, "the request failed")
	}
	id := newTrackingID()
	info := amqp.Map{
		{Key: amqp.Symbol("com.microsoft:tracking-id"), Value: id},
		{Key: amqp.Symbol("com.microsoft:error-code"), Value: int32(e.Code)},
		{Key: amqp.Symbol("com.microsoft:is-filtered"), Value: true},
	}
	if e.RetryAfter > 0 {
		info = append(info, amqp.Entry{Key: amqp.Symbol("retry-after"), Value: retryAfter(e.RetryAfter)})
	}
	text := head.ErrorBody(e, id, time.Now())
	return &amqp.Error{Condition: condition(e), Description: string(text), Info: info}
}

// retryAfter is a wait in the whole seconds that clients read.
func retryAfter(d time.Duration) int32 { return int32(math.Ceil(d.Seconds())) }

func condition(e *core.Error) amqp.Symbol {
	switch e.Code {
	case core.CodeQuotaExceeded:
		return "com.microsoft:quota-exceeded"
	case core.CodeMessageLockLost:
		return "com.microsoft:message-lock-lost"
	case core.CodeDeviceAlreadyExists:
		return "com.microsoft:device-already-exists"
	case core.CodeMessageTooLarge:
		return amqp.ErrCondMessageSizeExceeded
	case core.CodeServiceUnavailable, core.CodeServerBusy:
		return "com.microsoft:server-busy"
	}
	switch e.Status {
	case 400:
		return "com.microsoft:argument-error"
	case 401:
		return amqp.ErrCondUnauthorized
	case 403:
		return amqp.ErrCondResourceLimit
	case 404:
		return amqp.ErrCondNotFound
	case 405:
		return amqp.ErrCondNotAllowed
	case 412:
		return "com.microsoft:precondition-failed"
	case 429:
		return "com.microsoft:device-container-throttled"
	case 504:
		return "com.microsoft:timeout"
	}
	return amqp.ErrCondInternal
}
