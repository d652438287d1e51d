// Package delivery hands events to what is outside a hub: webhooks and NATS. What
// it is given again after a failure, and in which order, is for package core.
package delivery

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Config says how to reach endpoints.
type Config struct {
	// HubName is told to webhooks.
	HubName string
	// TLS is used for https and tls addresses; nil is the system's trust.
	TLS *tls.Config
}

// New makes what delivers to an endpoint. It connects when there is something to
// deliver. The error says what is wrong with the endpoint's address.
func (c Config) New(d core.Delivery) (core.Deliverer, error) {
	if d.Webhook != nil {
		return c.newWebhook(d.Webhook)
	}
	return c.newNATS(d.NATS)
}

// record is an event as endpoints get it: the form in which IoT Hub writes events
// to storage (wire-service F2).
type record struct {
	EnqueuedTime core.Time         `json:"EnqueuedTimeUtc"`
	Properties   map[string]string `json:"Properties"`
	System       map[string]string `json:"SystemProperties"`
	Body         any               `json:"Body"`
}

// systemNames maps the names of system properties to those in records.
var systemNames = map[string]string{
	"message-id": "messageId", "correlation-id": "correlationId", "user-id": "userId",
	"content-type": "contentType", "content-encoding": "contentEncoding",
}

func (c Config) newWebhook(w *core.WebhookEndpoint) (core.Deliverer, error) {
	u, err := url.Parse(w.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// The address may hold a secret: it is not repeated.
		return nil, fmt.Errorf("the URL of endpoint %s is not one of http or https", w.Name)
	}
	transport := &http.Transport{
		TLSClientConfig: c.TLS, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	return &webhook{endpoint: w, hub: c.HubName, transport: transport, client: &http.Client{
		Transport: transport,
		// An answer that sends the events elsewhere is no confirmation, and the
		// headers are not for elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}
