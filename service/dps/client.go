package dps

import (
	"context"
	"net/http"
	"strings"

	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/service"
)

// apiVersion is that of all requests.
const apiVersion = "2021-10-01"

// Scope is what tokens of Microsoft Entra ID for the Device Provisioning Service
// are asked for.
const Scope = "https://azure-devices-provisioning.net/.default"

// ClientOptions are those of package service; WebSocket and AMQPPort have no effect
// here.
type ClientOptions = service.ClientOptions

// ETag is a version of an entity, as in package service; [service.AnyETag] is the
// condition that holds for every version. Those of this service are kept as it
// gives them, which is in quotes.
type ETag = service.ETag

// Client is a back end's access to one Device Provisioning Service. It is safe for
// use by many goroutines. It opens connections when they are needed.
type Client struct {
	host string
	rest *rest.Client
}

// NewClientFromConnectionString returns a client for the service of a connection
// string with a shared access policy: HostName=….azure-devices-provisioning.net;
// SharedAccessKeyName=…;SharedAccessKey=…. It does no I/O.
func NewClientFromConnectionString(connectionString string, o *ClientOptions) (*Client, error) {
	var config backend.Config
	if err := config.FromConnectionString(connectionString); err != nil {
		return nil, err
	}
	return newClient(config, o)
}

// NewClient returns a client for the service at hostName that authenticates with
// tokens of Microsoft Entra ID, which source is asked for with [Scope]. It does no
// I/O.
func NewClient(hostName string, source service.TokenSource, o *ClientOptions) (*Client, error) {
	if source == nil {
		return nil, backend.Invalid("options", "there is no token source")
	}
	return newClient(backend.Config{Host: hostName, Source: source.Token, Scope: Scope}, o)
}

func newClient(config backend.Config, o *ClientOptions) (*Client, error) {
	config.APIVersion, config.UserAgent, config.Options = apiVersion, "iothub-go-service-dps", (*backend.Options)(o)
	s, err := backend.New(config)
	if err != nil {
		return nil, err
	}
	return &Client{host: s.Host, rest: s.REST}, nil
}

// HostName returns the host name of the service, as the connection string has it.
func (c *Client) HostName() string { return c.host }

// Close refuses new calls with iothub.ErrClosed, waits for requests under way and
// closes the connections. When ctx ends, what is still under way is broken off; it
// is open then whether the service has done it.
func (c *Client) Close(ctx context.Context) error { return c.rest.Close(ctx) }

// String names the service, without secrets.
func (c *Client) String() string { return "dps.Client(" + c.host + ")" }

// condition makes a request depend on a version; "" is no condition.
func condition(r *rest.Request, etag ETag) {
	if etag == service.AnyETag {
		// Bare, as the Azure CLI sends it to this service.
		r.Header = http.Header{"If-Match": {rest.AnyETag}}
		return
	}
	r.IfMatch = string(etag)
}

// validateID checks an id of up to 128 letters, digits and "-._:", which ends with a
// letter, a digit or "-". (Terminology of the Device Provisioning Service)
func validateID(op, what, id string) error {
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case id == "":
		return backend.Invalid(op, "the %s is empty", what)
	case len(id) > 128:
		return backend.Invalid(op, "the %s has %d characters, it can have up to 128", what, len(id))
	case strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune(alnum+"-._:", r) }):
		return backend.Invalid(op, "the %s %q has other characters than letters, digits and -._:", what, id)
	case !strings.ContainsRune(alnum+"-", rune(id[len(id)-1])):
		return backend.Invalid(op, "the %s %q does not end with a letter, a digit or -", what, id)
	}
	return nil
}

// remove deletes what has a version.
func (c *Client) remove(ctx context.Context, op string, etag ETag, path ...string) error {
	if err := backend.NeedETag(op, string(etag)); err != nil {
		return err
	}
	r := &rest.Request{Op: op, Method: http.MethodDelete, Path: path, Idempotent: true}
	condition(r, etag)
	_, err := c.rest.Do(ctx, r, nil)
	return err
}
