// Package transport is what the clients know of a protocol: how to reach the
// hub with it and which engine speaks it.
package transport

import (
	"context"
	"net"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
)

// Params is what a client knows of itself when it is made.
type Params struct {
	Identity        iothub.Identity
	HostName        string // as in the connection string, with any port
	GatewayHostName string
	Credential      *iothub.Credential
	Options         *iothub.ClientOptions // with defaults
}

// Setup is a protocol made ready for one client.
type Setup struct {
	Encoder engine.Encoder
	Session engine.SessionConfig
	// Dial opens a secure connection to the hub.
	Dial func(ctx context.Context) (net.Conn, error)
	// Authenticate returns what to present on a new connection. It may
	// block in a user's token source.
	Authenticate func(ctx context.Context, now time.Time) (engine.Auth, error)
}

// Transport is implemented by the public transport packages.
type Transport interface {
	iothub.Transport
	Setup(p *Params) (*Setup, error)
}
