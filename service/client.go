package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/backend"
	"github.com/iothub-go/iothub/internal/rest"
)

// apiVersion is that of the requests; only the regeneration of keys needs a newer
// one.
const apiVersion = "2021-04-12"

// userAgent names the client to the hub.
const userAgent = "iothub-go-service"

// Client is a back end's access to one IoT Hub. It is safe for use by many
// goroutines. It opens connections when they are needed.
type Client struct {
	host string // with the port of HTTPS where that is not 443
	name string // without it
	opts *backend.Options
	auth *backend.Authorizer
	cs   func() string // the connection string, a secret; nil with a token source
	rest *rest.Client
	amqp *connection
}

// NewClientFromConnectionString returns a client for the hub of a service
// connection string: HostName=…;SharedAccessKeyName=…;SharedAccessKey=…. It does
// no I/O.
func NewClientFromConnectionString(connectionString string, o *ClientOptions) (*Client, error) {
	var config backend.Config
	if err := config.FromConnectionString(connectionString); err != nil {
		return nil, err
	}
	c, err := newClient(config, o)
	if err != nil {
		return nil, err
	}
	c.cs = func() string { return connectionString }
	return c, nil
}

// NewClient returns a client for the hub at hostName that authenticates with
// tokens of Microsoft Entra ID. It does no I/O. Events cannot be read with such
// tokens: IoT Hub takes only signatures there.
func NewClient(hostName string, source TokenSource, o *ClientOptions) (*Client, error) {
	if source == nil {
		return nil, backend.Invalid("options", "there is no token source")
	}
	return newClient(backend.Config{Host: hostName, Source: source.Token, Scope: Scope}, o)
}

func newClient(config backend.Config, o *ClientOptions) (*Client, error) {
	config.APIVersion, config.UserAgent, config.Options = apiVersion, userAgent, (*backend.Options)(o)
	s, err := backend.New(config)
	if err != nil {
		return nil, err
	}
	c := &Client{host: s.Host, name: s.Name, opts: s.Options, auth: s.Auth, rest: s.REST}
	if c.amqp, err = newConnection(c, s.Port); err != nil {
		return nil, err
	}
	return c, nil
}

// HostName returns the host name of the hub, as the connection string has it.
func (c *Client) HostName() string { return c.host }

// Close refuses new calls with iothub.ErrClosed, waits for requests and messages
// under way and closes the connections, which ends receivers; readers of events
// have a Close of their own. When ctx ends, what is still under way is broken off;
// it is open then whether the hub has done it.
func (c *Client) Close(ctx context.Context) error {
	err := c.rest.Close(ctx)
	c.amqp.close(ctx)
	return err
}

// String names the hub, without secrets.
func (c *Client) String() string { return "service.Client(" + c.host + ")" }

// ETag is a version of an entity: what the hub gave with it, without quotes.
type ETag string

// AnyETag is the condition that holds for every version.
const AnyETag ETag = rest.AnyETag

// identityPath returns the path of a device or module below what begins it.
func identityPath(op, first, deviceID, moduleID string, rest ...string) ([]string, error) {
	id := iothub.Identity{DeviceID: deviceID, ModuleID: moduleID}
	if err := id.Validate(); err != nil {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: errors.Unwrap(err)}
	}
	path := []string{first, deviceID}
	if moduleID != "" {
		path = append(path, "modules", moduleID)
	}
	return append(path, rest...), nil
}

// Time is a time as IoT Hub writes it: with or without fractions and zone, which
// is then UTC. The zero time is "never".
type Time struct{ time.Time }

// timeLayouts are the forms in the field.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05Z07:00"}

// UnmarshalJSON reads a time in any of the forms in the field; null and "" are
// the zero time.
func (t *Time) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "" || text == "null" {
		t.Time = time.Time{}
		return nil
	}
	for _, layout := range timeLayouts {
		if v, err := time.Parse(layout, text); err == nil {
			t.Time = v.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is no time", text)
}
