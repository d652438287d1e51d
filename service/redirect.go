package service

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/link"
)

// redirect asks the hub for its Event Hubs-compatible endpoint: a link to the
// address of its events is refused with the place where they are.
func (c *Client) redirect(ctx context.Context) (*endpoint, error) {
	const op = "find the endpoint of events"
	if c.cs == nil {
		return nil, backend.Invalid(op, "IoT Hub gives no events to tokens of Entra ID: make the client from a connection string, or use NewEventsFromConnectionString")
	}
	s, err := c.amqp.get(ctx)
	if err != nil {
		return nil, amqpError(ctx, op, err)
	}
	r, err := s.amqp.NewReceiver(ctx, "amqps://"+c.name+"/messages/events/$management", nil)
	if err == nil {
		_ = r.Close(ctx) // of no use
		return nil, &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: errors.New("the hub does not say where its events are; use NewEventsFromConnectionString")}
	}
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || e.Condition != amqp.ErrCondLinkRedirect {
		s.broken(err)
		return nil, amqpError(ctx, op, err)
	}
	at, ok := parseRedirect(e.Info)
	if !ok {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: errors.New("the hub redirects to a place that is none; use NewEventsFromConnectionString")}
	}
	at.secret = func() string { return secretPart(c.cs()) }
	if strings.EqualFold(at.host, c.name) { // a hub that has its events itself, at the ports that are known
		_, at.webSocketPort = link.SplitHost(c.host)
		if at.port == "" && c.opts.AMQPPort != 5671 {
			at.port = strconv.Itoa(c.opts.AMQPPort)
		}
	}
	return at, nil
}

// parseRedirect reads the information of a redirect: the host name, the port, and
// in the path of the address the Event Hubs-compatible name. A port other than the
// standard one counts only from the field of that name: clients in use look for
// ":5671/" in the address, so hubs write that.
func parseRedirect(info map[string]any) (*endpoint, bool) {
	u, err := url.Parse(textOf(info["address"]))
	if err != nil {
		return nil, false
	}
	at := &endpoint{host: textOf(info["hostname"])}
	if at.host == "" {
		at.host = u.Hostname()
	}
	if port := textOf(info["port"]); port != "" && port != "0" && port != "5671" {
		at.port = port
	}
	at.hub, _, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return at, at.host != "" && at.hub != ""
}
