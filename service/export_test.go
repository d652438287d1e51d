package service

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub"
)

// TransportOf returns what sends the requests of c.
func TransportOf(c *Client) http.RoundTripper { return c.rest.Transport }

// C2DMessage returns the AMQP message of msg.
func C2DMessage(deviceID string, msg *iothub.Message) (*amqp.Message, error) {
	return c2dMessage("test", deviceID, msg)
}

// AMQPError returns what becomes of an error of AMQP.
func AMQPError(ctx context.Context, err error) error { return amqpError(ctx, "test", err) }

// ParseRedirect returns where a redirect leads.
func ParseRedirect(info map[string]any) (host, port, hub string, ok bool) {
	at, ok := parseRedirect(info)
	if !ok {
		return "", "", "", false
	}
	return at.host, at.port, at.hub, true
}

// NewEvent returns the event of what Event Hubs has.
func NewEvent(partition string, r *azeventhubs.ReceivedEventData) *Event {
	return newEvent(partition, r)
}
