// Package transport is what the clients know of a protocol: how to reach the
// hub with it and which engine speaks it.
package transport

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/link"
)

// Params is what a client knows of itself when it is made.
type Params struct {
	Identity        iothub.Identity
	HostName        string // as in the connection string, with any port
	GatewayHostName string
	// AuthChain, when it is not empty, is how the hub of an IoT Edge device acts
	// for the identity, "target;parent;…;actor": the credential is then that of
	// the actor's $edgeHub (IoT Edge, nested devices).
	AuthChain  string
	Credential *iothub.Credential
	Options    *iothub.ClientOptions // with defaults
	// Reassignable says that the device may become another one, at another hub, while
	// messages wait.
	Reassignable bool
	Roots        link.Roots // nil: those of Options.TLS
}

// Presents is whose credential is presented.
func (p *Params) Presents() iothub.Identity {
	if p.AuthChain == "" {
		return p.Identity
	}
	return iothub.Identity{DeviceID: p.AuthChain[strings.LastIndexByte(p.AuthChain, ';')+1:], ModuleID: "$edgeHub"}
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

	// The rest is package setup's doing.

	// Params is what the setup was made of.
	Params *Params
	// Credential is what Authenticate and Dial present, nil when there is
	// none yet.
	Credential *iothub.Credential
	// Locate, if it is not nil, is asked before each dial for the setup to dial with,
	// which may be another one. It may block on the network.
	Locate func(ctx context.Context, outage engine.Outage) (*Setup, error)
	// Again makes a setup for the same client with other options, which
	// have their defaults. It touches no network.
	Again func(o *iothub.ClientOptions) (*Setup, error)
}

// Open opens a connection and says what to present on it. with is the setup to go on
// with, also after an error: s, unless Locate knows another one.
func (s *Setup) Open(ctx context.Context, outage engine.Outage) (with *Setup, conn net.Conn, auth engine.Auth, err error) {
	with = s
	if s.Locate != nil {
		if with, err = s.Locate(ctx, outage); err != nil {
			return s, nil, engine.Auth{}, err
		}
	}
	conn, auth, err = with.open(ctx)
	return with, conn, auth, err
}

func (s *Setup) open(ctx context.Context) (net.Conn, engine.Auth, error) {
	conn, err := s.Dial(ctx)
	if err != nil {
		return nil, engine.Auth{}, err
	}
	auth, err := s.Authenticate(ctx, time.Now())
	if err != nil {
		link.HardClose(conn)
		return nil, engine.Auth{}, err
	}
	return conn, auth, nil
}

// Unassigned is the error for what a device cannot do before it is assigned to a hub.
// Repeating it at once is of no use: what is to be called is not known by the request.
func Unassigned(op string) error {
	return &iothub.Error{Op: op, Kind: iothub.KindUnavailable,
		Err: errors.New("the device is not assigned to a hub yet: it registers when it connects, by Open or with the first message")}
}

// SendTime returns the time of a send. It is zero, and nobody has asked the
// clock, when neither timeout nor m makes use of it.
func SendTime(m *iothub.Message, timeout time.Duration) time.Time {
	if timeout > 0 || (m != nil && !m.ExpiryTime.IsZero()) {
		return time.Now()
	}
	return time.Time{}
}

// Transport is implemented by the public transport packages.
type Transport interface {
	iothub.Transport
	Setup(p *Params) (*Setup, error)
}
